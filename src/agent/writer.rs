//! Writes the journal, one state at a time.

use std::time::Duration;

use super::backoff::Backoff;
use super::journal::Snapshot;
use super::journal::config_map::{Stored, WriteError};
use super::quiet::Quiet;

/// The wait after a first failure: what an API server needs to answer again after a blink.
const RETRY_MIN: Duration = Duration::from_millis(500);

/// The journal's storage, and how patient its writing is.
pub(super) struct Writer {
    stored: Stored,
    retry_max: Duration,
    backoff: Backoff,
    quiet: Quiet,
}

impl Writer {
    pub(super) fn new(stored: Stored, retry_max: Duration) -> Self {
        Self { stored, retry_max, backoff: Backoff::new(RETRY_MIN, retry_max), quiet: Quiet::default() }
    }

    /// Writes a snapshot. After a failure it waits before it is back, for what is then the newest state.
    pub(super) async fn write(mut self, snapshot: Snapshot) -> (Self, (Snapshot, Result<(), WriteError>)) {
        let result = self.stored.write(&snapshot.state).await;
        match &result {
            Ok(()) => {
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
        (self, (snapshot, result))
    }
}
