//! The budget of bytes written to the API server.

use std::time::Duration;

use tokio::time::Instant;

/// The capacity in bytes: fifteen journals of 10,000 control planes, so that occasional changes are never delayed.
const BURST_BYTES: f64 = 4.0 * 1024.0 * 1024.0;

/// The sustained rate in bytes per second. The API server keeps every revision for 5 to 10 minutes. At this rate the
/// revisions of 10 minutes fill a twelfth of etcd's default quota of 2 GiB, whatever changes in the cluster.
const BYTES_PER_SECOND: f64 = 256.0 * 1024.0;

/// A token bucket that one write may overdraw.
#[derive(Debug)]
pub(super) struct Budget {
    /// The balance at `updated_at`; negative if it is overdrawn.
    bytes: f64,
    updated_at: Instant,
}

impl Budget {
    pub(super) fn full() -> Self {
        Self { bytes: BURST_BYTES, updated_at: Instant::now() }
    }

    #[expect(clippy::cast_precision_loss, reason = "a write has far fewer than 2^53 bytes")]
    pub(super) fn spend(&mut self, bytes: usize) {
        let refilled = self.bytes + BYTES_PER_SECOND * self.updated_at.elapsed().as_secs_f64();
        (self.bytes, self.updated_at) = (refilled.min(BURST_BYTES) - bytes as f64, Instant::now());
    }

    /// Returns the time at which the balance is no longer negative.
    pub(super) fn ready_at(&self) -> Instant {
        self.updated_at + Duration::from_secs_f64((-self.bytes).max(0.0) / BYTES_PER_SECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_not_held_up_and_a_flood_is() {
        let mut budget = Budget::full();
        let mut written = 0;
        while budget.ready_at() <= Instant::now() {
            budget.spend(260_000);
            written += 260_000;
        }
        assert!((4_000_000..=5_000_000).contains(&written), "{written}");
        let begun = Instant::now();
        for _ in 0..100 {
            tokio::time::sleep_until(budget.ready_at()).await;
            budget.spend(260_000);
        }
        let rate = 26_000_000.0 / begun.elapsed().as_secs_f64();
        assert!((BYTES_PER_SECOND * 0.9..BYTES_PER_SECOND * 1.1).contains(&rate), "{rate}");
        tokio::time::sleep(Duration::from_hours(1)).await;
        budget.spend(1_000_000);
        assert!(budget.ready_at() <= Instant::now(), "it has filled again");
    }
}
