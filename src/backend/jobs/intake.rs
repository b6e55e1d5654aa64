//! The metrics of what is new, against which a flood of forged data stands out.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::repeat::repeat;
use crate::backend::clock::Clock;
use crate::backend::metrics::{self, IntakePeriod};
use crate::backend::store::{DayIntake, Hour, Store};

/// The interval in which the metrics are read: as often as Prometheus usually scrapes. A reading takes some milliseconds.
const INTERVAL: Duration = Duration::from_mins(1);

/// Sets the metrics until `shutdown`.
pub(in crate::backend) async fn run(store: Arc<dyn Store>, clock: Clock, shutdown: CancellationToken) {
    let (store, clock) = (&store, &clock);
    repeat(INTERVAL, shutdown, || async {
        match store.intake(Hour::of(clock.now()).day()).await {
            Ok(intake) => {
                for (period, day) in
                    [(IntakePeriod::Today, Some(intake.today)), (IntakePeriod::Median, intake.median())]
                {
                    metrics::intake(
                        period,
                        day.map(|DayIntake { installations, versions, bulk }| [installations, versions, bulk]),
                    );
                }
            }
            Err(error) => tracing::debug!(%error, "failed to read what is new"),
        }
    })
    .await;
}
