//! The loop of a repeated job.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Runs `job` at once and then every `period`, until `shutdown`, which also ends a run.
///
/// A run that takes longer than a period delays the next one: runs are not caught up on.
pub(super) async fn repeat<F>(period: Duration, shutdown: CancellationToken, job: impl Fn() -> F)
where
    F: Future<Output = ()>,
{
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let runs = async {
        loop {
            interval.tick().await;
            job().await;
        }
    };
    shutdown.run_until_cancelled(runs).await;
}
