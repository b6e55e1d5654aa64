//! The control planes of an installation that do not work, or that are being upgraded.
//!
//! A control plane that is just being made is not ready on one day. One that is stuck is not ready on days that follow each
//! other.

use super::size::SizeRange;

/// The days after which trouble returns.
const PERIOD: i64 = 60;

/// The days between two on which a control plane is just being made or upgraded.
const CHANGE_PERIOD: i64 = 9;

/// The days between two upgrades that take long.
const SLOW_UPGRADE_PERIOD: i64 = 45;

/// The days that such an upgrade takes.
const SLOW_UPGRADE_DAYS: i64 = 10;

/// The percentage of the running control planes that are stuck.
const STUCK_CONTROL_PLANES: u32 = 8;

/// The proneness of an installation to trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Proneness {
    range: SizeRange,
    /// The days by which its periods are shifted.
    phase: i64,
    /// The percentage of installations that are more prone to the bad release.
    robustness: u32,
    /// True if its upgrades take days.
    has_slow_upgrades: bool,
}

impl Proneness {
    pub(super) fn new(range: SizeRange, has_slow_upgrades: bool) -> Self {
        Self { range, phase: 0, robustness: 0, has_slow_upgrades }
    }

    /// Returns the one of the installation with this number. Those of numbers that follow each other are far apart, as
    /// multiples of the golden ratio are.
    pub(super) fn spread(self, number: u32) -> Self {
        Self { phase: i64::from(number) * 37 % PERIOD, robustness: number * 61 % 100, ..self }
    }

    /// Returns whether control planes are stuck on the day `age`. `is_bad` says whether the bad release runs.
    pub(super) fn is_stuck(self, age: i64, is_bad: bool) -> bool {
        let is_prone = is_bad && self.robustness < self.range.stuck_percent;
        is_prone || (age + self.phase) % PERIOD < self.range.days_not_ready
    }

    /// Returns the control planes of `awake` ones that are not ready on the day `age`.
    pub(super) fn not_ready(self, age: i64, awake: u32, is_bad: bool) -> u32 {
        if self.is_stuck(age, is_bad) {
            return (awake * STUCK_CONTROL_PLANES).div_ceil(100);
        }
        u32::from((age + self.phase) % CHANGE_PERIOD == 0).min(awake)
    }

    /// Returns the control planes of `running` ones that are being upgraded on the day `age`.
    pub(super) fn upgrading(self, age: i64, running: u32) -> u32 {
        let is_slow = self.has_slow_upgrades && (age + self.phase) % SLOW_UPGRADE_PERIOD < SLOW_UPGRADE_DAYS;
        let is_quick = (age + self.phase) % CHANGE_PERIOD == CHANGE_PERIOD / 2;
        u32::from(is_slow || is_quick).min(running)
    }
}

#[cfg(test)]
mod tests {
    use super::super::size::SIZES;
    use super::*;

    /// Returns the days of two months on which control planes were not ready on the day before as well.
    fn stuck_days(trouble: Proneness, is_bad: bool) -> usize {
        let not_ready = |age| trouble.not_ready(age, 1_000, is_bad) > 0;
        (0..PERIOD).filter(|age| not_ready(*age) && not_ready(age + 1)).count()
    }

    #[test]
    fn the_bad_release_hits_the_prone_and_the_large_sooner() {
        let stuck = |range, is_bad| {
            let troubles = (0..600).map(|number| Proneness::new(range, false).spread(number));
            troubles.map(|trouble| stuck_days(trouble, is_bad)).sum::<usize>() * 100 / (600 * 60)
        };
        for (_, range) in SIZES {
            let SizeRange { stuck_percent, .. } = range;
            let (bad, good) = (stuck(range, true), stuck(range, false));
            assert!(bad >= stuck_percent as usize && good <= 20, "{range:?}: {bad} % and {good} %");
            assert!(bad >= 2 * good, "{range:?}: {bad} % and {good} %");
        }
        assert!(SIZES.is_sorted_by_key(|(_, range)| (range.stuck_percent, range.days_not_ready)));
    }

    #[test]
    fn a_quick_upgrade_is_over_the_next_day_and_a_slow_one_is_not() {
        let long = |has_slow_upgrades| {
            let trouble = Proneness::new(SIZES[3].1, has_slow_upgrades);
            let upgrading = |age| trouble.upgrading(age, 10) > 0;
            (0..180).filter(|age| upgrading(*age) && upgrading(age + 1)).count()
        };
        assert_eq!(long(false), 0);
        assert!(long(true) >= 8);
    }
}
