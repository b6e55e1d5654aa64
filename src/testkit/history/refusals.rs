//! The records of senders that the backend refuses.

use std::ops::RangeInclusive;

use super::calendar::Calendar;
use crate::backend::store::RefusalCounts;

/// Records that are refused: from and to which ages, on one of how many days, how many at least, and why.
type RefusedRecords = (RangeInclusive<i64>, usize, u64, &'static str);

/// A collector that adds attributes of its own for nine days, agents whose clock is off, a scanner that knows no path, a
/// program of another project, and one that sends something else than OTLP.
const REFUSED: [RefusedRecords; 5] = [
    (33..=41, 1, 576, "unknown_attribute"),
    (2..=90, 6, 3, "expired"),
    (1..=90, 9, 2, "unrouted"),
    (12..=12, 1, 40, "unknown_signal"),
    (4..=6, 1, 24, "malformed"),
];

/// The most records by which the days of a range differ.
const SPREAD: i64 = 5;

/// Returns the refused records by day and reason. Nothing is refused while the backend is away.
pub(super) fn refusals(calendar: Calendar) -> RefusalCounts {
    let mut refusals = RefusalCounts::new();
    for (ages, step, least, reason) in REFUSED {
        for age in ages.step_by(step).filter(|age| calendar.is_received(calendar.last_hour(*age))) {
            // Multiples of 7 look random in so small a range.
            let more = u64::try_from(age * 7 % SPREAD).unwrap_or_default();
            *refusals.entry((calendar.day(age), reason)).or_default() += least + more;
        }
    }
    refusals
}

#[cfg(test)]
mod tests {
    use super::super::outage::AWAY_AGE;
    use super::*;
    use crate::backend::store::{Day, utc_day};

    #[test]
    fn refusals_are_of_the_past_weeks_and_of_several_reasons() {
        let now = "2026-11-27T09:30:00Z".parse().unwrap();
        let (refusals, today) = (refusals(Calendar::new(now)), Day::of(utc_day(now)));
        let of_month = refusals.keys().filter(|(day, _)| today.since(*day) <= 30);
        let reasons: std::collections::BTreeSet<_> = of_month.map(|(_, reason)| *reason).collect();
        assert!(reasons.len() >= 3, "{reasons:?}");
        assert!(refusals.keys().all(|(day, _)| *day < today && *day != today.minus(AWAY_AGE)));
    }
}
