//! An index of the uids of recent events in memory, so that a new event needs no read of the file.
//!
//! An entry has 48 bits of a keyed hash of the uid, and the event's hour. A hash that is not there is certainly new. One
//! that is there is looked up exactly, in every hour that it has.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};

use rusqlite::{Connection, params};
use uuid::Uuid;

use crate::backend::store::EventRow;
use crate::backend::store::encoding::{EVENT_SOURCES, NO_SOURCE};
use crate::backend::store::group::Group;
use crate::backend::store::hour::Hour;

/// The hours of events whose uids are in memory: a day more than the oldest event that is accepted, for the rounding to
/// hours and for the clock.
const HOURS: i32 = 31 * 24;

/// The number of bits of the hour in an entry. They repeat after 7 years.
const HOUR_BITS: u32 = 16;

/// The uids of recent events.
#[derive(Debug)]
pub(super) struct KnownUids {
    index: UidIndex,
    /// Those of the events in the inbox, which are in no table yet.
    waiting: HashSet<Uuid>,
}

impl KnownUids {
    /// Reads the uids of the last 31 days before the newest event. The inbox must be empty.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let sources = || [NO_SOURCE].into_iter().chain(EVENT_SOURCES);
        let mut newest = connection.prepare("SELECT coalesce(max(hour), 0) FROM events WHERE source = ?1")?;
        let mut since = i32::MIN;
        for source in sources() {
            since = since.max(newest.query_row(params![source], |row| row.get::<_, i32>(0))? - HOURS);
        }
        let mut select = connection.prepare("SELECT uid, hour FROM events WHERE source = ?1 AND hour >= ?2")?;
        let mut uids = Vec::new();
        for source in sources() {
            let rows = select
                .query_map(params![source, since], |row| Ok((row.get("uid")?, Hour::from_number(row.get("hour")?))))?;
            for row in rows {
                uids.push(row?);
            }
        }
        let mut index = UidIndex::default();
        index.extend(uids.into_iter());
        Ok(Self { index, waiting: HashSet::new() })
    }

    /// Returns the events of a group that are not stored, each uid once, with the positions of their senders.
    pub(super) fn new_events<'a>(
        &self,
        connection: &Connection,
        group: &Group<'a>,
    ) -> rusqlite::Result<Vec<(usize, &'a EventRow)>> {
        let mut of_group = HashSet::new();
        let mut new = Vec::new();
        for (sender, event) in group.events() {
            let (uid, hour) = (event.record.uid, Hour::of(event.record.time));
            // An event of another server's history may be older than the index, and a repeat of it has the same hour.
            let is_stored = if group.is_history(sender) {
                self.waiting.contains(&uid) || is_in_table(connection, uid, hour)?
            } else {
                self.is_stored(connection, uid, hour)?
            };
            if of_group.insert(uid) && !is_stored {
                new.push((sender, event));
            }
        }
        Ok(new)
    }

    /// Adds events that were committed to the inbox.
    pub(super) fn add(&mut self, events: &[EventRow]) {
        for EventRow { record, .. } in events {
            self.index.insert(record.uid, Hour::of(record.time));
            self.waiting.insert(record.uid);
        }
    }

    /// Returns the number of events in the inbox.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Records that the inbox was merged.
    pub(super) fn merged(&mut self) {
        self.waiting.clear();
    }

    /// Adds events of a commit of which nobody knows whether it was made.
    pub(super) fn suspect(&mut self, events: &[EventRow]) {
        for EventRow { record, .. } in events {
            self.index.insert(record.uid, Hour::of(record.time));
        }
    }

    /// Forgets the uids that are older than any event that is accepted at `now`.
    pub(super) fn forget_old(&mut self, now: Hour) {
        self.index.forget_before(now.minus(HOURS));
    }

    fn is_stored(&self, connection: &Connection, uid: Uuid, hour: Hour) -> rusqlite::Result<bool> {
        for hour in self.index.hours(uid, hour) {
            if self.waiting.contains(&uid) || is_in_table(connection, uid, hour)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Looks an event up in each source, and among those that are deleted but for their uids.
fn is_in_table(connection: &Connection, uid: Uuid, hour: Hour) -> rusqlite::Result<bool> {
    let mut select = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM events WHERE source IN (?1, ?2, ?3, ?4, ?5) AND hour = ?6 AND uid = ?7)",
    )?;
    let [agent, kamaji, bulk_agent, bulk_kamaji] = EVENT_SOURCES;
    let key = params![NO_SOURCE, agent, kamaji, bulk_agent, bulk_kamaji, hour.number(), uid];
    select.query_row(key, |row| row.get(0))
}

