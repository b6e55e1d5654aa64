//! ISO weeks, named by their Mondays.

use super::definitions::Window;
use crate::backend::store::Day;

/// The days of a week.
pub const DAYS: i32 = 7;

/// Returns the Monday of the last week that is over on `through`, the last complete day.
pub const fn last_complete(through: Day) -> Day {
    through.plus(1).week_before()
}

/// Returns the Mondays of the last `weeks` complete weeks, oldest first.
pub fn complete(through: Day, weeks: i32) -> impl Iterator<Item = Day> {
    let last = last_complete(through);
    (0..weeks).rev().map(move |ago| last.minus(ago * DAYS))
}

/// Returns the Wednesday of the week of `monday`, by whose state a week is drawn.
pub const fn wednesday(monday: Day) -> Day {
    monday.plus(2)
}

/// Returns the Thursday of the week of `monday`, which is its middle.
pub const fn middle(monday: Day) -> Day {
    monday.plus(3)
}

/// Returns the days of the week of `monday`.
pub fn days_of(monday: Day) -> impl Iterator<Item = Day> {
    (0..DAYS).map(move |days| monday.plus(days))
}

/// Complete ISO weeks without a gap, named by their Mondays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weeks {
    /// The first week.
    pub first: Day,
    /// The last week.
    pub last: Day,
}

impl Weeks {
    /// Returns the last complete weeks that stand for a window. `through` is the last complete day.
    pub const fn of(window: Window, through: Day) -> Self {
        Self::last(window.weeks(), through)
    }

    /// Returns the last complete weeks, as many as `number`, which is positive.
    pub const fn last(number: i32, through: Day) -> Self {
        let last = last_complete(through);
        Self { first: last.minus((number - 1) * DAYS), last }
    }

    /// Returns whether the week that begins on `monday` is one of them.
    pub fn contains(self, monday: Day) -> bool {
        (self.first..=self.last).contains(&monday)
    }

    /// Returns the number of weeks.
    pub const fn number(self) -> i32 {
        self.last.since(self.first) / DAYS + 1
    }

    /// Returns the Mondays, oldest first.
    pub fn mondays(self) -> impl DoubleEndedIterator<Item = Day> {
        (0..self.number()).map(move |week| self.first.plus(week * DAYS))
    }

    /// Returns the weeks in words, such as `the 4 complete weeks from 2026-10-26 to 2026-11-22`.
    pub fn text(self) -> String {
        let (first, last) = (self.first.date(), self.last.plus(DAYS - 1).date());
        match self.number() {
            1 => format!("the complete week from {first} to {last}"),
            weeks => format!("the {weeks} complete weeks from {first} to {last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_facts::day;
    use super::*;

    #[test]
    fn a_week_is_complete_with_its_sunday() {
        for (through, last) in
            [("2026-11-21", "2026-11-09"), ("2026-11-22", "2026-11-16"), ("2026-11-23", "2026-11-16")]
        {
            assert_eq!(last_complete(day(through)), day(last), "{through}");
        }
        let weeks: Vec<_> = complete(day("2026-11-22"), 2).collect();
        assert_eq!(weeks, [day("2026-11-09"), day("2026-11-16")]);
        assert_eq!(days_of(day("2026-11-16")).last(), Some(day("2026-11-22")));
        assert_eq!((wednesday(weeks[1]), middle(weeks[1])), (day("2026-11-18"), day("2026-11-19")));
    }

    #[test]
    fn a_window_has_whole_weeks_without_a_gap() {
        let weeks = Weeks::of(Window::Days30, day("2026-11-26"));
        let mondays: Vec<_> = weeks.mondays().map(|monday| monday.date().to_string()).collect();
        assert_eq!(mondays, ["2026-10-26", "2026-11-02", "2026-11-09", "2026-11-16"]);
        assert!(
            weeks.contains(day("2026-10-26"))
                && !weeks.contains(day("2026-10-19"))
                && !weeks.contains(day("2026-11-23"))
        );
        assert_eq!(weeks.text(), "the 4 complete weeks from 2026-10-26 to 2026-11-22");
        assert_eq!(
            Weeks::of(Window::Days7, day("2026-11-26")).text(),
            "the complete week from 2026-11-16 to 2026-11-22"
        );
        assert_eq!(Weeks::of(Window::Days365, day("2026-11-26")).number(), 52);
    }
}
