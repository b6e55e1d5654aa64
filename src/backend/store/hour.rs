//! Hours and days of UTC, the units in which a store counts time.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// The seconds of an hour.
const HOUR: i64 = 3_600;

/// The hours of a day.
const HOURS_A_DAY: i32 = 24;

/// The days of a week.
const DAYS_A_WEEK: i32 = 7;

/// An hour, counted from 1970-01-01T00:00Z.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(i32);

/// A day, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i32);

impl Hour {
    /// Returns the hour of `time`.
    pub fn of(time: Timestamp) -> Self {
        // The years -9999 to 9999 have less than 2^27 hours.
        Self(i32::try_from(time.as_second().div_euclid(HOUR)).unwrap_or_default())
    }

    /// Returns the hour with this number.
    pub const fn from_number(number: i32) -> Self {
        Self(number)
    }

    /// Returns the number of hours since 1970.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// Returns the beginning of the hour.
    pub fn start(self) -> Timestamp {
        Timestamp::from_second(i64::from(self.0) * HOUR).unwrap_or_default()
    }

    /// Returns the day of the hour.
    pub const fn day(self) -> Day {
        Day(self.0.div_euclid(HOURS_A_DAY))
    }

    /// Returns the hour that is this many hours earlier.
    #[must_use]
    pub const fn minus(self, hours: i32) -> Self {
        Self(self.0.saturating_sub(hours))
    }

    /// Returns the number of hours from `earlier` to this one; negative if `earlier` is later.
    pub const fn since(self, earlier: Self) -> i32 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Day {
    /// Returns the day of `date`.
    pub fn of(date: Date) -> Self {
        Self((date - epoch()).get_days())
    }

    /// Returns the day with this number.
    pub const fn from_number(number: i32) -> Self {
        Self(number)
    }

    /// Returns the number of days since 1970.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// Returns the date.
    pub fn date(self) -> Date {
        let days = Span::new().try_days(self.0);
        days.and_then(|days| epoch().checked_add(days)).unwrap_or_default()
    }

    /// Returns the day that is this many days earlier.
    #[must_use]
    pub const fn minus(self, days: i32) -> Self {
        Self(self.0.saturating_sub(days))
    }

    /// Returns the day that is this many days later.
    #[must_use]
    pub const fn plus(self, days: i32) -> Self {
        Self(self.0.saturating_add(days))
    }

    /// Returns the number of days from `earlier` to this one; negative if `earlier` is later.
    pub const fn since(self, earlier: Self) -> i32 {
        self.0.saturating_sub(earlier.0)
    }

    /// Returns the Monday of the day's ISO week, by which a week is named.
    #[must_use]
    pub const fn monday(self) -> Self {
        // 1970-01-01 was a Thursday.
        self.minus((self.0.saturating_add(3)).rem_euclid(DAYS_A_WEEK))
    }

    /// Returns the Monday of the ISO week before the one of the day: of today, the week that ended last.
    #[must_use]
    pub const fn week_before(self) -> Self {
        self.monday().minus(DAYS_A_WEEK)
    }

    /// Returns the first hour of the day.
    pub const fn first_hour(self) -> Hour {
        Hour(self.0.saturating_mul(HOURS_A_DAY))
    }
}

fn epoch() -> Date {
    Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC).date()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_and_days_are_those_of_utc_on_both_sides_of_1970() {
        for (text, hour, start, day) in [
            ("1970-01-01T00:59:59Z", 0, "1970-01-01T00:00:00Z", "1970-01-01"),
            ("1969-12-31T23:59:59Z", -1, "1969-12-31T23:00:00Z", "1969-12-31"),
            ("2026-11-23T20:00:01Z", 498_740, "2026-11-23T20:00:00Z", "2026-11-23"),
        ] {
            let found = Hour::of(text.parse().unwrap());
            assert_eq!(found.number(), hour, "{text}");
            assert_eq!(found.start().to_string(), start);
            assert_eq!(found.day().date().to_string(), day);
            assert_eq!(Day::of(found.day().date()), found.day());
            assert!(found.day().first_hour() <= found && found.since(found.day().first_hour()) < 24);
        }
    }

    #[test]
    fn a_week_begins_on_monday_also_before_1970() {
        for (day, monday) in [
            ("2026-11-22", "2026-11-16"),
            ("2026-11-23", "2026-11-23"),
            ("1970-01-01", "1969-12-29"),
            ("1969-12-28", "1969-12-22"),
        ] {
            assert_eq!(Day::of(day.parse().unwrap()).monday().date().to_string(), monday, "{day}");
        }
    }
}
