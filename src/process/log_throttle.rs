//! Rate limiting of log lines about failures that recur.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::lock::lock;

/// The period of a failure that one party causes, such as an agent whose collector is away. An operator reads a warning
/// once. One line an hour shows that it continues.
const HOUR: Duration = Duration::from_hours(1);

/// The period of a failure that anybody's request may cause. It is short enough for somebody who watches the log while
/// trying something, and bounds the log to 1,440 lines a day.
const MINUTE: Duration = Duration::from_mins(1);

/// The period between two lines if the first failure has recovered: the second may be another one, which would be unknown
/// for an hour after a short outage. It bounds the log to 12 lines an hour where a failure comes and goes.
const AFTER_RECOVERY: Duration = Duration::from_mins(10);

/// A limit on how often one failure is logged.
///
/// The first failure is logged at once, later ones at most once a period; after a recovery at most once in 10 minutes. The
/// recovery is logged once, if the failure was.
#[derive(Debug)]
pub struct LogThrottle {
    period: Duration,
    state: Mutex<ThrottleState>,
}

#[derive(Debug)]
struct ThrottleState {
    last_logged: Option<Instant>,
    /// Failures since the last line.
    count: u64,
    is_failing: bool,
}

impl LogThrottle {
    /// Creates a throttle of one line an hour.
    pub const fn hourly() -> Self {
        Self::with_period(HOUR)
    }

    /// Creates a throttle of one line a minute.
    pub const fn per_minute() -> Self {
        Self::with_period(MINUTE)
    }

    const fn with_period(period: Duration) -> Self {
        Self { period, state: Mutex::new(ThrottleState { last_logged: None, count: 0, is_failing: false }) }
    }

    /// Counts a failure, and calls `log` with the number of failures since the last line, unless that was logged within
    /// the period.
    pub fn failed(&self, log: impl FnOnce(u64)) {
        let mut state = lock(&self.state);
        state.count += 1;
        let period = if state.is_failing { self.period } else { self.period.min(AFTER_RECOVERY) };
        if state.last_logged.is_none_or(|last| last.elapsed() >= period) {
            let count = state.count;
            *state = ThrottleState { last_logged: Some(Instant::now()), count: 0, is_failing: true };
            log(count);
        }
    }

    /// Calls `log` if a failure was logged since the last recovery.
    pub fn recovered(&self, log: impl FnOnce()) {
        if std::mem::take(&mut lock(&self.state).is_failing) {
            log();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_logged_once_an_hour_and_its_recovery_once() {
        let throttle = LogThrottle::hourly();
        let mut lines = Vec::new();
        throttle.recovered(|| lines.push("recovered"));
        for _ in 0..10 {
            throttle.failed(|_| lines.push("failed"));
        }
        throttle.recovered(|| lines.push("recovered"));
        throttle.failed(|_| lines.push("failed"));
        throttle.recovered(|| lines.push("recovered"));
        assert_eq!(lines, ["failed", "recovered"]);
        tokio::time::advance(AFTER_RECOVERY).await;
        throttle.failed(|_| lines.push("failed"));
        assert_eq!(lines, ["failed", "recovered", "failed"], "a failure after a recovery may be another one");
        tokio::time::advance(HOUR / 2).await;
        throttle.failed(|_| lines.push("failed"));
        assert_eq!(lines.len(), 3);
        tokio::time::advance(HOUR / 2).await;
        throttle.failed(|_| lines.push("failed"));
        assert_eq!(lines.len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_logged_at_once_and_then_once_a_minute_with_the_number_of_them() {
        let throttle = LogThrottle::per_minute();
        let mut counts = Vec::new();
        for _ in 0..10 {
            throttle.failed(|count| counts.push(count));
        }
        assert_eq!(counts, [1]);
        tokio::time::advance(MINUTE).await;
        throttle.failed(|count| counts.push(count));
        assert_eq!(counts, [1, 10]);
    }
}
