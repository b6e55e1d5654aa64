//! The comparison of the clock with the newest record in the store, so that a clock that is wrong destroys nothing.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::clock::Clock;
use crate::process::lock::lock;

/// The longest time since the newest record: a backend that was away for longer than agents keep their events, 30 days, is
/// as rare as a clock that is wrong, and a retention of 400 days is off by a twelfth then.
const MAX_GAP: SignedDuration = SignedDuration::from_hours(31 * 24);

/// The longest time by which the newest record may be in the future: six times the difference of clocks that is accepted of
/// senders, 10 minutes.
const MAX_BACKWARDS: SignedDuration = SignedDuration::from_hours(1);

/// A clock, and the newest record to compare it with.
#[derive(Debug)]
pub(in crate::backend) struct ClockGuard {
    clock: Clock,
    /// The UTC day on which the clock is right whatever the store says (`--trust-clock`).
    trusted: Option<Date>,
    newest: Mutex<Option<Timestamp>>,
    is_off: AtomicBool,
}

/// A clock that disagrees with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend) struct ClockOff {
    now: Timestamp,
    newest: Timestamp,
}

impl ClockGuard {
    /// Creates a guard for a store whose newest record is of `newest`.
    pub(in crate::backend) fn new(clock: Clock, trusted: Option<Date>, newest: Option<Timestamp>) -> Self {
        Self { clock, trusted, newest: Mutex::new(newest), is_off: AtomicBool::new(false) }
    }

    /// Returns the time. Fails if it is more than 31 days after the newest record, or more than an hour before it, unless
    /// the clock is trusted on this day. Logs when it begins and ceases to fail.
    pub(in crate::backend) fn now(&self) -> Result<Timestamp, ClockOff> {
        let now = self.clock.now();
        let newest = *lock(&self.newest);
        let off = newest.filter(|newest| {
            let gap = now.duration_since(*newest);
            (gap > MAX_GAP || gap < -MAX_BACKWARDS) && !self.trusts(now)
        });
        let was_off = self.is_off.swap(off.is_some(), Ordering::Relaxed);
        let Some(newest) = off else {
            if was_off {
                tracing::info!(%now, "the clock agrees with the store again; what is sent is stored again");
            }
            return Ok(now);
        };
        let off = ClockOff { now, newest };
        if !was_off {
            tracing::error!(%now, %newest, problem = %off, "the clock disagrees with the store; nothing is stored or deleted");
        }
        Err(off)
    }

    /// Returns whether the clock is trusted at `now` whatever the store says.
    pub(in crate::backend) fn trusts(&self, now: Timestamp) -> bool {
        self.trusted == Some(utc_date(now))
    }

    /// Takes note of the time under which a record is stored.
    pub(in crate::backend) fn received(&self, time: Timestamp) {
        let mut newest = lock(&self.newest);
        *newest = (*newest).max(Some(time));
    }
}

impl fmt::Display for ClockOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { now, newest } = self;
        let today = utc_date(*now);
        write!(f, "it is {now} by the clock, and the newest record in the store is of {newest}; ")?;
        if now < newest {
            write!(
                f,
                "correct the clock or, if it is right and the record is of a clock that was wrong, restart with \
                 --delete-future-records={today}"
            )
        } else {
            write!(f, "correct the clock or, if it is right, restart with --trust-clock={today}")
        }
    }
}

/// Returns the UTC date of `time`.
pub(in crate::backend) fn utc_date(time: Timestamp) -> Date {
    time.to_zoned(TimeZone::UTC).date()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::clock::ManualClock;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_clock_may_be_31_days_after_the_newest_record_and_an_hour_before_it() {
        let newest = at("2026-11-23T20:00:00Z");
        for (now, flag) in [
            ("2026-12-24T20:00:00Z", None),
            ("2026-12-24T20:00:01Z", Some("--trust-clock=2026-12-24")),
            ("2029-02-01T00:00:00Z", Some("--trust-clock=2029-02-01")),
            ("2026-11-23T19:00:00Z", None),
            ("2026-11-23T18:59:59Z", Some("--delete-future-records=2026-11-23")),
            ("1970-01-01T00:00:05Z", Some("--delete-future-records=1970-01-01")),
        ] {
            let manual = ManualClock::new(at(now));
            let guard = ClockGuard::new(manual.clone().into(), None, Some(newest));
            let error = guard.now().err().map(|error| error.to_string());
            assert_eq!(error.is_some(), flag.is_some(), "{now}");
            assert!(error.is_none_or(|error| error.contains(flag.unwrap())), "{now}");
            manual.set(newest);
            assert_eq!(guard.now(), Ok(newest), "{now}");
        }
        assert!(ClockGuard::new(ManualClock::new(at("1970-01-01T00:00:00Z")).into(), None, None).now().is_ok());
    }

    #[test]
    fn a_clock_is_trusted_on_one_day_and_what_is_received_then_is_the_newest() {
        let manual = ManualClock::new(at("2029-02-01T12:00:00Z"));
        let trusted = Some("2029-02-01".parse().unwrap());
        let guard = ClockGuard::new(manual.clone().into(), trusted, Some(at("2026-11-23T20:00:00Z")));
        guard.received(guard.now().unwrap());
        manual.set(at("2029-02-02T00:00:00Z"));
        assert!(guard.now().is_ok(), "it agrees with what was received");
        manual.set(at("2031-02-02T00:00:00Z"));
        assert!(guard.now().is_err(), "it is another day");
    }
}
