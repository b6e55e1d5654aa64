//! What the journal keeps.

use jiff::Timestamp;
use uuid::Uuid;

use crate::agent::observe::PersistedRow;
use crate::catalog::EventRecord;

/// Everything that outlives the process, written as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalState {
    /// The installation's identity: random, made with the state, gone with it.
    pub installation: Uuid,
    /// Which term of leadership wrote it; each begins by counting up.
    pub epoch: u64,
    /// The first complete list is recorded in `rows`: what appears from there on was created.
    pub baseline: bool,
    /// When the collector last acknowledged an event.
    pub acknowledged: Option<Timestamp>,
    /// What was reported of each control plane, in no order.
    pub rows: Vec<PersistedRow>,
    /// The events that are not yet acknowledged, oldest first.
    pub outbox: Vec<EventRecord>,
}

impl JournalState {
    /// The state of an installation that nothing is known of, before its first term.
    pub fn new() -> Self {
        let installation = Uuid::new_v4();
        Self { installation, epoch: 0, baseline: false, acknowledged: None, rows: Vec::new(), outbox: Vec::new() }
    }
}

impl Default for JournalState {
    fn default() -> Self {
        Self::new()
    }
}
