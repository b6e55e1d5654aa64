//! The weight of an installation in totals of control planes.

/// The number of days since the first receipt for which the weight of an installation is bounded: whoever makes up
/// installations to move a total has to send for four weeks first, in which they are seen and removed.
pub const YOUNG_DAYS: i32 = 28;

/// The hours of [`YOUNG_DAYS`].
pub(super) const YOUNG_HOURS: i32 = YOUNG_DAYS * 24;

/// The most control planes of a young installation in totals: the 20 new installations of one sender and day that count
/// weigh 1,000 at most, which is 0.5 % of a fleet of 200,000. It is no flag, since a row has to leave the rollups as it came
/// in.
pub const MAX_YOUNG_CONTROL_PLANES: u64 = 50;

/// The most that an installation weighs by control planes: a gauge may say 25,000, and one sender must not outweigh all
/// others. Few fleets are larger.
pub const MAX_WEIGHT: u64 = 1_000;

/// Returns the weight of an installation by control planes.
pub(super) fn capped(total: u64, young: bool) -> u64 {
    total.min(if young { MAX_YOUNG_CONTROL_PLANES } else { MAX_WEIGHT })
}

/// Returns the weight of a part of `total` control planes: the part itself or, of a young installation that has more than
/// 50, its share of 50, rounded down.
pub(super) fn weight(part: u32, total: u64, young: bool) -> u64 {
    let part = u64::from(part);
    if young && total > MAX_YOUNG_CONTROL_PLANES { part * MAX_YOUNG_CONTROL_PLANES / total } else { part }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_young_installation_weighs_fifty_at_most_and_its_parts_keep_their_proportions() {
        assert_eq!(weight(50, 50, true), 50);
        assert_eq!(weight(25_000, 25_000, true), 50);
        assert_eq!([90, 6, 3, 1].map(|part| weight(part, 100, true)), [45, 3, 1, 0]);
        assert_eq!([90, 6, 3, 1].map(|part| weight(part, 100, false)), [90, 6, 3, 1]);
        assert_eq!(weight(0, 0, true), 0);
        assert_eq!([10, 51, 25_000].map(|total| capped(total, true)), [10, 50, 50]);
        assert_eq!([51, 1_000, 25_000].map(|total| capped(total, false)), [51, 1_000, 1_000]);
    }
}
