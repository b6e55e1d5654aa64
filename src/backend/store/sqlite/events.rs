//! Events as columns, and as the records of a fixed length that a commit appends to the inbox.

use rusqlite::{Connection, Result, Row};
use uuid::Uuid;

use super::columns::{self, corrupt, event_source, is_bulk, parse_word};
use super::words::{WordId, Words};
use crate::backend::store::EventRow;
use crate::backend::store::hour::Hour;
use crate::catalog::{CREATED, Event, EventRecord, ExtendedAttributes, NetworkProfile, UPDATED};

/// The bytes of a record.
pub(super) const RECORD_BYTES: usize = 54;

/// The bytes of a record before its words: source, hour, uid and `cluster_api`.
const HEAD_BYTES: usize = 22;

/// The number of words of an event.
const WORDS: usize = 8;

/// The columns of an event. The order is that of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EventColumns {
    pub(super) source: i64,
    pub(super) hour: i32,
    pub(super) uid: Uuid,
    /// 0 if the attribute is absent, 1 for false, 2 for true.
    pub(super) cluster_api: u8,
    pub(super) words: EventWords,
}

/// The words of an event. The `tcp_version` of an update is the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EventWords {
    pub(super) kind: WordId,
    pub(super) agent: WordId,
    pub(super) kamaji: WordId,
    pub(super) kubernetes: WordId,
    pub(super) tcp_version: WordId,
    pub(super) old_tcp_version: WordId,
    pub(super) status: WordId,
    pub(super) network_profile: WordId,
}

impl EventColumns {
    /// Returns the columns of an event, whose words are stored.
    pub(super) fn new(connection: &Connection, words: &mut Words, row: &EventRow) -> Result<Self> {
        let EventRow { record, source: sender, bulk } = row;
        let mut word = |text: &str| words.id(connection, text);
        let (mut old_tcp_version, mut status, mut network_profile, mut cluster_api) = (0, 0, 0, 0);
        let tcp_version = match record.event {
            Event::Created { tcp_version, extended } => {
                cluster_api = extended.map_or(0, |extended| 1 + u8::from(extended.cluster_api));
                if let Some(profile) = extended.and_then(|extended| extended.network_profile) {
                    network_profile = word(profile.as_str())?;
                }
                tcp_version
            }
            Event::Updated { old_tcp_version: old, new_tcp_version } => {
                old_tcp_version = word(&old.to_string())?;
                new_tcp_version
            }
            Event::Deleted { status: last, tcp_version } => {
                status = word(last.as_str())?;
                tcp_version
            }
        };
        let words = EventWords {
            kind: word(record.event.kind().name)?,
            kamaji: word(&record.kamaji_version.to_string())?,
            kubernetes: word(&record.kubernetes_version.to_string())?,
            tcp_version: word(&tcp_version.to_string())?,
            old_tcp_version,
            status,
            network_profile,
            agent: columns::agent(words, connection, sender)?,
        };
        let hour = Hour::of(record.time).number();
        Ok(Self { source: event_source(sender.kind(), *bulk), hour, uid: record.uid, cluster_api, words })
    }

