//! The ticks of the axes: round values from zero, and days, Mondays, months or years.

use jiff::ToSpan;
use jiff::civil::{Date, Weekday};

use super::data::Unit;
use crate::backend::web::format::compact;

/// The number of steps from zero to the largest value that is aimed at.
const STEPS: f64 = 4.0;

/// The relative error of a sum of shares, of which there are far fewer than a hundred.
const ROUNDING: f64 = 1e-13;

/// A tick of the value axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ValueTick {
    pub(super) value: f64,
    pub(super) label: String,
}

/// Returns the ticks from zero to the first that is not below `max`. There are two at least.
pub(super) fn value_ticks(max: f64, unit: Unit) -> Vec<ValueTick> {
    // Shares are counted in percent, so that their steps are round in the unit that is shown.
    let (max, unit_size) = match unit {
        Unit::Count => (max, 1.0),
        // Shares that add up to 1 may add up to a little more, by the errors of their rounding.
        Unit::Share => (max * (1.0 - ROUNDING) * 100.0, 0.01),
    };
    let step = match unit {
        Unit::Count => round_step(max / STEPS, &[1.0, 2.0, 5.0]).max(1.0),
        Unit::Share => round_step(max / STEPS, &[1.0, 2.0, 2.5, 5.0]),
    };
    let label = |value: f64| match unit {
        Unit::Count => compact(whole(value)),
        Unit::Share => format!("{} %", trimmed(value)),
    };
    let tick = |value: f64| ValueTick { value: value * unit_size, label: label(value) };
    // A step is at least a quarter of the maximum, but for a rounding error: five ticks above zero always reach it.
    let mut ticks = vec![tick(0.0)];
    for count in 1..=5 {
        let value = step * f64::from(count);
        ticks.push(tick(value));
        if value >= max {
            break;
        }
    }
    ticks
}

/// Returns the smallest of `factors`, or of ten times the first, by a power of ten that is not below `least`; 1 unless
/// `least` is a positive number.
fn round_step(least: f64, factors: &[f64]) -> f64 {
    if !(least.is_finite() && least > 0.0) {
        return 1.0;
    }
    let power = 10_f64.powf(least.log10().floor());
    factors.iter().map(|factor| factor * power).find(|step| *step >= least).unwrap_or(10.0 * power)
}

/// Formats a value of an axis, without what is below a rounding error.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Returns a tick as the whole number that it is.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "ticks of counts are whole numbers from zero, and a conversion saturates"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// A tick of the date axis: the day, counted from the first one of the axis, and its label.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DateTick {
    pub(super) day: f64,
    pub(super) label: String,
}

/// The number of days up to which an axis has days or Mondays. A longer one has months.
const MAX_DAYS_BY_DAY: i32 = 45;

/// A rule that says which days have a tick.
#[derive(Debug, Clone, Copy)]
enum Rhythm {
    Days,
    Mondays,
    /// The first days of each of so many months, from January on.
    Months(i8),
}

/// The rhythms, from the closest to the widest.
const RHYTHMS: [Rhythm; 7] = [
    Rhythm::Days,
    Rhythm::Mondays,
    Rhythm::Months(1),
    Rhythm::Months(2),
    Rhythm::Months(3),
    Rhythm::Months(6),
    Rhythm::Months(12),
];

impl Rhythm {
    fn has(self, date: Date) -> bool {
        match self {
            Self::Days => true,
            Self::Mondays => date.weekday() == Weekday::Monday,
            Self::Months(every) => date.day() == 1 && (date.month() - 1) % every == 0,
        }
    }

    /// Formats a date. The first one, and each January, has its year.
    fn label(self, date: Date, first: bool) -> String {
        let with_year = matches!(self, Self::Months(_)) && (first || date.month() == 1);
        let format = match self {
            Self::Days | Self::Mondays => "%-d %b",
            Self::Months(_) if with_year => "%b %Y",
            Self::Months(_) => "%b",
        };
        date.strftime(format).to_string()
    }
}

