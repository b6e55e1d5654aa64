//! The persisted state of the journal.

use jiff::Timestamp;
use uuid::Uuid;

use super::rows::Delta;
use crate::agent::observe::PersistedRow;
use crate::catalog::EventRecord;

/// The state that outlives the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalState {
    /// The installation's identity: a random UUID, created and deleted with the state.
    pub installation: Uuid,
    /// The number of the term that wrote the state. Each term increments it when it begins.
    pub epoch: u64,
    /// Set once `rows` holds the first complete list. From then on a control plane without a row was created later.
    pub baseline: bool,
    /// The time of the last acknowledgement by the collector.
    pub acknowledged: Option<Timestamp>,
    /// The last reported state of each control plane, in no order.
    pub rows: Vec<PersistedRow>,
    /// The unacknowledged events, oldest first.
    pub outbox: Vec<EventRecord>,
}

/// The state as the journal's ConfigMap holds it, and each write replaces it: with what the rows differ from the base in,
/// in place of the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalHead {
    /// The installation's identity.
    pub installation: Uuid,
    /// The number of the term.
    pub epoch: u64,
    /// Set once the rows hold the first complete list.
    pub baseline: bool,
    /// The time of the last acknowledgement by the collector.
    pub acknowledged: Option<Timestamp>,
    /// The unacknowledged events, oldest first.
    pub outbox: Vec<EventRecord>,
    /// The generation of the base that `delta` is complete with. It is complete with the next generation as well.
    pub(super) generation: u64,
    /// The difference of the rows from that base.
    pub(super) delta: Delta,
}

impl JournalState {
    /// Creates the state of a new installation, before its first term.
    pub fn new() -> Self {
        JournalHead::new().with_rows(Vec::new())
    }

    /// Returns the head for a base of this generation, without the rows.
    pub(super) fn into_head(self, generation: u64, delta: Delta) -> JournalHead {
        let Self { installation, epoch, baseline, acknowledged, rows: _, outbox } = self;
        JournalHead { installation, epoch, baseline, acknowledged, outbox, generation, delta }
    }
}

impl Default for JournalState {
    fn default() -> Self {
        Self::new()
    }
}

impl JournalHead {
    pub(super) fn new() -> Self {
        Self {
            installation: Uuid::new_v4(),
            epoch: 0,
            baseline: false,
            acknowledged: None,
            outbox: Vec::new(),
            generation: 0,
            delta: Delta::default(),
        }
    }

    pub(super) fn with_rows(self, rows: Vec<PersistedRow>) -> JournalState {
        let Self { installation, epoch, baseline, acknowledged, outbox, generation: _, delta: _ } = self;
        JournalState { installation, epoch, baseline, acknowledged, rows, outbox }
    }

    /// Returns whether nothing was observed yet, and so nothing reported.
    pub(super) fn is_blank(&self) -> bool {
        !self.baseline && self.generation == 0 && self.delta == Delta::default() && self.outbox.is_empty()
    }
}