/// An index of uids. An entry takes 8 bytes, and about 12 with the tree: 12 MB for a million events in 31 days.
#[derive(Debug, Default)]
struct UidIndex {
    entries: BTreeSet<u64>,
    /// Random for each process, so that nobody can choose uids of one hash.
    state: RandomState,
}

impl UidIndex {
    /// Adds uids, faster than one by one.
    fn extend(&mut self, uids: impl Iterator<Item = (Uuid, Hour)>) {
        let mut entries: Vec<_> = uids.map(|(uid, hour)| self.prefix(uid) | u64::from(low_bits(hour))).collect();
        entries.sort_unstable();
        if self.entries.is_empty() {
            self.entries = entries.into_iter().collect();
        } else {
            self.entries.extend(entries);
        }
    }

    /// Adds a uid.
    fn insert(&mut self, uid: Uuid, hour: Hour) {
        self.entries.insert(self.prefix(uid) | u64::from(low_bits(hour)));
    }

    /// Returns the hours in which the uid may be stored: none if it is new. `now` is any hour within 3 years of them.
    fn hours(&self, uid: Uuid, now: Hour) -> impl Iterator<Item = Hour> {
        let prefix = self.prefix(uid);
        self.entries.range(prefix..=prefix | u64::from(u16::MAX)).map(move |entry| hour_of(*entry, now))
    }

    /// Forgets the uids of hours before `hour`.
    fn forget_before(&mut self, hour: Hour) {
        self.entries.retain(|entry| hour_of(*entry, hour) >= hour);
    }

    fn prefix(&self, uid: Uuid) -> u64 {
        self.state.hash_one(uid) << HOUR_BITS
    }
}

fn low_bits(hour: Hour) -> u16 {
    let [low, high, ..] = hour.number().to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// Returns the hour of an entry: the one nearest to `now` that has its bits.
fn hour_of(entry: u64, now: Hour) -> Hour {
    let [low, high, ..] = entry.to_le_bytes();
    let distance = u16::from_le_bytes([low, high]).wrapping_sub(low_bits(now)).cast_signed();
    Hour::from_number(now.number().saturating_add(i32::from(distance)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_found_in_each_of_its_hours_and_no_other_is() {
        let mut index = UidIndex::default();
        let now = Hour::from_number(498_740);
        let uids: Vec<_> = (0..1_000).map(|_| Uuid::new_v4()).collect();
        index.extend(uids.iter().map(|uid| (*uid, now.minus(3))));
        index.insert(uids[0], now.minus(700));
        assert_eq!(index.hours(uids[0], now).collect::<Vec<_>>(), [now.minus(700), now.minus(3)]);
        assert_eq!(index.hours(uids[1], now).collect::<Vec<_>>(), [now.minus(3)]);
        assert_eq!(index.hours(Uuid::new_v4(), now).count(), 0);
        index.forget_before(now.minus(3));
        assert_eq!(index.hours(uids[0], now).collect::<Vec<_>>(), [now.minus(3)]);
        index.forget_before(now);
        assert_eq!(index.hours(uids[0], now).count(), 0);
    }

    #[test]
    fn an_hour_is_told_from_its_bits_on_both_sides_of_their_end() {
        for number in [-1, 0, 65_535, 65_536, 498_740, 524_287, 524_288] {
            for distance in [-744, -1, 0, 1, 744] {
                let (now, hour) = (Hour::from_number(number), Hour::from_number(number + distance));
                assert_eq!(hour_of(low_bits(hour).into(), now), hour);
            }
        }
    }
}
