//! Waits between tries.

use std::time::Duration;

/// Waits without end: each twice the one before, up to a longest, spread by chance between a half and the whole of
/// that, so that installations which were cut off together do not come back together.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// Begins with `min`. Whatever succeeds begins anew.
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self { next: min.min(max), max }
    }

    /// The next wait.
    pub(super) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.max);
        spread(wait)
    }

    /// The longest wait, now.
    pub(super) fn longest(&self) -> Duration {
        spread(self.max)
    }
}

fn spread(wait: Duration) -> Duration {
    wait.mul_f32(f32::midpoint(1.0, fastrand::f32()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_are_spread() {
        let (min, max) = (Duration::from_secs(1), Duration::from_mins(1));
        for _ in 0..100 {
            let mut backoff = Backoff::new(min, max);
            for expected in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0_f32] {
                let wait = backoff.wait().as_secs_f32();
                assert!((expected * 0.5..=expected).contains(&wait), "{wait} for {expected}");
            }
        }
    }
}
