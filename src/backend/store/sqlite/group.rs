//! A group of batches in one transaction: admission, fold, and the rows that it comes to.

use std::collections::BTreeMap;

use rusqlite::Connection;
use uuid::Uuid;

use super::uids::KnownUids;
use super::words::Words;
use super::{inbox, rows};
use crate::backend::store::admission::admit;
use crate::backend::store::fold::{DistinctValues, LatestRow, Ledger, fold_events, fold_snapshots};
use crate::backend::store::hour::Hour;
use crate::backend::store::{Allowance, Batch, EventRow, GaugeSnapshot, Room, WriteError};

/// What groups have in common.
#[derive(Debug, Default)]
pub(super) struct GroupState {
    values: DistinctValues,
    /// The hour of the newest row.
    newest: Hour,
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

/// What a group has written.
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
        let mut new_installations = 0;
        let admit =
            |((batch, _), sender): (&Sent<'_>, &usize)| admit(batch, &before, rooms[*sender], &mut new_installations);
        let results = batches.iter().zip(&senders).map(admit).collect();
        Ok(Self { batches, before, results, senders, batch_of_sender, ledger: Ledger::new(rooms) })
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

    /// Returns the batches that are stored, with the positions of their senders.
    fn admitted(&self) -> impl Iterator<Item = (usize, &'a Batch)> {
        let all = self.senders.iter().zip(&self.batches).zip(&self.results);
        all.filter(|(_, result)| result.is_ok()).map(|((sender, (batch, _)), _)| (*sender, *batch))
    }

    fn events(&self) -> impl Iterator<Item = (usize, &'a EventRow)> {
        self.admitted().flat_map(|(sender, batch)| batch.events.iter().map(move |event| (sender, event)))
    }

    fn snapshots(&self) -> impl Iterator<Item = (usize, &'a GaugeSnapshot)> {
        self.admitted().flat_map(|(sender, batch)| batch.snapshots.iter().map(move |snapshot| (sender, snapshot)))
    }

    fn newest(&self) -> Hour {
        let events = self.events().map(|(_, event)| Hour::of(event.record.time));
        let snapshots = self.snapshots().map(|(_, snapshot)| snapshot.received);
        events.chain(snapshots).max().unwrap_or_default()
    }
}
