//! Exponential backoff with jitter.

use std::time::Duration;

/// An endless series of waits, each twice the one before, up to a maximum.
///
/// Each wait is spread at random between half and all of its length, so that installations that were cut off together do
/// not come back together.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// Creates a series that starts with `min`. A success starts a new series.
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { next: min.min(max), max }
    }

    /// Returns the next wait.
    pub(crate) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.max);
        jittered(wait)
    }

    /// Returns the maximum wait, with jitter, without advancing the series.
    pub(crate) fn max_wait(&self) -> Duration {
        jittered(self.max)
    }
}

fn jittered(wait: Duration) -> Duration {
    wait.mul_f32(f32::midpoint(1.0, fastrand::f32()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_maximum_with_jitter() {
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