    /// Reads a row of `events`.
    pub(super) fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            source: row.get("source")?,
            hour: row.get("hour")?,
            uid: row.get("uid")?,
            cluster_api: row.get("cluster_api")?,
            words: EventWords {
                kind: row.get("kind")?,
                agent: row.get("agent")?,
                kamaji: row.get("kamaji")?,
                kubernetes: row.get("kubernetes")?,
                tcp_version: row.get("tcp_version")?,
                old_tcp_version: row.get("old_tcp_version")?,
                status: row.get("status")?,
                network_profile: row.get("network_profile")?,
            },
        })
    }

    /// Returns the event.
    pub(super) fn event(&self, connection: &Connection, words: &mut Words) -> Result<EventRow> {
        let Self { source, hour, uid, cluster_api: _, words: ids } = *self;
        let agent = if ids.agent == 0 { "" } else { words.word(connection, ids.agent)? };
        let (source, bulk) = (columns::parse_source(source, agent)?, is_bulk(source));
        let record = EventRecord {
            uid,
            time: Hour::from_number(hour).start(),
            kamaji_version: parse_word(words, connection, ids.kamaji, "kamaji")?,
            kubernetes_version: parse_word(words, connection, ids.kubernetes, "kubernetes")?,
            event: self.own_attributes(connection, words)?,
        };
        Ok(EventRow { record, source, bulk })
    }

    fn own_attributes(&self, connection: &Connection, words: &mut Words) -> Result<Event> {
        let ids = self.words;
        let tcp_version = parse_word(words, connection, ids.tcp_version, "tcp_version")?;
        Ok(match words.word(connection, ids.kind)? {
            kind if kind == CREATED.name => Event::Created { tcp_version, extended: self.extended(connection, words)? },
            kind if kind == UPDATED.name => Event::Updated {
                old_tcp_version: parse_word(words, connection, ids.old_tcp_version, "old_tcp_version")?,
                new_tcp_version: tcp_version,
            },
            _ => Event::Deleted { status: parse_word(words, connection, ids.status, "status")?, tcp_version },
        })
    }

    fn extended(&self, connection: &Connection, words: &mut Words) -> Result<Option<ExtendedAttributes>> {
        let network_profile = match self.words.network_profile {
            0 => None,
            id => Some(parse_word::<NetworkProfile>(words, connection, id, "network_profile")?),
        };
        let known = |cluster_api| ExtendedAttributes { cluster_api, network_profile };
        Ok(match self.cluster_api {
            0 => None,
            value => Some(known(value == 2)),
        })
    }

    /// Appends the record to `bytes`. Numbers are little-endian.
    pub(super) fn append_to(&self, bytes: &mut Vec<u8>) {
        let Self { source, hour, uid, cluster_api, words } = self;
        bytes.push(source.to_le_bytes()[0]);
        bytes.extend(hour.to_le_bytes());
        bytes.extend(uid.as_bytes());
        bytes.push(*cluster_api);
        for id in words.ids() {
            bytes.extend(id.to_le_bytes());
        }
    }

    /// Reads the records of a blob. Fails if its length is not that of records.
    pub(super) fn parse_all(bytes: &[u8]) -> Result<Vec<Self>> {
        match bytes.as_chunks::<RECORD_BYTES>() {
            (records, []) => Ok(records.iter().map(Self::parse).collect()),
            (_, rest) => Err(corrupt("inbox", TornRecord(rest.len()))),
        }
    }

    fn parse(record: &[u8; RECORD_BYTES]) -> Self {
        let word = |position: usize| {
            let start = HEAD_BYTES + 4 * position;
            WordId::from_le_bytes(std::array::from_fn(|byte| record[start + byte]))
        };
        Self {
            source: record[0].into(),
            hour: i32::from_le_bytes(std::array::from_fn(|byte| record[1 + byte])),
            uid: Uuid::from_bytes(std::array::from_fn(|byte| record[5 + byte])),
            cluster_api: record[21],
            words: EventWords::from_ids(std::array::from_fn(word)),
        }
    }
}

impl EventWords {
    const fn ids(self) -> [WordId; WORDS] {
        let Self { kind, agent, kamaji, kubernetes, tcp_version, old_tcp_version, status, network_profile } = self;
        [kind, agent, kamaji, kubernetes, tcp_version, old_tcp_version, status, network_profile]
    }

    const fn from_ids(ids: [WordId; WORDS]) -> Self {
        let [kind, agent, kamaji, kubernetes, tcp_version, old_tcp_version, status, network_profile] = ids;
        Self { kind, agent, kamaji, kubernetes, tcp_version, old_tcp_version, status, network_profile }
    }
}

/// The error of a blob that ends within a record.
#[derive(Debug, thiserror::Error)]
#[error("{0} bytes are left, expected records of {RECORD_BYTES} bytes")]
struct TornRecord(usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_it_was_appended_and_a_torn_one_is_refused() {
        let ids = std::array::from_fn(|position| u32::MAX - u32::try_from(position).unwrap());
        let columns = |hour| EventColumns {
            source: 2,
            hour,
            uid: Uuid::new_v4(),
            cluster_api: 2,
            words: EventWords::from_ids(ids),
        };
        let all = [columns(-1), columns(498_740)];
        let mut bytes = Vec::new();
        for columns in &all {
            columns.append_to(&mut bytes);
        }
        assert_eq!(bytes.len(), all.len() * RECORD_BYTES);
        assert_eq!(EventColumns::parse_all(&bytes).unwrap(), all);
        let error = EventColumns::parse_all(&bytes[1..]).unwrap_err().to_string();
        assert!(error.contains("53 bytes"), "{error}");
    }
}
