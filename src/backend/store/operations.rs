//! The operation of the backend itself: the records that it refused, and the hours in which it served. No I/O.

use std::collections::BTreeMap;

use jiff::Timestamp;
use uuid::Uuid;

use super::hour::{Day, Hour};

/// The seconds of a minute.
const MINUTE: i64 = 60;

/// The minutes of an hour.
const MINUTES: i64 = 60;

/// Numbers of refused records by UTC day and reason. The reasons are the labels of closed sets.
pub type RefusalCounts = BTreeMap<(Day, &'static str), u64>;

/// The operation of a backend since its last flush.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Operations {
    /// The random name of this flush. A store adds it once, however often it is tried.
    pub flush: Uuid,
    /// Refused records. A request that was refused as a whole is one.
    pub refusals: RefusalCounts,
    /// The minutes in which the backend served.
    pub served: Vec<ServedMinutes>,
}

/// Minutes of one hour in which a backend served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServedMinutes {
    /// The hour.
    pub hour: Hour,
    /// A set of minutes: each bit is one, the lowest bit the first.
    pub minutes: u64,
}

impl ServedMinutes {
    /// Returns the minute of a time.
    pub fn of(time: Timestamp) -> Self {
        let minute = time.as_second().div_euclid(MINUTE).rem_euclid(MINUTES);
        Self { hour: Hour::of(time), minutes: 1 << minute }
    }

    /// Returns all minutes of an hour.
    pub const fn all_of(hour: Hour) -> Self {
        Self { hour, minutes: (1 << MINUTES) - 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_minute_of_its_hour() {
        let minutes = |time: &str| {
            let ServedMinutes { hour, minutes } = ServedMinutes::of(time.parse().unwrap());
            (hour.number(), minutes)
        };
        assert_eq!(minutes("1970-01-01T05:00:00Z"), (5, 1));
        assert_eq!(minutes("1970-01-01T05:59:59Z"), (5, 1 << 59));
        assert_eq!(minutes("1969-12-31T23:01:00Z"), (-1, 2));
        assert_eq!(ServedMinutes::all_of(Hour::from_number(5)).minutes.count_ones(), 60);
    }
}
