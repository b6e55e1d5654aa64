//! The batches of a group: which of them are stored, and what they change. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::backend::store::admission::{Admission, is_stored_despite};
use crate::backend::store::fold::{DistinctValues, LatestRow, Ledger, SnapshotChanges, fold_events, fold_snapshots};
use crate::backend::store::hour::Hour;
use crate::backend::store::{Allowance, Batch, EventRow, GaugeSnapshot, Room, WriteError};

/// The state that one group leaves to the next.
#[derive(Debug, Default)]
pub(in crate::backend::store) struct GroupState {
    values: DistinctValues,
    /// The hour of the newest row: that of the last receipt, as events are not later.
    newest: Hour,
}

impl GroupState {
    /// Creates the state of a store with these values in use.
    pub(in crate::backend::store) fn new(values: DistinctValues) -> Self {
        Self { values, newest: Hour::default() }
    }

    /// Returns the hour of the newest row since the start.
    pub(in crate::backend::store) const fn newest(&self) -> Hour {
        self.newest
    }
}

/// A batch, and the allowance of its sender.
pub(in crate::backend::store) type Sent<'a> = (&'a Batch, &'a dyn Allowance);

/// The batches of a group, and the rows before.
pub(in crate::backend::store) struct Group<'a> {
    batches: Vec<Sent<'a>>,
    before: BTreeMap<Uuid, LatestRow>,
    results: Vec<Result<(), WriteError>>,
    /// The position of each batch's sender in the ledger.
    senders: Vec<usize>,
    /// The position of a batch of each sender.
    batch_of_sender: Vec<usize>,
    ledger: Ledger,
}

/// The changes that a group comes to.
#[derive(Debug)]
pub(in crate::backend::store) struct GroupChanges {
    /// The events that are new.
    pub(in crate::backend::store) events: Vec<EventRow>,
    /// The changes of installations.
    pub(in crate::backend::store) snapshots: SnapshotChanges,
    /// The hour of the newest row.
    pub(in crate::backend::store) newest: Hour,
}

impl GroupChanges {
    /// Returns whether there is nothing to commit.
    pub(in crate::backend::store) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.snapshots.latest.is_empty()
    }

    /// Returns the number of events in bulk.
    pub(in crate::backend::store) fn bulk_events(&self) -> i64 {
        let bulk = self.events.iter().filter(|event| event.bulk).count();
        i64::try_from(bulk).unwrap_or(i64::MAX)
    }
}

/// Returns the installations whose rows a group reads, in the order of their keys.
pub(in crate::backend::store) fn installations(batches: &[Sent<'_>]) -> BTreeSet<Uuid> {
    let snapshots = batches.iter().flat_map(|(batch, _)| &batch.snapshots);
    snapshots.map(|snapshot| snapshot.installation).collect()
}

impl<'a> Group<'a> {
    /// Decides which batches are stored. `before` has the latest rows of their installations.
    pub(in crate::backend::store) fn new(batches: Vec<Sent<'a>>, before: BTreeMap<Uuid, LatestRow>) -> Self {
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
        Self { batches, before, results, senders, batch_of_sender, ledger }
    }

    /// Folds what the batches that are stored change. `new_events` are those of [`Group::events`] that are not stored yet,
    /// each uid once.
    pub(in crate::backend::store) fn fold(
        &mut self,
        state: &mut GroupState,
        new_events: Vec<(usize, &'a EventRow)>,
    ) -> GroupChanges {
        let GroupState { values, newest } = state;
        *newest = self.newest().max(*newest);
        let snapshots: Vec<_> = self.snapshots().collect();
        let Self { before, ledger, .. } = self;
        let events = fold_events(new_events, *newest, ledger, values);
        let snapshots = fold_snapshots(before, snapshots, ledger, values);
        GroupChanges { events, snapshots, newest: *newest }
    }

    /// Spends what was written, once it is committed. Returns the result of each batch.
    pub(in crate::backend::store) fn settle(self) -> Vec<Result<(), WriteError>> {
        for (batch, spent) in self.batch_of_sender.into_iter().zip(self.ledger.spent()) {
            self.batches[batch].1.spend(spent);
        }
        self.results
    }

    /// Returns whether an installation was stored before.
    pub(in crate::backend::store) fn is_known(&self, installation: Uuid) -> bool {
        self.before.contains_key(&installation)
    }

    /// Returns whether the rows of a sender are the history of another server.
    pub(in crate::backend::store) fn is_history(&self, sender: usize) -> bool {
        self.ledger.is_history(sender)
    }

    /// Returns the events of the batches that are stored, with the positions of their senders.
    pub(in crate::backend::store) fn events(&self) -> impl Iterator<Item = (usize, &'a EventRow)> {
        let admitted = self.results().filter(|(_, _, result)| result.is_ok());
        admitted.flat_map(|(sender, batch, _)| batch.events.iter().map(move |event| (sender, event)))
    }

    /// Returns the batches with the positions of their senders, and whether all of each is stored.
    fn results(&self) -> impl Iterator<Item = (usize, &'a Batch, &Result<(), WriteError>)> {
        let all = self.senders.iter().zip(&self.batches).zip(&self.results);
        all.map(|((sender, (batch, _)), result)| (*sender, *batch, result))
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
