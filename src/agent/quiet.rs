//! Saying that something is wrong without filling the log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// An operator reads a warning once; that it goes on is worth one line an hour.
const PERIOD: Duration = Duration::from_hours(1);

/// One thing that may fail: it is said when it begins to fail and then once an hour, and that it is over is said
/// once, if the failure was.
#[derive(Debug, Default)]
pub struct Quiet {
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    last: Option<Instant>,
    failing: bool,
}

impl Quiet {
    /// Calls `say` unless the failure was said within the hour, however often it came and went since.
    pub fn failed(&self, say: impl FnOnce()) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.last.is_none_or(|last| last.elapsed() >= PERIOD) {
            *said = Said { last: Some(Instant::now()), failing: true };
            say();
        }
    }

    /// Calls `say` if a failure was said since this was last called.
    pub fn recovered(&self, say: impl FnOnce()) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut said.failing) {
            say();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_said_once_an_hour_and_its_end_once() {
        let quiet = Quiet::default();
        let mut lines = Vec::new();
        quiet.recovered(|| lines.push("recovered"));
        for _ in 0..10 {
            quiet.failed(|| lines.push("failed"));
        }
        quiet.recovered(|| lines.push("recovered"));
        quiet.failed(|| lines.push("failed"));
        quiet.recovered(|| lines.push("recovered"));
        assert_eq!(lines, ["failed", "recovered"]);
        tokio::time::advance(PERIOD).await;
        quiet.failed(|| lines.push("failed"));
        assert_eq!(lines, ["failed", "recovered", "failed"]);
    }
}
