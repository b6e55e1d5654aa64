//! Hours in which the backend was away, so that nothing was received.

use jiff::Timestamp;

use crate::backend::store::{Hour, ServedHour};

/// The fewest minutes of an hour that the backend serves: a restart takes far less than the other half, and what agents
/// report in an hour arrives in the rest.
const MIN_MINUTES: u32 = 30;

/// Hours in a row in which the backend was away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Away {
    /// The first hour.
    pub first: Hour,
    /// The last hour.
    pub last: Hour,
}

impl Away {
    /// Returns the hours between the first and the last served one with fewer than 30 served minutes, in their order.
    /// `served` is in the order of the hours, and has no row of an hour without a served minute.
    ///
    /// The first and the last hour are not away: the first begins when the backend is set up, and the last one may not
    /// be over.
    pub fn between(served: &[ServedHour]) -> Vec<Self> {
        let (Some(begin), Some(end)) = (served.first(), served.last()) else { return Vec::new() };
        let present = served.iter().filter(|hour| hour.minutes >= MIN_MINUTES).map(|hour| hour.hour);
        // The end is a bound, not an hour that was served long enough.
        let bounds = present.filter(|hour| *hour > begin.hour && *hour < end.hour).chain([end.hour]);
        let mut before = begin.hour;
        let mut away = Vec::new();
        for hour in bounds {
            if hour.since(before) > 1 {
                away.push(Self { first: before.minus(-1), last: hour.minus(1) });
            }
            before = hour;
        }
        away
    }

    /// Returns the number of hours.
    pub const fn hours(self) -> i32 {
        self.last.since(self.first) + 1
    }

    /// Returns the beginning of the first hour.
    pub fn from(self) -> Timestamp {
        self.first.start()
    }

    /// Returns the end of the last hour.
    pub fn until(self) -> Timestamp {
        self.last.minus(-1).start()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn served(hours: &[(i32, u32)]) -> Vec<ServedHour> {
        hours.iter().map(|(hour, minutes)| ServedHour { hour: Hour::from_number(*hour), minutes: *minutes }).collect()
    }

    fn ranges(hours: &[(i32, u32)]) -> Vec<(i32, i32)> {
        Away::between(&served(hours)).iter().map(|away| (away.first.number(), away.last.number())).collect()
    }

    #[test]
    fn an_hour_with_thirty_served_minutes_is_not_away() {
        assert_eq!(ranges(&[(1, 60), (2, 30), (3, 60)]), []);
        assert_eq!(ranges(&[(1, 60), (2, 29), (3, 60)]), [(2, 2)]);
    }

    #[test]
    fn missing_hours_are_away_and_the_ends_are_not() {
        assert_eq!(ranges(&[(1, 1), (2, 60), (5, 10), (6, 60), (9, 1)]), [(3, 5), (7, 8)]);
        assert_eq!(ranges(&[(1, 1), (2, 1)]), []);
        assert_eq!(ranges(&[(1, 1)]), []);
        assert_eq!(ranges(&[]), []);
        let [away] = Away::between(&served(&[(0, 60), (3, 60)]))[..] else { panic!("one range") };
        assert_eq!(
            (away.hours(), away.from().to_string(), away.until().to_string()),
            (2, "1970-01-01T01:00:00Z".into(), "1970-01-01T03:00:00Z".into())
        );
    }

    fn any_minutes() -> impl Strategy<Value = u32> {
        prop_oneof![Just(0), 1_u32..=60]
    }

    proptest! {
        #[test]
        fn the_ranges_are_those_of_a_look_at_each_hour(minutes in prop::collection::vec(any_minutes(), 0..40)) {
            let all: Vec<_> = (0_i32..).zip(minutes).collect();
            let rows: Vec<_> = all.iter().copied().filter(|(_, minutes)| *minutes > 0).collect();
            let (first, last) = (rows.first().map_or(0, |row| row.0), rows.last().map_or(0, |row| row.0));
            let is_away = |(hour, minutes): &&(i32, u32)| *hour > first && *hour < last && *minutes < 30;
            let expected: Vec<_> = all.iter().filter(is_away).map(|row| row.0).collect();
            let found: Vec<_> = ranges(&rows).into_iter().flat_map(|(first, last)| first..=last).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
