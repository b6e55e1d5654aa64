//! Token buckets, one a key, in a map that does not grow.

use crate::process::lock::lock;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How much of a rate by the second a key may take at once. An outage that ends lets a fleet of 1,000 installations send within
/// seconds what waited, and Kamaji, which never tries again, posts each update of each object: this is room for both.
const BURST: Duration = Duration::from_secs(20);

/// A day, of whose rate all may come at once.
const DAY: Duration = Duration::from_hours(24);

/// How far ahead of its rate a key can get by what was only seen to be too much after it was read: whoever sent that
/// waits no longer than a person would believe in.
const MOST_AHEAD: Duration = Duration::from_mins(1);

/// The most keys that are remembered, at 40 bytes each. A key is forgotten when its bucket is full again, which takes
/// it 10 ms for each of 100 requests a second, so that requests alone have to come by the million a second to fill the
/// map. What costs more holds its key for longer: a message of the most that is charged for 80 s, so that 820 of them a
/// second are enough, each from another of 65,536 sources, which are a /40 of IPv6.
const MOST_KEYS: usize = 65_536;

/// How often they are looked through at most while the map is full, which takes a millisecond.
const SWEEP: Duration = Duration::from_millis(100);

/// As few as are not worth looking through.
const FEW_KEYS: usize = 1_024;

/// One bucket a key, all of one rate.
///
/// A bucket is the moment at which it will be full again ("generic cell rate algorithm"), so that one which is full is
/// the same as none, and can be forgotten at no loss, as it is every minute. Where [`MOST_KEYS`] are not full, none of them is forgotten: keys
/// that come then share one bucket until there is room. A flood from many addresses so takes nothing from those that
/// are known, and the map does not grow.
#[derive(Debug)]
pub(in crate::backend) struct TokenBuckets<K> {
    /// What one unit takes; nothing is limited if `None`.
    unit: Option<Duration>,
    /// How much may be taken at once, as the time that it takes to come back.
    burst: Duration,
    /// How much more, which is waited for by the next.
    ahead: Duration,
    state: Mutex<BucketState<K>>,
}

#[derive(Debug)]
struct BucketState<K> {
    /// When each is full again.
    full: HashMap<K, Instant>,
    /// The same of the bucket that the others share.
    others: Instant,
    /// How many keys there may be before those that are full are looked for, and when they last were.
    next_sweep: usize,
    swept: Instant,
}

impl<K: Eq + Hash> TokenBuckets<K> {
    /// `rate` units a second; as many as come if it is zero.
    pub(in crate::backend) fn new(rate: u32) -> Self {
        Self::over(Duration::from_secs(1), rate, BURST, MOST_AHEAD)
    }

    /// `rate` units a day. All that is taken is waited for, however long it takes: it is what was wanted and given.
    pub(super) fn daily(rate: u32) -> Self {
        Self::over(DAY, rate, DAY, DAY)
    }

    fn over(time: Duration, rate: u32, burst: Duration, ahead: Duration) -> Self {
        let unit = (rate > 0).then(|| time / rate);
        let now = Instant::now();
        let state = BucketState { full: HashMap::new(), others: now, next_sweep: FEW_KEYS, swept: now };
        Self { unit, burst, ahead, state: Mutex::new(state) }
    }

    /// Takes `units` if the bucket is not empty, else says how long it will be. It may take more than there is: what is
    /// missing is waited for by the next.
    pub(in crate::backend) fn take(&self, key: K, units: u32, now: Instant) -> Result<(), Duration> {
        let Some(unit) = self.unit else { return Ok(()) };
        let mut state = lock(&self.state);
        let full_at = state.bucket(key, now);
        // The burst ends with the unit that it has no room for.
        let wait = (full_at.saturating_duration_since(now) + unit).saturating_sub(self.burst.max(unit));
        if !wait.is_zero() {
            return Err(wait);
        }
        self.fill(full_at, unit, units, now);
        Ok(())
    }

