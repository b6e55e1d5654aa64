//! The journal: what is to be delivered, from the moment it is known until it is acknowledged, and what was reported.
//!
//! A change becomes a record with its own `log.record.uid` when it is journalled, and keeps it however often it is
//! sent. JournalState and outbox are written together, and only what has been written is sent: so after a crash at any
//! instant an event is sent again with the same uid, and none is made a second time. The journal does no I/O; see
//! [`config_map`] for where it is kept.

pub mod config_map;
mod codec;
mod quarantine;
mod state;
pub(super) mod writer;

use std::collections::{HashSet, VecDeque};

use jiff::Timestamp;
use uuid::Uuid;

use super::observe::{Change, PersistedRow};
use crate::catalog::{EventRecord, KamajiVersion, KubernetesVersion};

pub use codec::CorruptJournal;
pub use state::JournalState;

/// How many control planes are reported of at the most: with a full outbox, their rows of 26 bytes fill nine tenths of
/// the MiB that a ConfigMap may hold.
pub const ROW_LIMIT: usize = 25_000;

/// How many events wait for their acknowledgement at the most: at 58 bytes each, 290 kB of the ConfigMap. 5,000 is what
/// a burst that makes or deletes every control plane of a large cluster needs.
pub const OUTBOX_LIMIT: usize = 5_000;

/// The versions that a record carries beside its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComponentVersions {
    /// The version of Kamaji.
    pub kamaji: KamajiVersion,
    /// The version of the management cluster.
    pub kubernetes: KubernetesVersion,
}

/// When what has changed is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flush {
    /// Nothing has changed.
    Never,
    /// It rides on the next write, or has one of its own after a while.
    Later,
    /// At once: something waits for it to be written.
    Now,
}

/// The installation's identity and the events that are not yet acknowledged, oldest first.
#[derive(Debug)]
pub struct Journal {
    installation: Uuid,
    epoch: u64,
    acknowledged: Option<Timestamp>,
    outbox: VecDeque<OutboxEntry>,
    limit: usize,
    /// The number of the next event.
    next: u64,
    /// EventExporter with a lower number are written.
    written: u64,
    due: Flush,
}

#[derive(Debug, Clone, Copy)]
struct OutboxEntry {
    number: u64,
    record: EventRecord,
}

/// How far a state goes that is being written.
#[derive(Debug, Clone, Copy)]
pub struct Checkpoint {
    /// EventExporter with a lower number are in it.
    covers: u64,
    due: Flush,
}

impl Journal {
    /// A journal that goes on from a state that is written, and what that kept of the control planes.
    pub fn open(state: JournalState) -> (Self, bool, Vec<PersistedRow>) {
        let JournalState { installation, epoch, baseline, acknowledged, rows, outbox } = state;
        let outbox: VecDeque<_> = (0..).zip(outbox).map(|(number, record)| OutboxEntry { number, record }).collect();
        let next = outbox.len() as u64;
        let (limit, due) = (OUTBOX_LIMIT, Flush::Never);
        (Self { installation, epoch, acknowledged, outbox, limit, next, written: next, due }, baseline, rows)
    }

    /// The installation's identity.
    pub fn installation(&self) -> Uuid {
        self.installation
    }

    /// How many more events there is room for.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.outbox.len())
    }

    /// How many events are not yet acknowledged.
    pub fn pending(&self) -> usize {
        self.outbox.len()
    }

    /// The time of the oldest event that is not yet acknowledged.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.outbox.front().map(|entry| entry.record.time)
    }

    /// When the collector last acknowledged an event.
    pub fn acknowledged(&self) -> Option<Timestamp> {
        self.acknowledged
    }

    /// Gives each change its identity and puts it behind the others. It is not sent before it is written.
    pub fn append(&mut self, changes: Vec<Change>, versions: ComponentVersions) {
        for change in changes {
            let record = record(change, versions);
            self.outbox.push_back(OutboxEntry { number: self.next, record });
            self.next += 1;
            self.due = Flush::Now;
        }
    }

    /// Something else of the state has changed, and is to be written then.
    pub fn mark_dirty(&mut self, due: Flush) {
        self.due = self.due.max(due);
    }

    /// When a write is due.
    pub fn due(&self) -> Flush {
        self.due
    }

    /// The state to be written, with what the view keeps. [`Journal::commit`] or [`Journal::rollback`] follows.
    pub fn snapshot(&mut self, baseline: bool, rows: Vec<PersistedRow>) -> (JournalState, Checkpoint) {
        let Self { installation, epoch, acknowledged, ref outbox, next, due, .. } = *self;
        self.due = Flush::Never;
        let outbox = outbox.iter().map(|entry| entry.record).collect();
        (JournalState { installation, epoch, baseline, acknowledged, rows, outbox }, Checkpoint { covers: next, due })
    }

    /// The state up to here is written, and its events may be sent. Says how many were not before.
    pub fn commit(&mut self, mark: Checkpoint) -> u64 {
        let before = std::mem::replace(&mut self.written, mark.covers);
        mark.covers - before
    }

    /// The state up to here is not written, or that is not known.
    pub fn rollback(&mut self, mark: Checkpoint) {
        self.mark_dirty(mark.due);
    }

    /// The oldest events that are written, at most `limit` of them.
    pub fn batch(&self, limit: usize) -> Vec<EventRecord> {
        let written = self.outbox.iter().take_while(|entry| entry.number < self.written);
        written.take(limit).map(|entry| entry.record).collect()
    }

    /// Forgets events that are settled: acknowledged, or refused for good. `acknowledged` is when any were acknowledged.
    pub fn settle(&mut self, settled: &HashSet<Uuid>, acknowledged: Option<Timestamp>) {
        self.outbox.retain(|entry| !settled.contains(&entry.record.uid));
        self.acknowledged = acknowledged.or(self.acknowledged);
        self.mark_dirty(Flush::Later);
    }
}

/// The time is cut to the precision in which it is kept, so that a repeat is the same to the bit.
fn record(Change { time, event }: Change, ComponentVersions { kamaji, kubernetes }: ComponentVersions) -> EventRecord {
    EventRecord {
        uid: Uuid::new_v4(),
        time: Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time),
        kamaji_version: kamaji,
        kubernetes_version: kubernetes,
        event,
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod model_tests;
