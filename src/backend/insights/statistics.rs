//! Medians, quantiles and slopes.

/// A line through points by the method of Theil and Sen, which a few outliers do not move.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TheilSen {
    /// The median of the slopes of all pairs of points.
    pub slope: f64,
    /// The first and the third quartile of these slopes.
    pub quartiles: (f64, f64),
    /// The median of `y - slope * x`: the value at 0.
    pub intercept: f64,
}

/// Returns a quantile of numbers with their counts, `p` from 0 to 1; `None` if there are none.
///
/// It is interpolated between the values at the ranks around `(n - 1) * p`, of n values in order of which the first has
/// rank 0: type 7 of Hyndman and Fan. Numbers that are not finite must not be among them.
#[expect(clippy::cast_precision_loss, reason = "a rank of 2^53 and more is right to 15 digits")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank is from 0 to n - 1")]
pub fn quantile_of_counts(values: &[(f64, u64)], p: f64) -> Option<f64> {
    let mut values: Vec<_> = values.iter().copied().filter(|(_, count)| *count > 0).collect();
    values.sort_by(|left, right| left.0.total_cmp(&right.0));
    let number: u64 = values.iter().map(|(_, count)| count).sum();
    let rank = number.checked_sub(1)? as f64 * p.clamp(0.0, 1.0);
    let (below, fraction) = (rank.floor() as u64, rank.fract());
    let at = |rank: u64| {
        let mut first = 0;
        values.iter().find_map(|(value, count)| {
            first += count;
            (rank < first).then_some(*value)
        })
    };
    let lower = at(below)?;
    // The last rank has none above it, and needs none.
    let upper = at(below + 1).unwrap_or(lower);
    Some(lower + (upper - lower) * fraction)
}

/// Returns a quantile of numbers, as [`quantile_of_counts`] defines it.
pub fn quantile(values: &[f64], p: f64) -> Option<f64> {
    quantile_of_counts(&values.iter().map(|value| (*value, 1)).collect::<Vec<_>>(), p)
}

/// Returns the median; that of an even number of values is the mean of the two in the middle. `None` if there are none.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

impl TheilSen {
    /// Fits a line through points; `None` if there are not two with different `x`.
    pub fn of(points: &[(f64, f64)]) -> Option<Self> {
        let pairs = points.iter().enumerate().flat_map(|(position, left)| {
            points[position + 1..].iter().map(move |right| (right.0 - left.0, right.1 - left.1))
        });
        let slopes: Vec<_> = pairs.filter(|(run, _)| *run != 0.0).map(|(run, rise)| rise / run).collect();
        let slope = median(&slopes)?;
        let intercepts: Vec<_> = points.iter().map(|(x, y)| y - slope * x).collect();
        Some(Self {
            slope,
            quartiles: (quantile(&slopes, 0.25)?, quantile(&slopes, 0.75)?),
            intercept: median(&intercepts)?,
        })
    }
}

/// Returns `count` of `base` with half of one added on both sides, so that neither none nor all is 0 or 1.
#[expect(clippy::cast_precision_loss, reason = "a share of 2^53 and more is right to 15 digits")]
pub fn smoothed_share(count: u64, base: u64) -> f64 {
    (count as f64 + 0.5) / (base as f64 + 1.0)
}

/// Returns the logit of a share. One nearer to 0 or 1 than a millionth of a millionth is taken as that, to stay finite.
pub fn logit(share: f64) -> f64 {
    let share = share.clamp(1e-12, 1.0 - 1e-12);
    (share / (1.0 - share)).ln()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_close(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn a_quantile_is_interpolated_between_ranks() {
        let values = [4.0, 1.0, 3.0, 2.0];
        for (p, expected) in [(0.0, 1.0), (0.25, 1.75), (0.5, 2.5), (0.75, 3.25), (1.0, 4.0)] {
            assert_eq!(quantile(&values, p), Some(expected), "{p}");
        }
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!((median(&[]), quantile_of_counts(&[(1.0, 0)], 0.5)), (None, None));
        assert_eq!(quantile_of_counts(&[(1.0, 1), (9.0, u64::from(u32::MAX))], 0.5), Some(9.0));
    }

    #[test]
    fn one_outlier_does_not_move_the_line() {
        let points = [(0.0, 1.0), (1.0, 3.0), (2.0, 5.0), (3.0, 7.0), (4.0, -90.0), (5.0, 11.0)];
        let line = TheilSen::of(&points).unwrap();
        assert_eq!((line.slope, line.intercept), (2.0, 1.0));
        assert!(line.quartiles.0 <= 2.0 && line.quartiles.1 >= 2.0);
        assert_eq!(TheilSen::of(&[(1.0, 5.0)]), None);
        assert_eq!(TheilSen::of(&[(1.0, 5.0), (1.0, 6.0)]), None);
    }

    #[test]
    fn a_logit_is_finite_for_none_and_for_all() {
        assert!(is_close(logit(smoothed_share(5, 10)), 0.0) && is_close(logit(smoothed_share(0, 0)), 0.0));
        assert!(is_close(logit(smoothed_share(0, 10)), (0.5_f64 / 10.5).ln()));
        assert!(is_close(logit(smoothed_share(10, 10)), (10.5_f64 / 0.5).ln()));
        assert!(logit(smoothed_share(u64::MAX, u64::MAX)).is_finite() && logit(0.0).is_finite());
    }

    proptest! {
        #[test]
        fn counts_stand_for_repeated_values(
            values in prop::collection::vec((-50_i32..50, 0_u64..5), 0..8),
            p in 0.0..1.0,
        ) {
            let values: Vec<_> = values.into_iter().map(|(value, count)| (f64::from(value), count)).collect();
            let repeated = |(value, count): &(f64, u64)| (0..*count).map(|_| *value).collect::<Vec<_>>();
            let all: Vec<_> = values.iter().flat_map(repeated).collect();
            prop_assert_eq!(quantile_of_counts(&values, p), quantile(&all, p));
        }

        #[test]
        fn the_order_of_points_does_not_matter(
            points in prop::collection::vec((-20_i32..20, -20_i32..20), 0..8).prop_shuffle()
        ) {
            let points: Vec<_> = points.into_iter().map(|(x, y)| (f64::from(x), f64::from(y))).collect();
            let mut sorted = points.clone();
            sorted.sort_by(|left, right| left.partial_cmp(right).unwrap());
            let slopes = |points: &[(f64, f64)]| TheilSen::of(points).map(|line| (line.slope, line.quartiles));
            prop_assert_eq!(slopes(&points), slopes(&sorted));
        }
    }
}
