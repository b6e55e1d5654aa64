//! The days of the history, counted by their age: the number of days before today.

use fastrand::Rng;
use jiff::Timestamp;

use super::outage::is_away;
use crate::backend::store::{Day, Hour};

/// The last hour of a day.
const LAST_HOUR: i32 = 23;

/// A history that ends in an hour of today.
#[derive(Debug, Clone, Copy)]
pub(super) struct Calendar {
    now: Hour,
}

impl Calendar {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { now: Hour::of(now) }
    }

    /// Returns the day of this age.
    pub(super) fn day(self, age: i64) -> Day {
        self.now.day().minus(i32::try_from(age).unwrap_or(i32::MAX))
    }

    /// Returns the hour of the last report of a day: an agent reports every five minutes, and the last report is kept.
    pub(super) fn last_hour(self, age: i64) -> Hour {
        if age == 0 { self.now } else { self.hour(age, LAST_HOUR) }
    }

    /// Returns the hour of a day that is so many hours after its beginning.
    pub(super) fn hour(self, age: i64, hours: i32) -> Hour {
        Hour::from_number(self.day(age).first_hour().number() + hours)
    }

    /// Returns a random hour of a day. The current hour is left to what happens from here on, and is the newest.
    pub(super) fn random_hour(self, random: &mut Rng, age: i64) -> Hour {
        let (first, last) = (self.day(age).first_hour(), self.last_hour(age).min(self.now.minus(1)));
        Hour::from_number(random.i32(first.min(last).number()..=last.number()))
    }

    /// Returns whether something that is sent in `hour` is received: by today, and not while the backend was away.
    pub(super) fn is_received(self, hour: Hour) -> bool {
        hour <= self.now && !is_away(hour, self.now.day())
    }
}
