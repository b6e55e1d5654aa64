//! A group of batches in one transaction: admission, fold, and the rows that it comes to.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};
use uuid::Uuid;

use super::columns::{SOURCES, source};
use super::events::EventColumns;
use super::uids::KnownUids;
use super::words::Words;
use super::{inbox, rows};
use crate::backend::store::admission::{Admission, is_stored_despite};
use crate::backend::store::fold::{DistinctValues, LatestRow, Ledger, fold_events, fold_snapshots};
use crate::backend::store::hour::{Day, Hour};
use crate::backend::store::{Allowance, Batch, EventRow, GaugeSnapshot, Room, WriteError};

/// The rows from which the values in use are read at the start: thousands of a fleet tell what most of it runs, and take some
/// 100 ms.
const ESTABLISHING_ROWS: u32 = 10_000;

/// The state that one group leaves to the next.
#[derive(Debug, Default)]
pub(super) struct GroupState {
    values: DistinctValues,
    /// The hour of the newest row: that of the last receipt, as events are not later.
    newest: Hour,
}

impl GroupState {
    /// Reads the values that are in use.
    pub(super) fn load(connection: &Connection, words: &mut Words) -> rusqlite::Result<Self> {
        let mut values = DistinctValues::default();
        let latest = "SELECT * FROM latest WHERE source = ?1 AND bulk = 0 AND (confirmed IS NULL) = 0
                      ORDER BY last_seen DESC LIMIT ?2";
        let events = "SELECT * FROM events WHERE source = ?1 ORDER BY hour DESC LIMIT ?2";
        for source in SOURCES.map(source) {
            let mut select = connection.prepare(latest)?;
            let mut rows = select.query(params![source, ESTABLISHING_ROWS])?;
            while let Some(row) = rows.next()? {
                values.establish_report(&rows::latest_row(connection, words, row)?);
            }
            let mut select = connection.prepare(events)?;
            let mut rows = select.query(params![source, ESTABLISHING_ROWS])?;
            while let Some(row) = rows.next()? {
                values.establish_event(&EventColumns::read(row)?.event(connection, words)?);
            }
        }
        Ok(Self { values, newest: Hour::default() })
    }

    /// Returns the hour of the newest row since the start.
    pub(super) const fn newest(&self) -> Hour {
        self.newest
    }
}

/// Counts events in bulk under the day of their receipt: their own time is their sender's choice.
fn count_bulk_events(connection: &Connection, day: Day, events: &[EventRow]) -> rusqlite::Result<()> {
    let bulk = events.iter().filter(|event| event.bulk).count();
    if bulk > 0 {
        let sql = "INSERT INTO bulk_events VALUES (?1, ?2) ON CONFLICT DO UPDATE SET events = events + excluded.events";
        connection.prepare_cached(sql)?.execute(params![day.number(), i64::try_from(bulk).unwrap_or(i64::MAX)])?;
    }
    Ok(())
}

/// A batch, and the allowance of its sender.
pub(super) type Sent<'a> = (&'a Batch, &'a dyn Allowance);

/// The batches of a group, and the rows before.
pub(super) struct Group<'a> {
    batches: Vec<Sent<'a>>,
    before: BTreeMap<Uuid, LatestRow>,
    results: Vec<Result<(), WriteError>>,
    /// The position of each batch's sender in the ledger.
    senders: Vec<usize>,
    /// The position of a batch of each sender.
    batch_of_sender: Vec<usize>,
    ledger: Ledger,
}

/// The outcome of writing a group.
pub(super) struct Written {
    pub(super) events: Vec<EventRow>,
    /// True if there is anything to commit.
    pub(super) has_changed: bool,
}

impl<'a> Group<'a> {
    /// Reads the rows before, and decides which batches are stored.
    pub(super) fn read(connection: &Connection, words: &mut Words, batches: Vec<Sent<'a>>) -> rusqlite::Result<Self> {
        let snapshots = batches.iter().flat_map(|(batch, _)| &batch.snapshots);
        let before = rows::read_before(connection, words, snapshots)?;
        let mut positions = BTreeMap::new();
        let (mut senders, mut batch_of_sender, mut rooms) = (Vec::new(), Vec::new(), Vec::<Room>::new());
        for (position, (_, allowance)) in batches.iter().enumerate() {
            let sender = *positions.entry(allowance.sender()).or_insert_with(|| {
                batch_of_sender.push(position);
                rooms.push(allowance.room());
                rooms.len() - 1
            });
            senders.push(sender);
        }
        let mut admission = Admission::new(rooms.clone());
        let admit = |((batch, _), sender): (&Sent<'_>, &usize)| admission.admit(*sender, batch, &before);
        let results = batches.iter().zip(&senders).map(admit).collect();
        let ledger = Ledger::new(batch_of_sender.iter().map(|batch| batches[*batch].1.sender()).zip(rooms));
        Ok(Self { batches, before, results, senders, batch_of_sender, ledger })
    }

    /// Writes what the batches that are stored change.
    pub(super) fn write(
        &mut self,
        connection: &Connection,
        words: &mut Words,
        state: &mut GroupState,
        uids: &KnownUids,
    ) -> rusqlite::Result<Written> {
        let GroupState { values, newest } = state;
        *newest = self.newest().max(*newest);
        words.set_day(newest.day());
        let new_events = uids.new_events(connection, self.events())?;
        let snapshots: Vec<_> = self.snapshots().collect();
        let Self { before, ledger, .. } = self;
        let events = fold_events(new_events, *newest, ledger, values);
        inbox::append(connection, words, &events)?;
        count_bulk_events(connection, newest.day(), &events)?;
        let changes = fold_snapshots(before, snapshots, ledger, values);
        rows::write_snapshots(connection, words, &changes)?;
        let has_changed = !events.is_empty() || !changes.latest.is_empty();
        Ok(Written { events, has_changed })
    }

    /// Spends what was written, once it is committed. Returns the result of each batch.
    pub(super) fn settle(self) -> Vec<Result<(), WriteError>> {
        for (batch, spent) in self.batch_of_sender.into_iter().zip(self.ledger.spent()) {
            self.batches[batch].1.spend(spent);
        }
        self.results
    }

    /// Returns the batches with the positions of their senders, and whether all of each is stored.
    fn results(&self) -> impl Iterator<Item = (usize, &'a Batch, &Result<(), WriteError>)> {
        let all = self.senders.iter().zip(&self.batches).zip(&self.results);
        all.map(|((sender, (batch, _)), result)| (*sender, *batch, result))
    }

    fn events(&self) -> impl Iterator<Item = (usize, &'a EventRow)> {
        let admitted = self.results().filter(|(_, _, result)| result.is_ok());
        admitted.flat_map(|(sender, batch, _)| batch.events.iter().map(move |event| (sender, event)))
    }

    fn snapshots(&self) -> impl Iterator<Item = (usize, &'a GaugeSnapshot)> {
        let is_stored = |snapshot: &GaugeSnapshot, result: &Result<(), WriteError>| match result {
            Ok(()) => true,
            Err(error) => is_stored_despite(error, snapshot, &self.before),
        };
        self.results().flat_map(move |(sender, batch, result)| {
            let stored = batch.snapshots.iter().filter(move |snapshot| is_stored(snapshot, result));
            stored.map(move |snapshot| (sender, snapshot))
        })
    }

    fn newest(&self) -> Hour {
        let events = self.events().map(|(_, event)| Hour::of(event.record.time));
        let snapshots = self.snapshots().map(|(_, snapshot)| snapshot.received);
        events.chain(snapshots).max().unwrap_or_default()
    }
}
