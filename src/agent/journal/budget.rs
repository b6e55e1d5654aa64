//! The budget of bytes written to the API server.

use std::time::Duration;

use tokio::time::Instant;

/// The capacity in bytes: twelve bases of 10,000 control planes, or 600 of their changes with the bases that these come
/// with, so that occasional changes are never delayed.
const BURST_BYTES: f64 = 4.0 * 1024.0 * 1024.0;

/// The sustained rate in bytes per second. The API server keeps every revision for 5 to 10 minutes. At this rate the
/// revisions of 10 minutes fill a twelfth of etcd's default quota of 2 GiB, whatever changes in the cluster.
const BYTES_PER_SECOND: f64 = 256.0 * 1024.0;

/// The part of the rate that acknowledgements may take with writes of their own: small beside what the budget allows, so
/// that they never hold up an event.
const ACKNOWLEDGEMENT_SHARE: f64 = 1.0 / 8.0;

/// The minimum wait of an acknowledgement. Heads of up to 64 kB have it: nearly all, but for those with many events or of
/// a baseline that was just recorded. It bounds the
/// number of writes, each of which is a revision in etcd: one event after another causes no more than one in 2 s.
const MIN_ACKNOWLEDGEMENT_DELAY: Duration = Duration::from_secs(2);

/// The maximum wait of an acknowledgement: beyond it, nobody would believe `status`. The largest head of 1.37 MB then
/// takes a sixth of the rate instead of an eighth.
const MAX_ACKNOWLEDGEMENT_DELAY: Duration = Duration::from_secs(30);

/// Returns how long an acknowledgement waits to be part of another write of a head of `bytes`, before it gets a write
/// of its own.
#[expect(clippy::cast_precision_loss, reason = "a journal has far fewer than 2^53 bytes")]
pub(super) fn acknowledgement_delay(bytes: usize) -> Duration {
    Duration::from_secs_f64(bytes as f64 / (BYTES_PER_SECOND * ACKNOWLEDGEMENT_SHARE))
        .clamp(MIN_ACKNOWLEDGEMENT_DELAY, MAX_ACKNOWLEDGEMENT_DELAY)
}

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

    #[test]
    fn acknowledgements_take_a_small_part_of_the_rate_whatever_the_size() {
        for bytes in [0, 1_000, 65_536, 65_537, 350_000, 983_040, 1_300_000] {
            let delay = acknowledgement_delay(bytes);
            #[expect(clippy::cast_precision_loss, reason = "the sizes are small")]
            let rate = bytes as f64 / delay.as_secs_f64();
            assert!(rate <= BYTES_PER_SECOND / 6.0, "{bytes}: {rate}");
            assert!((2..=30).contains(&delay.as_secs()), "{bytes}: {delay:?}");
        }
        assert_eq!(acknowledgement_delay(10_000), Duration::from_secs(2), "a small journal does not wait for long");
        assert!(acknowledgement_delay(350_000) > Duration::from_secs(10), "and a large one is not written often");
    }

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
