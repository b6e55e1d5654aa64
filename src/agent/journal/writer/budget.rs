//! How much may be written.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes that may be written at once: fifteen times a journal of 10,000 control planes, so that what changes now and
/// then is never held up.
const BURST: f64 = 4.0 * 1024.0 * 1024.0;

/// Bytes a second in the long run. The API server keeps every revision for 5 to 10 minutes: of etcd's default quota of
/// 2 GiB, this fills a twelfth in that time, and not all of it when every control plane of a large cluster is changed.
const RATE: f64 = 256.0 * 1024.0;

/// A bucket that fills at a rate, and may be overdrawn by one write.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: f64,
    at: Instant,
}

impl Budget {
    pub(super) fn full() -> Self {
        Self { bytes: BURST, at: Instant::now() }
    }

    /// So much was written.
    #[expect(clippy::cast_precision_loss, reason = "a write has far fewer than 2^53 bytes")]
    pub(super) fn spend(&mut self, bytes: usize) {
        let filled = self.bytes + RATE * self.at.elapsed().as_secs_f64();
        (self.bytes, self.at) = (filled.min(BURST) - bytes as f64, Instant::now());
    }

    /// When the next write may begin.
    pub(super) fn ready_at(&self) -> Instant {
        self.at + Duration::from_secs_f64((-self.bytes).max(0.0) / RATE)
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
        assert!((RATE * 0.9..RATE * 1.1).contains(&rate), "{rate}");
        tokio::time::sleep(Duration::from_hours(1)).await;
        budget.spend(1_000_000);
        assert!(budget.ready_at() <= Instant::now(), "it has filled again");
    }
}
