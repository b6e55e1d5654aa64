//! Token buckets, one per key, in a map of bounded size.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::process::lock::lock;

/// The burst of a rate per second, as the time in which it accrues. An outage that ends lets a fleet of 1,000 installations
/// send its backlog within seconds, and Kamaji, which never tries again, posts each update of each object: this is room for
/// both.
const BURST: Duration = Duration::from_secs(20);

/// The period of a daily rate, all of which may be taken at once.
const DAY: Duration = Duration::from_hours(24);

/// The most that a key can owe beyond its burst, for units that were charged after they were read. It bounds
/// `Retry-After` to a minute.
const MAX_DEBT: Duration = Duration::from_mins(1);

/// The most keys, at 40 bytes each. A key is evicted when its bucket is full again, which takes 10 ms for each of 100
/// requests a second: filling the map takes millions of single requests per second. More expensive requests hold their key
/// for longer: the largest message is charged for 80 s, so that 820 of them a second are enough, each from another of
/// 65,536 clients, which are a /40 of IPv6.
const MAX_KEYS: usize = 65_536;

/// The shortest time between two sweeps while the map is full; a sweep takes a millisecond.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// The number of keys below which a sweep is not worth its time.
const MIN_SWEEP_KEYS: usize = 1_024;

/// Buckets of one rate, one per key.
///
/// A bucket is the moment at which it will be full again ("generic cell rate algorithm"). A full bucket is the same as none,
/// and is evicted every minute without loss. While [`MAX_KEYS`] buckets are not full, none is evicted: new keys share one
/// bucket until there is room. A flood from many addresses therefore does not affect known clients, and the map does not
/// grow.
#[derive(Debug)]
pub(in crate::backend) struct TokenBuckets<K> {
    /// The time in which one unit accrues; `None` if the rate is unlimited.
    unit: Option<Duration>,
    /// The time in which a whole burst accrues.
    burst: Duration,
    /// The most that can be owed beyond the burst.
    max_debt: Duration,
    state: Mutex<BucketState<K>>,
}

#[derive(Debug)]
struct BucketState<K> {
    /// The time at which each bucket is full.
    full_at: HashMap<K, Instant>,
    /// The time at which the bucket of all further keys is full.
    shared_full_at: Instant,
    /// The number of keys at which the next sweep is due.
    next_sweep: usize,
    last_sweep: Instant,
}

impl<K: Eq + Hash> TokenBuckets<K> {
    /// Creates buckets of `rate` units a second; a rate of zero is unlimited.
    pub(in crate::backend) fn new(rate: u32) -> Self {
        Self::over(Duration::from_secs(1), rate, BURST, MAX_DEBT)
    }

    /// Creates buckets of `rate` units a day. A key may owe as much as a day: it has taken all of it.
    pub(super) fn daily(rate: u32) -> Self {
        Self::over(DAY, rate, DAY, DAY)
    }

    fn over(time: Duration, rate: u32, burst: Duration, max_debt: Duration) -> Self {
        let unit = (rate > 0).then(|| time / rate);
        let now = Instant::now();
        let state =
            BucketState { full_at: HashMap::new(), shared_full_at: now, next_sweep: MIN_SWEEP_KEYS, last_sweep: now };
        Self { unit, burst, max_debt, state: Mutex::new(state) }
    }

    /// Takes `units` if the bucket is not empty; fails with the time until it is not. It may take more than there is: the
    /// next call waits for the rest.
    pub(in crate::backend) fn take(&self, key: K, units: u32, now: Instant) -> Result<(), Duration> {
        let Some(unit) = self.unit else { return Ok(()) };
        let mut state = lock(&self.state);
        let full_at = state.bucket(key, now);
        // A burst ends with the unit that exceeds it.
        let wait = (full_at.saturating_duration_since(now) + unit).saturating_sub(self.burst.max(unit));
        if !wait.is_zero() {
            return Err(wait);
        }
        self.fill(full_at, unit, units, now);
        Ok(())
    }

    /// Returns the number of units in the bucket.
    pub(super) fn left(&self, key: &K, now: Instant) -> u32 {
        let Some(unit) = self.unit else { return u32::MAX };
        let state = lock(&self.state);
        let is_full_map = state.full_at.len() >= MAX_KEYS;
        let full_at = state.full_at.get(key).copied().unwrap_or(if is_full_map { state.shared_full_at } else { now });
        let left = self.burst.saturating_sub(full_at.saturating_duration_since(now));
        u32::try_from(left.as_nanos() / unit.as_nanos().max(1)).unwrap_or(u32::MAX)
    }

    /// Takes `units` even from an empty bucket. A key of which nothing is taken is not remembered.
    pub(super) fn charge(&self, key: K, units: u32, now: Instant) {
        let Some(unit) = self.unit.filter(|_| units > 0) else { return };
        let mut state = lock(&self.state);
        self.fill(state.bucket(key, now), unit, units, now);
    }

    /// Evicts the keys whose buckets are full, which changes nothing for them.
    pub(in crate::backend) fn evict(&self, now: Instant) {
        lock(&self.state).evict(now);
    }

    /// Returns the number of keys.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        lock(&self.state).full_at.len()
    }

    fn fill(&self, full_at: &mut Instant, unit: Duration, units: u32, now: Instant) {
        let max = self.burst + self.max_debt;
        let wanted = (*full_at).max(now) + unit.saturating_mul(units).min(max);
        *full_at = wanted.min(now + max);
    }
}

