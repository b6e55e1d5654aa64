//! Random choices whose proportions are exact, so that each element of the history is there for every seed.

use fastrand::Rng;

/// Returns `count` values in random order. `shares` are the values with their percentages, which add up to 100.
pub(super) fn deal<T: Copy>(random: &mut Rng, count: usize, shares: &[(usize, T)]) -> Vec<T> {
    debug_assert_eq!(shares.iter().map(|(percent, _)| percent).sum::<usize>(), 100);
    let mut dealt = Vec::with_capacity(count);
    let mut percent = 0;
    for (share, value) in shares {
        percent += share;
        dealt.resize(count * percent / 100, *value);
    }
    random.shuffle(&mut dealt);
    dealt
}

/// Returns how often something happens that is expected `numerator / denominator` times.
pub(super) fn times(random: &mut Rng, numerator: u32, denominator: u32) -> u32 {
    numerator / denominator + u32::from(random.u32(0..denominator) < numerator % denominator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_its_share_in_random_order() {
        let dealt = deal(&mut Rng::with_seed(1), 200, &[(50, 'a'), (1, 'b'), (49, 'c')]);
        let count = |value| dealt.iter().filter(|dealt| **dealt == value).count();
        assert_eq!(['a', 'b', 'c'].map(count), [100, 2, 98]);
        assert!(dealt[..100].contains(&'c'), "they are in random order");
    }

    #[test]
    fn what_is_expected_half_a_time_happens_every_other_time() {
        let mut random = Rng::with_seed(1);
        let sum: u32 = (0..1_000).map(|_| times(&mut random, 5, 2)).sum();
        assert!((2_400..2_600).contains(&sum), "{sum}");
    }
}
