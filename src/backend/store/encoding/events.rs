//! Events as columns.

use std::collections::hash_map::Entry;

use foldhash::{HashMap, HashMapExt};
use uuid::Uuid;

use super::reports::{agent_id, decode_source};
use super::{WordId, WordIds, WordTexts, event_source, is_bulk, parse_word};
use crate::backend::store::EventRow;
use crate::backend::store::hour::Hour;
use crate::catalog::{CREATED, Event, EventRecord, ExtendedAttributes, NetworkProfile, UPDATED};

/// The number of words of an event.
const WORDS: usize = 8;

/// The columns of an event. The order is that of the key of an embedded store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::backend::store) struct EventColumns {
    pub(in crate::backend::store) source: i64,
    pub(in crate::backend::store) hour: i32,
    pub(in crate::backend::store) uid: Uuid,
    /// 0 if the attribute is absent, 1 for false, 2 for true.
    pub(in crate::backend::store) cluster_api: u8,
    pub(in crate::backend::store) words: EventWords,
}

/// The words of an event. The `tcp_version` of an update is the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::backend::store) struct EventWords {
    pub(in crate::backend::store) kind: WordId,
    pub(in crate::backend::store) agent: WordId,
    pub(in crate::backend::store) kamaji: WordId,
    pub(in crate::backend::store) kubernetes: WordId,
    pub(in crate::backend::store) tcp_version: WordId,
    pub(in crate::backend::store) old_tcp_version: WordId,
    pub(in crate::backend::store) status: WordId,
    pub(in crate::backend::store) network_profile: WordId,
}

/// Returns the columns of events, whose words are stored.
pub(in crate::backend::store) fn encode_events<W: WordIds>(
    words: &mut W,
    rows: &[EventRow],
) -> Result<Vec<EventColumns>, W::Error> {
    // The events of a batch are of few kinds, whose words are formatted and looked up once.
    let mut alike = HashMap::new();
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let EventRow { record, source, bulk } = row;
        let content = (source, bulk, record.kamaji_version, record.kubernetes_version, record.event);
        let columns = match alike.entry(content) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => *new.insert(EventColumns::new(words, row)?),
        };
        all.push(EventColumns { uid: record.uid, hour: Hour::of(record.time).number(), ..columns });
    }
    Ok(all)
}

impl EventColumns {
    /// Returns the columns of an event, whose words are stored.
    fn new<W: WordIds>(words: &mut W, row: &EventRow) -> Result<Self, W::Error> {
        let EventRow { record, source: sender, bulk } = row;
        let (mut old_tcp_version, mut status, mut network_profile, mut cluster_api) = (0, 0, 0, 0);
        let tcp_version = match record.event {
            Event::Created { tcp_version, extended } => {
                cluster_api = extended.map_or(0, |extended| 1 + u8::from(extended.cluster_api));
                if let Some(profile) = extended.and_then(|extended| extended.network_profile) {
                    network_profile = words.id(profile.as_str())?;
                }
                tcp_version
            }
            Event::Updated { old_tcp_version: old, new_tcp_version } => {
                old_tcp_version = words.id(&old.to_string())?;
                new_tcp_version
            }
            Event::Deleted { status: last, tcp_version } => {
                status = words.id(last.as_str())?;
                tcp_version
            }
        };
        let words = EventWords {
            kind: words.id(record.event.kind().name)?,
            kamaji: words.id(&record.kamaji_version.to_string())?,
            kubernetes: words.id(&record.kubernetes_version.to_string())?,
            tcp_version: words.id(&tcp_version.to_string())?,
            old_tcp_version,
            status,
            network_profile,
            agent: agent_id(words, sender)?,
        };
        let hour = Hour::of(record.time).number();
        Ok(Self { source: event_source(sender.kind(), *bulk), hour, uid: record.uid, cluster_api, words })
    }

    /// Returns the event.
    pub(in crate::backend::store) fn event<W: WordTexts>(&self, words: &mut W) -> Result<EventRow, W::Error> {
        let Self { source, hour, uid, cluster_api: _, words: ids } = *self;
        let record = EventRecord {
            uid,
            time: Hour::from_number(hour).start(),
            kamaji_version: parse_word(words, ids.kamaji, "kamaji")?,
            kubernetes_version: parse_word(words, ids.kubernetes, "kubernetes")?,
            event: self.own_attributes(words)?,
        };
        Ok(EventRow { record, source: decode_source(words, source, ids.agent)?, bulk: is_bulk(source) })
    }

    fn own_attributes<W: WordTexts>(&self, words: &mut W) -> Result<Event, W::Error> {
        let ids = self.words;
        let tcp_version = parse_word(words, ids.tcp_version, "tcp_version")?;
        Ok(match words.word(ids.kind)? {
            kind if kind == CREATED.name => Event::Created { tcp_version, extended: self.extended(words)? },
            kind if kind == UPDATED.name => Event::Updated {
                old_tcp_version: parse_word(words, ids.old_tcp_version, "old_tcp_version")?,
                new_tcp_version: tcp_version,
            },
            _ => Event::Deleted { status: parse_word(words, ids.status, "status")?, tcp_version },
        })
    }

    fn extended<W: WordTexts>(&self, words: &mut W) -> Result<Option<ExtendedAttributes>, W::Error> {
        let network_profile = match self.words.network_profile {
            0 => None,
            id => Some(parse_word::<NetworkProfile, W>(words, id, "network_profile")?),
        };
        let known = |cluster_api| ExtendedAttributes { cluster_api, network_profile };
        Ok(match self.cluster_api {
            0 => None,
            value => Some(known(value == 2)),
        })
    }
}

impl EventWords {
    pub(in crate::backend::store) const fn ids(self) -> [WordId; WORDS] {
        let Self { kind, agent, kamaji, kubernetes, tcp_version, old_tcp_version, status, network_profile } = self;
        [kind, agent, kamaji, kubernetes, tcp_version, old_tcp_version, status, network_profile]
    }

    pub(in crate::backend::store) const fn from_ids(ids: [WordId; WORDS]) -> Self {
        let [kind, agent, kamaji, kubernetes, tcp_version, old_tcp_version, status, network_profile] = ids;
        Self { kind, agent, kamaji, kubernetes, tcp_version, old_tcp_version, status, network_profile }
    }
}
