//! Writes the journal, one state at a time, and looks whether it is still there.

mod budget;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::config_map::{FencedJournal, JournalWriteError};
use super::{Checkpoint, JournalState};
use crate::agent::backoff::Backoff;
use crate::process::log_throttle::LogThrottle;
use budget::Budget;

/// The wait after a first failure: what an API server needs to answer again after a blink.
const RETRY_MIN: Duration = Duration::from_millis(500);

/// The journal's storage, and how patient its writing is.
pub(in crate::agent) struct JournalWriter {
    stored: FencedJournal,
    retry_max_interval: Duration,
    backoff: Backoff,
    budget: Budget,
    quiet: Arc<LogThrottle>,
}

/// What became of a task: of a write with its mark, of a look without.
pub(in crate::agent) type Done = (Option<Checkpoint>, Result<(), JournalWriteError>);

impl JournalWriter {
    /// A writer that says through `quiet` what fails.
    pub(in crate::agent) fn new(stored: FencedJournal, retry_max_interval: Duration, quiet: Arc<LogThrottle>) -> Self {
        let backoff = Backoff::new(RETRY_MIN, retry_max_interval);
        Self { stored, retry_max_interval, backoff, budget: Budget::full(), quiet }
    }

    /// When the next write may begin.
    pub(in crate::agent) fn ready_at(&self) -> Instant {
        self.budget.ready_at()
    }

    /// Writes a state. After a failure it waits before it is back, for what is then the newest state.
    pub(in crate::agent) async fn write(mut self, state: JournalState, mark: Checkpoint) -> (Self, Done) {
        let result = self.stored.write(state).await;
        match &result {
            Ok(bytes) => {
                self.budget.spend(*bytes);
                self.backoff = Backoff::new(RETRY_MIN, self.retry_max_interval);
                self.quiet.recovered(|| tracing::info!("the journal is written again"));
            }
            Err(JournalWriteError::Fenced(_)) => {}
            Err(JournalWriteError::Failed(failure)) => {
                self.quiet.failed(|_| {
                    tracing::warn!("can't write the journal: {failure}; what changes is sent once it is written");
                });
                tokio::time::sleep(self.backoff.wait()).await;
            }
        }
        (self, (Some(mark), result.map(drop)))
    }

    /// Looks whether the journal is as it was written: one that was deleted ends the term though nothing is to be
    /// written for weeks.
    pub(in crate::agent) async fn look(self) -> (Self, Done) {
        let result = self.stored.check().await;
        (self, (None, result))
    }
}
