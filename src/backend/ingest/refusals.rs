//! The numbers of records that were refused, until they are stored: by day and reason, and without their senders.

use std::sync::{Arc, Mutex};

use crate::backend::clock_guard::ClockGuard;
use crate::backend::store::{Hour, RefusalCounts};
use crate::process::lock::lock;

/// Counts refused records. While the clock disagrees with the store, nothing is counted, since the day may be wrong.
#[derive(Debug)]
pub(in crate::backend) struct RefusalTally {
    guard: Arc<ClockGuard>,
    counts: Mutex<RefusalCounts>,
}

impl RefusalTally {
    pub(in crate::backend) fn new(guard: Arc<ClockGuard>) -> Self {
        Self { guard, counts: Mutex::default() }
    }

    /// Counts records that are refused for one reason, which is one of few.
    pub(in crate::backend) fn count(&self, reason: &'static str, records: u64) {
        if records == 0 {
            return;
        }
        let Ok(now) = self.guard.now() else { return };
        let today = Hour::of(now).day();
        let mut counts = lock(&self.counts);
        *counts.entry((today, reason)).or_default() += records;
        // Those of earlier days wait only if the store could not write for more than a day: two days bound the memory.
        *counts = counts.split_off(&(today.minus(1), ""));
    }

    /// Returns the numbers since the last call.
    pub(in crate::backend) fn take(&self) -> RefusalCounts {
        std::mem::take(&mut lock(&self.counts))
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::backend::clock::ManualClock;

    #[test]
    fn refusals_are_counted_by_day_and_those_before_yesterday_are_forgotten() {
        let clock = ManualClock::new("2026-11-23T23:59:00Z".parse().unwrap());
        let refusals = RefusalTally::new(Arc::new(ClockGuard::new(clock.clone().into(), None, None)));
        let taken = || {
            let counts = refusals.take().into_iter();
            counts.map(|((day, reason), records)| (day.date().day(), reason, records)).collect::<Vec<_>>()
        };
        refusals.count("scope", 2);
        refusals.count("body", 0);
        clock.advance(SignedDuration::from_mins(2));
        for _ in 0..2 {
            refusals.count("scope", 1);
        }
        assert_eq!(taken(), [(23, "scope", 2), (24, "scope", 2)]);
        assert_eq!(taken(), []);
        refusals.count("scope", 4);
        clock.advance(SignedDuration::from_hours(48));
        refusals.count("body", 5);
        assert_eq!(taken(), [(26, "body", 5)]);
    }

    #[test]
    fn nothing_is_counted_while_the_clock_disagrees_with_the_store() {
        let clock = ManualClock::new("2026-11-23T12:00:00Z".parse().unwrap());
        let guard = ClockGuard::new(clock.clone().into(), None, Some(clock.now()));
        let refusals = RefusalTally::new(Arc::new(guard));
        clock.advance(SignedDuration::from_hours(-24));
        refusals.count("scope", 1);
        assert!(refusals.take().is_empty());
        clock.advance(SignedDuration::from_hours(24));
        refusals.count("scope", 1);
        assert_eq!(refusals.take().len(), 1);
    }
}
