//! The journal's writer: one write at a time, within a budget of bytes, with backoff after failures.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::budget::{Budget, acknowledgement_delay};
use super::config_map::{FencedJournal, JournalWriteError};
use super::{Checkpoint, JournalState};
use crate::agent::backoff::Backoff;
use crate::process::log_throttle::LogThrottle;

/// The wait after a first failure: enough for an API server that was briefly unavailable.
const RETRY_MIN: Duration = Duration::from_millis(500);

/// A writer of one term's journal.
pub(in crate::agent) struct JournalWriter {
    journal: FencedJournal,
    retry_max_interval: Duration,
    backoff: Backoff,
    budget: Budget,
    throttle: Arc<LogThrottle>,
}

/// The result of a write, with the checkpoint of what was written, or of a check, without one.
pub(in crate::agent) type WriterOutcome = (Option<Checkpoint>, Result<(), JournalWriteError>);

impl JournalWriter {
    /// Creates a writer that logs failures through `throttle`.
    pub(in crate::agent) fn new(
        journal: FencedJournal,
        retry_max_interval: Duration,
        throttle: Arc<LogThrottle>,
    ) -> Self {
        let backoff = Backoff::new(RETRY_MIN, retry_max_interval);
        Self { journal, retry_max_interval, backoff, budget: Budget::full(), throttle }
    }

    /// Returns the earliest time for the next write.
    pub(in crate::agent) fn ready_at(&self) -> Instant {
        self.budget.ready_at()
    }

    /// Returns how long an acknowledgement waits to be part of another write, before it gets one of its own.
    pub(in crate::agent) fn acknowledgement_delay(&self) -> Duration {
        acknowledgement_delay(self.journal.size())
    }

    /// Writes `state`. After a failure it sleeps before it returns, so that the retry writes the state that is then the
    /// newest.
    #[tracing::instrument(name = "journal_write", skip_all, fields(rows = state.rows.len(), events = state.outbox.len()))]
    pub(in crate::agent) async fn write(
        mut self,
        state: JournalState,
        checkpoint: Checkpoint,
    ) -> (Self, WriterOutcome) {
        let result = self.journal.write(state).await;
        let bytes = self.journal.take_written();
        self.budget.spend(bytes);
        match &result {
            Ok(()) => {
                self.backoff = Backoff::new(RETRY_MIN, self.retry_max_interval);
                self.throttle.recovered(|| tracing::info!(bytes, "the journal is written again"));
            }
            Err(JournalWriteError::Fenced(_)) => {}
            Err(JournalWriteError::Failed(error)) => {
                self.throttle.failed(|_| {
                    tracing::warn!(%error, "failed to write the journal; retrying");
                });
                tokio::time::sleep(self.backoff.wait()).await;
            }
        }
        (self, (Some(checkpoint), result))
    }

    /// Checks that the journal is as this term wrote it. Without the check, a deletion would go unnoticed until the next
    /// write, which may be weeks away.
    pub(in crate::agent) async fn check(mut self) -> (Self, WriterOutcome) {
        let result = self.journal.check().await;
        (self, (None, result))
    }
}