impl<K: Eq + Hash> BucketState<K> {
    fn bucket(&mut self, key: K, now: Instant) -> &mut Instant {
        let is_new = !self.full_at.contains_key(&key);
        if is_new && self.full_at.len() >= self.next_sweep {
            self.sweep(now);
        }
        if is_new && self.full_at.len() >= MAX_KEYS {
            return &mut self.shared_full_at;
        }
        self.full_at.entry(key).or_insert(now)
    }

    /// Evicts the keys whose buckets are full. The next sweep is due when the number of keys has doubled, so that each new
    /// key pays for visiting two.
    fn sweep(&mut self, now: Instant) {
        let is_early = now.saturating_duration_since(self.last_sweep) < SWEEP_INTERVAL;
        if self.next_sweep == MAX_KEYS && is_early {
            return;
        }
        self.last_sweep = now;
        self.evict(now);
    }

    fn evict(&mut self, now: Instant) {
        self.full_at.retain(|_, full_at| *full_at > now);
        self.next_sweep = (2 * self.full_at.len()).clamp(MIN_SWEEP_KEYS, MAX_KEYS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(buckets: &TokenBuckets<u32>, key: u32, now: Instant) -> usize {
        (0..100_000).take_while(|_| buckets.take(key, 1, now).is_ok()).count()
    }

    #[test]
    fn a_key_takes_its_burst_then_its_rate_and_leaves_the_others_theirs() {
        let (buckets, now) = (TokenBuckets::new(10), Instant::now());
        assert_eq!(taken(&buckets, 1, now), 200);
        assert_eq!(buckets.take(1, 1, now), Err(Duration::from_millis(100)));
        assert_eq!(taken(&buckets, 2, now), 200);
        assert_eq!(taken(&buckets, 1, now + Duration::from_secs(1)), 10);
        assert_eq!(taken(&buckets, 1, now + Duration::from_hours(1)), 200);
    }

    #[test]
    fn a_charge_is_waited_for_at_most_a_minute() {
        let (buckets, now) = (TokenBuckets::new(10), Instant::now());
        assert_eq!(buckets.take(1, 300, now), Ok(()));
        assert_eq!(buckets.take(1, 0, now), Err(Duration::from_millis(10_100)));
        buckets.charge(1, u32::MAX, now);
        assert_eq!(buckets.take(1, 0, now), Err(MAX_DEBT + Duration::from_millis(100)));
    }

    #[test]
    fn a_day_may_be_taken_at_once_and_comes_back_in_a_day() {
        let (buckets, now) = (TokenBuckets::daily(1_000), Instant::now());
        assert_eq!(buckets.left(&1, now), 1_000);
        assert_eq!(taken(&buckets, 1, now), 1_000);
        assert_eq!(buckets.take(1, 0, now), Err(DAY / 1_000));
        assert_eq!([DAY / 1_001, DAY / 1_000, DAY / 10].map(|after| buckets.left(&1, now + after)), [0, 1, 100]);
        assert_eq!(taken(&buckets, 1, now + DAY / 10), 100);
        assert_eq!(taken(&buckets, 1, now + 3 * DAY), 1_000);
        buckets.charge(2, 1_300, now);
        assert_eq!(buckets.take(2, 0, now), Err(DAY / 1_000 * 301));
    }

    #[test]
    fn a_key_is_evicted_when_its_bucket_is_full_again_and_not_before() {
        let now = Instant::now();
        for (buckets, until) in
            [(TokenBuckets::new(10), Duration::from_millis(100)), (TokenBuckets::daily(1_000), DAY / 1_000)]
        {
            buckets.charge(1, 1, now);
            for (after, known) in [(until / 2, 1), (until, 0)] {
                buckets.evict(now + after);
                assert_eq!(buckets.len(), known, "{after:?}");
            }
            buckets.charge(2, u32::MAX, now);
            buckets.evict(now + DAY + DAY);
            assert_eq!(buckets.len(), 0, "at the most that can be owed");
        }
    }

    #[test]
    fn zero_limits_nothing() {
        let (buckets, now) = (TokenBuckets::new(0), Instant::now());
        buckets.charge(1, u32::MAX, now);
        assert_eq!(taken(&buckets, 1, now), 100_000);
    }

    #[test]
    fn a_flood_of_keys_evicts_nobody_and_stays_within_the_bound() {
        let (buckets, now) = (TokenBuckets::new(1), Instant::now());
        assert_eq!(taken(&buckets, 0, now), 20);
        let flood = 1..=2 * u32::try_from(MAX_KEYS).unwrap();
        let admitted = flood.filter(|key| buckets.take(*key, 1, now).is_ok()).count();
        // Keys that the map has no room for share one bucket.
        assert_eq!(admitted, MAX_KEYS - 1 + 20);
        assert!(buckets.take(0, 1, now).is_err(), "the first key was evicted");
        assert_eq!(buckets.len(), MAX_KEYS);
        // Two seconds later all but the first are full again, and evicted for the next key.
        assert!(buckets.take(u32::MAX, 1, now + Duration::from_secs(2)).is_ok());
        assert_eq!(buckets.len(), 2);
    }
}
