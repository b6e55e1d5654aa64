//! Writes the journal, one state at a time, and looks whether it is still there.

mod budget;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;
use super::journal::Snapshot;
use super::journal::config_map::{Stored, WriteError};
use super::quiet::Quiet;
use budget::Budget;

/// The wait after a first failure: what an API server needs to answer again after a blink.
const RETRY_MIN: Duration = Duration::from_millis(500);

/// The journal's storage, and how patient its writing is.
pub(super) struct Writer {
    stored: Stored,
    retry_max: Duration,
    backoff: Backoff,
    budget: Budget,
    quiet: Arc<Quiet>,
}

/// What became of a task: of a write with its snapshot, of a look without.
pub(super) type Done = (Option<Snapshot>, Result<(), WriteError>);

impl Writer {
    /// A writer that says through `quiet` what fails.
    pub(super) fn new(stored: Stored, retry_max: Duration, quiet: Arc<Quiet>) -> Self {
        let backoff = Backoff::new(RETRY_MIN, retry_max);
        Self { stored, retry_max, backoff, budget: Budget::full(), quiet }
    }

    /// When the next write may begin.
    pub(super) fn ready_at(&self) -> Instant {
        self.budget.ready_at()
    }

    /// Writes a snapshot. After a failure it waits before it is back, for what is then the newest state.
    pub(super) async fn write(mut self, snapshot: Snapshot) -> (Self, Done) {
        let result = self.stored.write(&snapshot.state).await;
        match &result {
            Ok(bytes) => {
                self.budget.spend(*bytes);
                self.backoff = Backoff::new(RETRY_MIN, self.retry_max);
                self.quiet.recovered(|| tracing::info!("the journal is written again"));
            }
            Err(WriteError::Lost(_)) => {}
            Err(WriteError::Failed(failure)) => {
                self.quiet.failed(|| {
                    tracing::warn!("can't write the journal: {failure}; what changes is sent once it is written");
                });
                tokio::time::sleep(self.backoff.wait()).await;
            }
        }
        (self, (Some(snapshot), result.map(drop)))
    }

    /// Looks whether the journal is as it was written: one that was deleted ends the term though nothing is to be
    /// written for weeks.
    pub(super) async fn look(self) -> (Self, Done) {
        let result = self.stored.check().await;
        (self, (None, result))
    }
}
