//! The persisted state of the journal.

use jiff::Timestamp;
use uuid::Uuid;

use crate::agent::observe::PersistedRow;
use crate::catalog::EventRecord;

/// The state that outlives the process. It is written as a whole.
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

impl JournalState {
    /// Creates the state of a new installation, before its first term.
    pub fn new() -> Self {
        let installation = Uuid::new_v4();
        Self { installation, epoch: 0, baseline: false, acknowledged: None, rows: Vec::new(), outbox: Vec::new() }
    }

    /// Returns whether nothing was observed yet, and so nothing reported.
    pub fn is_blank(&self) -> bool {
        !self.baseline && self.rows.is_empty() && self.outbox.is_empty()
    }
}

impl Default for JournalState {
    fn default() -> Self {
        Self::new()
    }
}