/// Returns the ticks of `days` days from `first`, in the closest rhythm that has `max` of them at most.
pub(super) fn date_ticks(first: Date, days: i32, max: usize) -> Vec<DateTick> {
    let dates: Vec<_> = (0..days).filter_map(|day| Some((day, first.checked_add(day.days()).ok()?))).collect();
    let of =
        |rhythm: Rhythm| -> Vec<(i32, Date)> { dates.iter().copied().filter(|(_, date)| rhythm.has(*date)).collect() };
    let suits = |rhythm: Rhythm| days <= MAX_DAYS_BY_DAY || matches!(rhythm, Rhythm::Months(_));
    let fits = |rhythm: &Rhythm| suits(*rhythm) && of(*rhythm).len() <= max;
    let rhythm = RHYTHMS.into_iter().find(fits).unwrap_or(Rhythm::Months(12));
    let ticks = of(rhythm).into_iter().enumerate();
    ticks
        .map(|(position, (day, date))| DateTick { day: f64::from(day), label: rhythm.label(date, position == 0) })
        .collect()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn labels(max: f64, unit: Unit) -> Vec<String> {
        value_ticks(max, unit).into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn values_have_round_ticks_from_zero() {
        for (max, expected) in [
            (0.0, &["0", "1"][..]),
            (1.0, &["0", "1"]),
            (2.0, &["0", "1", "2"]),
            (7.0, &["0", "2", "4", "6", "8"]),
            (10.0, &["0", "5", "10"]),
            (690.0, &["0", "200", "400", "600", "800"]),
            (24_102_615.0, &["0", "10 M", "20 M", "30 M"]),
        ] {
            assert_eq!(labels(max, Unit::Count), expected, "{max}");
        }
    }

    #[test]
    fn shares_have_ticks_that_are_round_in_percent() {
        for (max, expected) in [
            (1.0, &["0 %", "25 %", "50 %", "75 %", "100 %"][..]),
            (1.0 + 4.0 * f64::EPSILON, &["0 %", "25 %", "50 %", "75 %", "100 %"]),
            (0.07, &["0 %", "2 %", "4 %", "6 %", "8 %"]),
            (0.003, &["0 %", "0.1 %", "0.2 %", "0.3 %"]),
            (0.0, &["0 %", "1 %"]),
        ] {
            assert_eq!(labels(max, Unit::Share), expected, "{max}");
        }
    }

    #[test]
    fn what_is_no_number_has_an_axis_too() {
        for max in [f64::NAN, f64::INFINITY, -1.0] {
            assert_eq!(labels(max, Unit::Count)[..2], ["0", "1"], "{max}");
        }
    }

    proptest! {
        #[test]
        fn the_last_tick_is_the_first_that_reaches_the_maximum(max in 1_u64.., share in 1e-9..=1.0_f64) {
            for (max, unit) in [(super::super::data::float(max), Unit::Count), (share, Unit::Share)] {
                let values: Vec<_> = value_ticks(max, unit).into_iter().map(|tick| tick.value).collect();
                let reached = values.iter().filter(|value| **value >= max * (1.0 - 1e-12)).count();
                prop_assert!(values[0] == 0.0 && (1..=2).contains(&reached) && values.len() <= 6, "{max}: {values:?}");
            }
        }
    }

    #[test]
    fn a_long_axis_has_months_and_a_short_one_days() {
        let labels = |first, days, max| -> Vec<String> {
            date_ticks(first, days, max).into_iter().map(|tick| tick.label).collect()
        };
        let week = labels(date(2026, 11, 20), 7, 8);
        assert_eq!(week, ["20 Nov", "21 Nov", "22 Nov", "23 Nov", "24 Nov", "25 Nov", "26 Nov"]);
        assert_eq!(labels(date(2026, 10, 28), 30, 8), ["2 Nov", "9 Nov", "16 Nov", "23 Nov"]);
        assert_eq!(labels(date(2026, 11, 27), 90, 13), ["Dec 2026", "Jan 2027", "Feb"]);
        assert_eq!(labels(date(2025, 11, 27), 365, 4), ["Jan 2026", "Apr", "Jul", "Oct"]);
        assert_eq!(labels(date(2016, 2, 1), 3_650, 4).len(), 10, "no rhythm is wide enough");
    }

    #[test]
    fn a_date_tick_is_at_its_day() {
        let tick = DateTick { day: 2.0, label: "Dec 2026".to_owned() };
        assert_eq!(date_ticks(date(2026, 11, 29), 90, 8)[0], tick);
    }
}
