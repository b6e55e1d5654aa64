//! The clock of the backend.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::process::lock::lock;

/// A source of the time of day: the system's, or one that a test moves.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<ManualClock>);

/// A clock that stands still until it is moved. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<ManualTime>>);

#[derive(Debug)]
struct ManualTime {
    start: Timestamp,
    now: Timestamp,
    /// The furthest time to which it was moved.
    furthest: Timestamp,
}

impl Clock {
    /// Returns the time.
    pub fn now(&self) -> Timestamp {
        self.0.as_ref().map_or_else(Timestamp::now, ManualClock::now)
    }

    /// Returns the time by which rates are limited, which never goes back. It goes on beside a clock that stands still, and
    /// is moved forward with it.
    pub fn instant(&self) -> Instant {
        Instant::now() + self.0.as_ref().map_or(Duration::ZERO, ManualClock::moved)
    }
}

impl ManualClock {
    /// Creates a clock that stands at `time`.
    pub fn new(time: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(ManualTime { start: time, now: time, furthest: time })))
    }

    /// Returns the time.
    pub fn now(&self) -> Timestamp {
        lock(&self.0).now
    }

    fn moved(&self) -> Duration {
        let ManualTime { start, furthest, .. } = *lock(&self.0);
        furthest.duration_since(start).unsigned_abs()
    }

    /// Moves the clock to `time`, which may be in the past.
    pub fn set(&self, time: Timestamp) {
        let mut state = lock(&self.0);
        state.now = time;
        state.furthest = state.furthest.max(time);
    }

    /// Moves the clock by `duration`, which may be negative.
    pub fn advance(&self, duration: SignedDuration) {
        let now = self.now();
        self.set(now + duration);
    }
}

impl From<ManualClock> for Clock {
    fn from(clock: ManualClock) -> Self {
        Self(Some(clock))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_stands_still_until_it_is_moved_and_the_systems_does_not() {
        let start: Timestamp = "2026-11-23T20:00:00Z".parse().unwrap();
        let manual = ManualClock::new(start);
        let clock = Clock::from(manual.clone());
        assert_eq!((clock.now(), clock.now()), (start, start));
        manual.advance(SignedDuration::from_hours(-1));
        assert_eq!(clock.now().to_string(), "2026-11-23T19:00:00Z");
        manual.set(Timestamp::UNIX_EPOCH);
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
        let before = Timestamp::now();
        assert!(Clock::default().now() >= before);
    }
}
