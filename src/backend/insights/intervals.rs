//! Intervals of shares, and of the difference between two shares.
//!
//! Sources: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
//! American Statistical Association 22 (1927), 209–212. R. G. Newcombe, "Two-sided confidence intervals for the single
//! proportion: comparison of seven methods", Statistics in Medicine 17 (1998), 857–872, method 3. R. G. Newcombe,
//! "Interval estimation for the difference between independent proportions: comparison of eleven methods", Statistics
//! in Medicine 17 (1998), 873–890, method 10.

/// The 97.5 % quantile of the normal distribution, of two-sided intervals of 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// A number of installations out of others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Proportion {
    /// The number of those that are meant.
    pub count: u64,
    /// The number of all.
    pub base: u64,
}

/// An interval of 95 %: of fractions from 0 to 1, or of their differences from -1 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The difference of two shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// The first share less the second one.
    pub value: f64,
    /// Newcombe's interval.
    pub interval: Interval,
}

impl Proportion {
    /// Returns the share; `None` if the base is 0.
    pub fn share(self) -> Option<f64> {
        super::wording::fraction(self.count, self.base)
    }

    /// Returns Wilson's score interval of the share; `None` if the base is 0. A count above the base is taken as the
    /// base.
    #[expect(clippy::cast_precision_loss, reason = "installations are far fewer than 2^53")]
    pub fn interval(self) -> Option<Interval> {
        let Self { count, base } = self;
        let share = self.share()?.min(1.0);
        let base_size = base as f64;
        let center = (share + Z * Z / (2.0 * base_size)) / (1.0 + Z * Z / base_size);
        let variance = share * (1.0 - share) / base_size + Z * Z / (4.0 * base_size * base_size);
        let half = Z * variance.sqrt() / (1.0 + Z * Z / base_size);
        // At the ends the interval is exact, which rounding would miss.
        let low = if count == 0 { 0.0 } else { (center - half).max(0.0) };
        let high = if count >= base { 1.0 } else { (center + half).min(1.0) };
        Some(Interval { low, high })
    }

    /// Returns the difference to `other`, with Newcombe's interval of the two Wilson ones; `None` if a base is 0.
    pub fn minus(self, other: Self) -> Option<Difference> {
        let (share, of) = (self.share()?.min(1.0), self.interval()?);
        let (other_share, of_other) = (other.share()?.min(1.0), other.interval()?);
        let value = share - other_share;
        let interval = Interval {
            low: value - (share - of.low).hypot(of_other.high - other_share),
            high: value + (of.high - share).hypot(other_share - of_other.low),
        };
        Some(Difference { value, interval })
    }
}

impl Interval {
    /// Returns whether zero is not within the interval. An end at zero is within.
    pub fn leaves_out_zero(self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn of(count: u64, base: u64) -> Proportion {
        Proportion { count, base }
    }

    fn rounded(interval: Interval) -> (String, String) {
        (format!("{:.4}", interval.low + 0.0), format!("{:.4}", interval.high))
    }

    #[test]
    fn wilsons_interval_is_that_of_newcombes_examples() {
        // Newcombe 1998, pages 857–872, table I, method 3.
        for (count, base, low, high) in [
            (81, 263, "0.2553", "0.3662"),
            (15, 148, "0.0624", "0.1605"),
            (0, 20, "0.0000", "0.1611"),
            (1, 29, "0.0061", "0.1718"),
        ] {
            assert_eq!(
                rounded(of(count, base).interval().unwrap()),
                (low.to_owned(), high.to_owned()),
                "{count}/{base}"
            );
        }
    }

    #[test]
    fn the_interval_of_a_difference_is_that_of_newcombes_examples() {
        // Newcombe 1998, pages 873–890, table II, method 10.
        for (first, second, low, high) in [
            (of(56, 70), of(48, 80), "0.0524", "0.3339"),
            (of(9, 10), of(3, 10), "0.1705", "0.8090"),
            (of(6, 7), of(2, 7), "0.0582", "0.8062"),
            (of(5, 56), of(0, 29), "-0.0381", "0.1926"),
            (of(0, 10), of(0, 20), "-0.1611", "0.2775"),
            (of(0, 10), of(0, 10), "-0.2775", "0.2775"),
            (of(10, 10), of(0, 20), "0.6791", "1.0000"),
            (of(10, 10), of(0, 10), "0.6075", "1.0000"),
        ] {
            let difference = first.minus(second).unwrap();
            assert_eq!(rounded(difference.interval), (low.to_owned(), high.to_owned()), "{first:?} {second:?}");
        }
        assert!((of(56, 70).minus(of(48, 80)).unwrap().value - 0.2).abs() < 1e-12);
    }

    #[test]
    fn nothing_has_no_interval_and_an_end_at_zero_does_not_leave_it_out() {
        assert_eq!(of(0, 0).interval(), None);
        assert_eq!((of(0, 0).minus(of(1, 2)), of(1, 2).minus(of(0, 0))), (None, None));
        assert!(!Interval { low: 0.0, high: 0.5 }.leaves_out_zero());
        assert!(!Interval { low: -0.5, high: 0.0 }.leaves_out_zero());
        assert!(Interval { low: 0.001, high: 0.5 }.leaves_out_zero());
        assert!(Interval { low: -0.5, high: -0.001 }.leaves_out_zero());
    }

    fn any_proportion() -> impl Strategy<Value = Proportion> {
        (1..=u64::MAX).prop_flat_map(|base| (0..=base, Just(base))).prop_map(|(count, base)| of(count, base))
    }

    proptest! {
        #[test]
        fn an_interval_holds_its_share_and_is_within_its_bounds(first in any_proportion(), second in any_proportion()) {
            let (share, interval) = (first.share().unwrap(), first.interval().unwrap());
            prop_assert!(0.0 <= interval.low && interval.low <= share + 1e-12);
            prop_assert!(share - 1e-12 <= interval.high && interval.high <= 1.0);
            let difference = first.minus(second).unwrap();
            let back = second.minus(first).unwrap();
            prop_assert!(difference.interval.low <= difference.value && difference.value <= difference.interval.high);
            prop_assert!((difference.interval.low + back.interval.high).abs() < 1e-9, "it is antisymmetric");
        }
    }
}
