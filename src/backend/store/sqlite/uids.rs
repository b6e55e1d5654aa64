//! An index of the uids of recent events in memory, so that a new event needs no read of the file.
//!
//! An entry has 48 bits of a keyed hash of the uid, and the event's hour. A hash that is not there is certainly new. One
//! that is there is looked up exactly, in every hour that it has.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};

use foldhash::{HashMap, HashSet, HashSetExt};
use rusqlite::{Connection, params};
use uuid::Uuid;

use crate::backend::store::EventRow;
use crate::backend::store::encoding::{EVENT_SOURCES, NO_SOURCE};
use crate::backend::store::group::Group;
use crate::backend::store::hour::Hour;

/// The hours of events whose uids are in memory: a day more than the oldest event that is accepted, for the rounding to
/// hours and for the clock.
const HOURS: i32 = 31 * 24;

/// The bytes of a hash.
const HASH_BYTES: usize = 6;

/// The uids of recent events.
#[derive(Debug)]
pub(super) struct KnownUids {
    index: UidIndex,
    /// Those of the events in the inbox that no merge has begun with.
    waiting: HashSet<Uuid>,
    /// Those of the events of a merge that is under way, of which some are not in the table yet.
    merging: HashSet<Uuid>,
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
        let mut index = UidIndex::default();
        for source in sources() {
            let mut rows = select.query(params![source, since])?;
            while let Some(row) = rows.next()? {
                index.insert(row.get("uid")?, Hour::from_number(row.get("hour")?));
            }
        }
        Ok(Self { index, waiting: HashSet::new(), merging: HashSet::new() })
    }

    /// Returns the events of a group that are not stored, each uid once, with the positions of their senders.
    pub(super) fn new_events<'a>(
        &self,
        connection: &Connection,
        group: &Group<'a>,
    ) -> rusqlite::Result<Vec<(usize, &'a EventRow)>> {
        let count = group.events().count();
        let (mut of_group, mut new) = (HashSet::with_capacity(count), Vec::with_capacity(count));
        for (sender, event) in group.events() {
            let (uid, hour) = (event.record.uid, Hour::of(event.record.time));
            // An event of another server's history may be older than the index, and a repeat of it has the same hour.
            let is_stored = if group.is_history(sender) {
                self.is_in_inbox(uid) || is_in_table(connection, uid, hour)?
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

    /// Returns the number of uids.
    pub(super) fn len(&self) -> usize {
        self.index.hours.len()
    }

    /// Returns the number of events in the inbox that no merge has begun with.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Returns the number of events in the inbox. Those of a merge that is under way count until its end.
    pub(super) fn in_inbox(&self) -> usize {
        self.waiting.len() + self.merging.len()
    }

    /// Records that a merge begins with all events of the inbox.
    pub(super) fn begin_merge(&mut self) {
        // Either keeps its room for the next.
        std::mem::swap(&mut self.waiting, &mut self.merging);
        self.merging.extend(self.waiting.drain());
    }

    /// Records that the merge has ended.
    pub(super) fn end_merge(&mut self) {
        self.merging.clear();
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

    fn is_in_inbox(&self, uid: Uuid) -> bool {
        self.waiting.contains(&uid) || self.merging.contains(&uid)
    }

    fn is_stored(&self, connection: &Connection, uid: Uuid, hour: Hour) -> rusqlite::Result<bool> {
        for hour in self.index.hours(uid, hour) {
            if self.is_in_inbox(uid) || is_in_table(connection, uid, hour)? {
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

/// The 48 bits of the keyed hash of a uid.
type UidHash = [u8; HASH_BYTES];

/// The low bits of an hour. They repeat after 7 years.
type HourBits = u16;

/// An index of uids. An entry takes 8 bytes, and 10 to 21 with the table: 20 MB for a million events in 31 days at most. A
/// tree would take 12, and each uid would be looked for on six lines of the processor's cache instead of one.
#[derive(Debug, Default)]
struct UidIndex {
    /// The first hour of each hash. The keys are hashes with a secret key, so that any hasher will do for the table.
    hours: HashMap<UidHash, HourBits>,
    /// Further hours: of a uid that came with several, and of uids with one hash, which are a handful among a million.
    more: BTreeSet<(UidHash, HourBits)>,
    /// Random for each process, so that nobody can choose uids of one hash.
    state: RandomState,
}

impl UidIndex {
    /// Adds a uid.
    fn insert(&mut self, uid: Uuid, hour: Hour) {
        let (hash, bits) = (self.hash(uid), low_bits(hour));
        if *self.hours.entry(hash).or_insert(bits) != bits {
            self.more.insert((hash, bits));
        }
    }

    /// Returns the hours in which the uid may be stored: none if it is new. `now` is any hour within 3 years of them.
    fn hours(&self, uid: Uuid, now: Hour) -> impl Iterator<Item = Hour> {
        let hash = self.hash(uid);
        let first = self.hours.get(&hash).copied();
        // A hash without a first hour may have further ones, since old hours are forgotten one by one.
        let more = self.more.range((hash, HourBits::MIN)..=(hash, HourBits::MAX)).map(|(_, bits)| *bits);
        first.into_iter().chain(more).map(move |bits| hour_of(bits, now))
    }

    /// Forgets the uids of hours before `hour`.
    fn forget_before(&mut self, hour: Hour) {
        let is_kept = |bits| hour_of(bits, hour) >= hour;
        self.hours.retain(|_, bits| is_kept(*bits));
        self.more.retain(|(_, bits)| is_kept(*bits));
    }

    fn hash(&self, uid: Uuid) -> UidHash {
        let [hash @ .., _, _] = self.state.hash_one(uid).to_le_bytes();
        hash
    }
}

fn low_bits(hour: Hour) -> HourBits {
    let [low, high, ..] = hour.number().to_le_bytes();
    HourBits::from_le_bytes([low, high])
}

/// Returns the hour with these low bits that is nearest to `now`.
fn hour_of(bits: HourBits, now: Hour) -> Hour {
    let distance = bits.wrapping_sub(low_bits(now)).cast_signed();
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
        for uid in &uids {
            index.insert(*uid, now.minus(3));
        }
        index.insert(uids[0], now.minus(700));
        assert_eq!(index.hours(uids[0], now).collect::<BTreeSet<_>>(), [now.minus(700), now.minus(3)].into());
        // What is there already is not there twice.
        index.insert(uids[0], now.minus(3));
        index.insert(uids[0], now.minus(700));
        assert_eq!(index.hours(uids[0], now).count(), 2);
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
                assert_eq!(hour_of(low_bits(hour), now), hour);
            }
        }
    }
}
