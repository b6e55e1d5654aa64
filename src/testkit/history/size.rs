//! The sizes of installations: most are small, and a few have up to 2,000 control planes.

use fastrand::Rng;

/// A range of sizes, by which trouble differs: larger installations have it sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SizeRange {
    /// The fewest control planes.
    low: u32,
    /// The most control planes.
    high: u32,
    /// The percentage of installations that get stuck under the bad release.
    pub(super) stuck_percent: u32,
    /// The days of two months on which control planes are not ready under any other release.
    pub(super) days_not_ready: i64,
}

/// The ranges, with the percentage of installations in each: a long tail, as of a log-normal distribution.
pub(super) const SIZES: [(usize, SizeRange); 7] = [
    (4, SizeRange { low: 0, high: 0, stuck_percent: 0, days_not_ready: 0 }),
    (15, SizeRange { low: 1, high: 1, stuck_percent: 6, days_not_ready: 3 }),
    (26, SizeRange { low: 2, high: 5, stuck_percent: 13, days_not_ready: 4 }),
    (30, SizeRange { low: 6, high: 20, stuck_percent: 23, days_not_ready: 5 }),
    (17, SizeRange { low: 21, high: 100, stuck_percent: 36, days_not_ready: 7 }),
    (7, SizeRange { low: 101, high: 1_000, stuck_percent: 50, days_not_ready: 9 }),
    (1, SizeRange { low: 1_001, high: 2_000, stuck_percent: 75, days_not_ready: 12 }),
];

impl SizeRange {
    /// Returns a random size of the range. The smaller ones are more frequent.
    pub(super) fn size(self, random: &mut Rng) -> u32 {
        random.u32(self.low..=self.high).min(random.u32(self.low..=self.high))
    }
}
