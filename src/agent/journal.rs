//! The journal: the events to deliver, from observation to acknowledgement, and what was reported of each control plane.
//!
//! A change becomes a record with its own `log.record.uid` when it is appended, and keeps that uid however often it is
//! sent. Rows and outbox are written together, and an event is sent only after it was written. So after a crash at any
//! instant an event may be sent again, with the same uid, but is never made a second time.
//!
//! [`Journal`] does no I/O. [`config_map`] reads and writes it.

pub mod config_map;
mod adopt;
mod base;
mod budget;
mod codec;
pub mod handle;
mod quarantine;
mod rows;
mod state;
mod store;
pub(super) mod writer;

use std::collections::{HashSet, VecDeque};

use jiff::Timestamp;
use uuid::Uuid;

use super::kubernetes::ComponentVersions;
use super::observe::{Change, PersistedRow};
use crate::catalog::EventRecord;

pub use codec::CorruptJournal;
pub use state::{JournalHead, JournalState};
pub use store::JournalStore;

/// The maximum number of control planes whose events are reported. Their rows of 26 bytes, a full outbox, and the UIDs of
/// the rows that a write with a full outbox can remove fill 98 % of the MiB that a ConfigMap may hold.
pub const ROW_LIMIT: usize = 25_000;

/// The maximum number of unacknowledged events. At 58 bytes each they take 290 kB of the ConfigMap. A burst that
/// creates or deletes every control plane of a large cluster needs 5,000.
pub const OUTBOX_LIMIT: usize = 5_000;

/// The urgency of the next write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flush {
    /// No change waits for a write.
    Never,
    /// The change is part of the next write, or gets one of its own after a while, like an acknowledgement.
    Later,
    /// The change is written at once, because an event waits for it.
    Now,
}

/// The installation's identity and its outbox, oldest event first.
#[derive(Debug)]
pub struct Journal {
    installation: Uuid,
    epoch: u64,
    last_acknowledgement: Option<Timestamp>,
    outbox: VecDeque<OutboxEntry>,
    limit: usize,
    next_sequence: u64,
    /// Events with a lower sequence number are written.
    persisted_below: u64,
    next_flush: Flush,
}

#[derive(Debug, Clone, Copy)]
struct OutboxEntry {
    sequence: u64,
    record: EventRecord,
}

/// The extent of a snapshot that is being written.
#[derive(Debug, Clone, Copy)]
pub struct Checkpoint {
    /// Events with a lower sequence number are in the snapshot.
    below: u64,
    flush: Flush,
}

impl Journal {
    /// Restores a journal from a written state. Returns it with the state's baseline flag and rows.
    pub fn open(state: JournalState) -> (Self, bool, Vec<PersistedRow>) {
        let JournalState { installation, epoch, baseline, acknowledged, rows, outbox } = state;
        let outbox: VecDeque<_> =
            (0..).zip(outbox).map(|(sequence, record)| OutboxEntry { sequence, record }).collect();
        let persisted_below = outbox.len() as u64;
        let journal = Self {
            installation,
            epoch,
            last_acknowledgement: acknowledged,
            outbox,
            limit: OUTBOX_LIMIT,
            next_sequence: persisted_below,
            persisted_below,
            next_flush: Flush::Never,
        };
        (journal, baseline, rows)
    }

    /// Returns the installation's identity.
    pub fn installation(&self) -> Uuid {
        self.installation
    }

    /// Returns how many more events the outbox can hold.
    pub fn remaining_capacity(&self) -> usize {
        self.limit.saturating_sub(self.outbox.len())
    }

    /// Returns the number of unacknowledged events.
    pub fn pending(&self) -> usize {
        self.outbox.len()
    }

    /// Returns the time of the oldest unacknowledged event.
    pub fn oldest_pending(&self) -> Option<Timestamp> {
        self.outbox.front().map(|entry| entry.record.time)
    }

    /// Returns the time of the last acknowledgement by the collector.
    pub fn last_acknowledgement(&self) -> Option<Timestamp> {
        self.last_acknowledgement
    }

    /// Gives each change an identity and appends it to the outbox. It is sent after the next write.
    pub fn append(&mut self, changes: Vec<Change>, versions: ComponentVersions) {
        for change in changes {
            let record = new_event_record(change, versions);
            self.outbox.push_back(OutboxEntry { sequence: self.next_sequence, record });
            self.next_sequence += 1;
            self.next_flush = Flush::Now;
        }
    }

    /// Requests a write of at least this urgency, for state other than events.
    pub fn mark_dirty(&mut self, flush: Flush) {
        self.next_flush = self.next_flush.max(flush);
    }

    /// Returns the urgency of the next write.
    pub fn next_flush(&self) -> Flush {
        self.next_flush
    }

    /// Returns the state to write, with the rows of the index. [`Journal::commit`] or [`Journal::rollback`] must follow.
    pub fn begin_flush(&mut self, baseline: bool, rows: Vec<PersistedRow>) -> (JournalState, Checkpoint) {
        let Self { installation, epoch, last_acknowledgement, ref outbox, next_sequence, next_flush, .. } = *self;
        self.next_flush = Flush::Never;
        let outbox = outbox.iter().map(|entry| entry.record).collect();
        let state = JournalState { installation, epoch, baseline, acknowledged: last_acknowledgement, rows, outbox };
        (state, Checkpoint { below: next_sequence, flush: next_flush })
    }

    /// Marks a snapshot as written, so that its events may be sent. Returns the number of events that were not written
    /// before.
    pub fn commit(&mut self, checkpoint: Checkpoint) -> u64 {
        let before = std::mem::replace(&mut self.persisted_below, checkpoint.below);
        checkpoint.below - before
    }

    /// Requests the write of a snapshot again, after it failed or its outcome is unknown.
    pub fn rollback(&mut self, checkpoint: Checkpoint) {
        self.mark_dirty(checkpoint.flush);
    }

    /// Returns the oldest written events, at most `limit` of them.
    pub fn batch(&self, limit: usize) -> Vec<EventRecord> {
        let written = self.outbox.iter().take_while(|entry| entry.sequence < self.persisted_below);
        written.take(limit).map(|entry| entry.record).collect()
    }

    /// Removes events that were acknowledged or rejected. `acknowledged_at` is the time if any was acknowledged.
    pub fn remove(&mut self, uids: &HashSet<Uuid>, acknowledged_at: Option<Timestamp>) {
        self.outbox.retain(|entry| !uids.contains(&entry.record.uid));
        self.last_acknowledgement = acknowledged_at.or(self.last_acknowledgement);
        // Not urgent: if this is never written, the events are sent again with the same uids.
        self.mark_dirty(Flush::Later);
    }
}

/// Makes a record of a change, with a new uid. The time is cut to the codec's milliseconds, so that a repeat after a
/// restart is identical.
fn new_event_record(
    Change { time, event }: Change,
    ComponentVersions { kamaji, kubernetes }: ComponentVersions,
) -> EventRecord {
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
