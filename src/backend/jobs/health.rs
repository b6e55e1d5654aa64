//! The health check of the backend, for the probes, gRPC health and the metrics.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::{HealthReporter, health_reporter};

use super::repeat::repeat;
use crate::backend::clock_guard::ClockGuard;
use crate::backend::ingest::otlp::grpc::{LOGS, METRICS};
use crate::backend::metrics;
use crate::backend::store::Store;
use crate::process::probes::{self, Readiness};

/// The interval between two checks, and the time that the store has to answer one: twice within the 10 s after which a
/// kubelet probes again.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// A monitor that checks whether the store can be read and the clock agrees with it, and reports it.
pub(in crate::backend) struct HealthMonitor {
    readiness: Readiness,
    reporter: HealthReporter,
    guard: Arc<ClockGuard>,
}

impl HealthMonitor {
    /// Creates a monitor that reports "not ready" until the first check, to `readiness` for the probes and through the
    /// service over gRPC.
    pub(in crate::backend) async fn new(
        readiness: Readiness,
        guard: Arc<ClockGuard>,
    ) -> (Self, HealthServer<impl Health>) {
        let (reporter, service) = health_reporter();
        let monitor = Self { readiness, reporter, guard };
        monitor.report(false).await;
        (monitor, service)
    }

    /// Checks the store until `shutdown`, after which nothing is ready. `has_metrics` says whether metrics can be
    /// scraped.
    pub(in crate::backend) async fn run(self, store: Arc<dyn Store>, has_metrics: bool, shutdown: CancellationToken) {
        let (monitor, store) = (&self, &store);
        repeat(CHECK_INTERVAL, shutdown, || async move {
            // A store that does not answer cannot be read either.
            let answers = timeout(CHECK_INTERVAL, store.ready()).await.is_ok_and(|answer| answer.is_ok());
            let is_ready = answers && monitor.guard.now().is_ok();
            monitor.report(is_ready).await;
            if has_metrics {
                metrics::ready(is_ready);
                if let Ok(Ok(bytes)) = timeout(CHECK_INTERVAL, store.size()).await {
                    metrics::store_size(bytes);
                }
                // The recorder keeps each latency until this sorts it into its bucket.
                probes::metrics_handle().run_upkeep();
            }
        })
        .await;
        self.report(false).await;
    }

    async fn report(&self, is_ready: bool) {
        self.readiness.set(is_ready);
        let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        // The empty name stands for the whole server.
        for service in ["", METRICS, LOGS] {
            self.reporter.set_service_status(service, status).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::body::Body;
    use futures::FutureExt;
    use futures::future::{BoxFuture, pending, ready};
    use http::{Request, StatusCode};
    use jiff::Timestamp;
    use tower::ServiceExt;
    use uuid::Uuid;

    use super::*;
    use crate::backend::clock::Clock;
    use crate::backend::store::{
        Batch, Cutoffs, Erased, OverviewData, OverviewQuery, Pruned, PseudonymKey, ReadError, StaleRows, WriteError,
    };

    /// A store that can be read unless it hangs, and does nothing else.
    #[derive(Default)]
    struct HangingStore(AtomicBool);

    impl Store for HangingStore {
        fn write(&self, _: Batch) -> BoxFuture<'_, Result<(), WriteError>> {
            pending().boxed()
        }

        fn prune(&self, _: Cutoffs) -> BoxFuture<'_, Result<Pruned, WriteError>> {
            pending().boxed()
        }

        fn newest_record(&self) -> BoxFuture<'_, Result<Option<Timestamp>, ReadError>> {
            pending().boxed()
        }

        fn stale_rows(&self, _: Cutoffs) -> BoxFuture<'_, Result<StaleRows, ReadError>> {
            pending().boxed()
        }

        fn delete_after(&self, _: Timestamp) -> BoxFuture<'_, Result<Pruned, WriteError>> {
            pending().boxed()
        }

        fn checkpoint(&self) -> BoxFuture<'_, Result<(), WriteError>> {
            pending().boxed()
        }

        fn erase(&self, _: Uuid) -> BoxFuture<'_, Result<Erased, WriteError>> {
            pending().boxed()
        }

        fn overview(&self, _: OverviewQuery) -> BoxFuture<'_, Result<OverviewData, ReadError>> {
            pending().boxed()
        }

        fn pseudonym_key(&self) -> BoxFuture<'_, Result<PseudonymKey, ReadError>> {
            pending().boxed()
        }

        fn size(&self) -> BoxFuture<'_, Result<u64, ReadError>> {
            pending().boxed()
        }

        fn ready(&self) -> BoxFuture<'_, Result<(), ReadError>> {
            if self.0.load(Ordering::Relaxed) { pending().boxed() } else { ready(Ok(())).boxed() }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_is_not_ready_until_it_answers_again() {
        let readiness = Readiness::new();
        let guard = Arc::new(ClockGuard::new(Clock::default(), None, None));
        let (monitor, _service) = HealthMonitor::new(readiness.clone(), guard).await;
        let probes = probes::routes(readiness);
        let store = Arc::new(HangingStore::default());
        tokio::spawn(monitor.run(Arc::clone(&store) as _, false, CancellationToken::new()));
        for (hangs, expected) in
            [(false, StatusCode::OK), (true, StatusCode::SERVICE_UNAVAILABLE), (false, StatusCode::OK)]
        {
            store.0.store(hangs, Ordering::Relaxed);
            tokio::time::sleep(3 * CHECK_INTERVAL).await;
            let probe = Request::get("/readyz").body(Body::empty()).unwrap();
            assert_eq!(probes.clone().oneshot(probe).await.unwrap().status(), expected, "hangs: {hangs}");
        }
    }
}
