//! Saying that something fails without filling the log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often it is said at most: soon enough to see while looking for it, and no more than 1,440 lines a day however
/// often strangers ask for what fails.
const PERIOD: Duration = Duration::from_mins(1);

/// One thing that may fail with every request. One a process is enough, as its log is one.
#[derive(Debug)]
pub(super) struct Quiet(Mutex<Untold>);

#[derive(Debug)]
struct Untold {
    count: u64,
    told: Option<Instant>,
}

impl Quiet {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Untold { count: 0, told: None }))
    }

    /// Counts a failure, and calls `say` with how many there were since it last did, at most once a minute.
    pub(super) fn failed(&self, say: impl FnOnce(u64)) {
        // Counts are whole whatever happened to another holder.
        let mut untold = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        untold.count += 1;
        if untold.told.is_none_or(|told| told.elapsed() >= PERIOD) {
            say(untold.count);
            *untold = Untold { count: 0, told: Some(Instant::now()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_said_at_once_and_then_once_a_minute_with_their_number() {
        let quiet = Quiet::new();
        let mut said = Vec::new();
        for _ in 0..10 {
            quiet.failed(|count| said.push(count));
        }
        assert_eq!(said, [1]);
        tokio::time::advance(PERIOD).await;
        quiet.failed(|count| said.push(count));
        assert_eq!(said, [1, 10]);
    }
}
