//! The day on which the backend was away.

use crate::backend::store::{Day, Hour};

/// The age of the day: three weeks ago, so that it is in every chart over time.
pub(super) const AWAY_AGE: i32 = 21;

/// Returns whether the backend was away in `hour`, and received nothing, if the history ends on `today`.
pub(super) fn is_away(hour: Hour, today: Day) -> bool {
    hour.day() == today.minus(AWAY_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backend_is_away_for_all_hours_of_one_day() {
        let today = Day::from_number(1_000);
        let first = today.minus(30).first_hour().number();
        let away = (first..first + 31 * 24).filter(|hour| is_away(Hour::from_number(*hour), today));
        assert_eq!(away.count(), 24);
    }
}