    /// Takes `units`, whether they are there or not.
    pub(super) fn charge(&self, key: K, units: u32, now: Instant) {
        let Some(unit) = self.unit else { return };
        let mut state = lock(&self.state);
        self.fill(state.bucket(key, now), unit, units, now);
    }

    /// Forgets the keys whose buckets are full, which changes nothing for them.
    pub(in crate::backend) fn evict(&self, now: Instant) {
        lock(&self.state).evict(now);
    }

    /// How many keys are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.state.lock().unwrap().full.len()
    }

    fn fill(&self, full_at: &mut Instant, unit: Duration, units: u32, now: Instant) {
        let most = self.burst + self.ahead;
        let wanted = (*full_at).max(now) + unit.saturating_mul(units).min(most);
        *full_at = wanted.min(now + most);
    }
}

impl<K: Eq + Hash> BucketState<K> {
    fn bucket(&mut self, key: K, now: Instant) -> &mut Instant {
        let is_new = !self.full.contains_key(&key);
        if is_new && self.full.len() >= self.next_sweep {
            self.sweep(now);
        }
        if is_new && self.full.len() >= MOST_KEYS {
            return &mut self.others;
        }
        self.full.entry(key).or_insert(now)
    }

    /// Forgets those that are full. The next time is when there are twice as many as are left, so that each key that
    /// comes pays for looking at two.
    fn sweep(&mut self, now: Instant) {
        let is_early = now.saturating_duration_since(self.swept) < SWEEP;
        if self.next_sweep == MOST_KEYS && is_early {
            return;
        }
        self.swept = now;
        self.evict(now);
    }

    fn evict(&mut self, now: Instant) {
        self.full.retain(|_, full_at| *full_at > now);
        self.next_sweep = (2 * self.full.len()).clamp(FEW_KEYS, MOST_KEYS);
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
    fn what_is_charged_afterwards_is_waited_for_at_most_a_minute() {
        let (buckets, now) = (TokenBuckets::new(10), Instant::now());
        assert_eq!(buckets.take(1, 300, now), Ok(()));
        assert_eq!(buckets.take(1, 0, now), Err(Duration::from_millis(10_100)));
        buckets.charge(1, u32::MAX, now);
        assert_eq!(buckets.take(1, 0, now), Err(MOST_AHEAD + Duration::from_millis(100)));
    }

    #[test]
    fn a_day_may_be_taken_at_once_and_comes_back_in_a_day() {
        let (buckets, now) = (TokenBuckets::daily(1_000), Instant::now());
        assert_eq!(taken(&buckets, 1, now), 1_000);
        assert_eq!(buckets.take(1, 0, now), Err(DAY / 1_000));
        assert_eq!(taken(&buckets, 1, now + DAY / 10), 100);
        assert_eq!(taken(&buckets, 1, now + 3 * DAY), 1_000);
        buckets.charge(2, 1_300, now);
        assert_eq!(buckets.take(2, 0, now), Err(DAY / 1_000 * 301));
    }

    #[test]
    fn a_key_is_forgotten_when_its_bucket_is_full_again_and_not_before() {
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
            assert_eq!(buckets.len(), 0, "at the most that can be taken");
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
        let flood = 1..=2 * u32::try_from(MOST_KEYS).unwrap();
        let let_in = flood.filter(|key| buckets.take(*key, 1, now).is_ok()).count();
        // Those that the map has no room for share one bucket.
        assert_eq!(let_in, MOST_KEYS - 1 + 20);
        assert!(buckets.take(0, 1, now).is_err(), "the first key was forgotten");
        assert_eq!(buckets.len(), MOST_KEYS);
        // Two seconds later all but the first are full again, and forgotten for who comes next.
        assert!(buckets.take(u32::MAX, 1, now + Duration::from_secs(2)).is_ok());
        assert_eq!(buckets.len(), 2);
    }
}
