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
use crate::backend::rate_limit::Limiter;
use crate::backend::store::Store;
use crate::process::probes::{self, Readiness};

/// The interval between two checks, and the time that the store has to answer one: twice within the 10 s after which a
/// kubelet probes again.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// A monitor that checks whether the store can be read, the clock agrees with it, and there is room in it.
pub(in crate::backend) struct HealthMonitor {
    readiness: Readiness,
    reporter: HealthReporter,
    guard: Arc<ClockGuard>,
    size_limit: SizeLimit,
}

/// The bound on the size of the store. It is exceeded by as much as is written between two checks: 20 MB at 40,000 events a
/// second.
pub(in crate::backend) struct SizeLimit {
    /// The number of bytes; `None` if there is no bound.
    pub(in crate::backend) max: Option<u64>,
    /// The limiter, which refuses what is new while the store is full.
    pub(in crate::backend) limiter: Arc<Limiter>,
}

impl HealthMonitor {
    /// Creates a monitor that reports "not ready" until the first check, to `readiness` for the probes and through the
    /// service over gRPC.
    pub(in crate::backend) async fn new(
        readiness: Readiness,
        guard: Arc<ClockGuard>,
        size_limit: SizeLimit,
    ) -> (Self, HealthServer<impl Health>) {
        let (reporter, service) = health_reporter();
        let monitor = Self { readiness, reporter, guard, size_limit };
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
            if let Ok(Ok(size)) = timeout(CHECK_INTERVAL, store.size()).await {
                monitor.size_limit.check(size.used);
                if has_metrics {
                    metrics::store_size(size.on_disk);
                }
            }
            if has_metrics {
                metrics::ready(is_ready);
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

impl SizeLimit {
    /// Refuses what is new while the store is as large as it may be. Logs when that begins and ends.
    fn check(&self, used: u64) {
        let was_full = self.limiter.is_full();
        // There is room again below 95 %, so that a store at the bound is not full and not full in turn.
        let is_full = self.max.is_some_and(|max| used >= if was_full { max / 20 * 19 } else { max });
        if was_full == is_full {
            return;
        }
        self.limiter.set_full(is_full);
        let max_store_size = self.max;
        if is_full {
            tracing::error!(
                used,
                max_store_size,
                "the store has reached --max-store-size; new installations and events are refused until data is erased or \
                 expires, or the flag is raised"
            );
        } else {
            tracing::info!(used, max_store_size, "there is room in the store again; everything is stored again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
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
    use crate::backend::rate_limit::Limits;
    use crate::backend::store::{
        Allowance, Batch, Cutoffs, Day, Erased, EventFilter, EventRow, Facts, FactsQuery, Hour, InstallationFilter,
        Intake, MatchedInstallations, MatchedRows, Operations, Pruned, PseudonymKey, PublicKey, PublicWeekStore,
        ReadError, StaleRows, StoreSize, StoredWeek, WeekCounts, WriteError,
    };

    /// A store that can be read unless it hangs, and does nothing else.
    #[derive(Default)]
    struct HangingStore(AtomicBool);

    impl PublicWeekStore for HangingStore {
        fn week_counts(&self, _: Day) -> BoxFuture<'_, Result<WeekCounts, ReadError>> {
            pending().boxed()
        }

        fn public_key(&self) -> BoxFuture<'_, Result<PublicKey, ReadError>> {
            pending().boxed()
        }

        fn last_public_week(&self) -> BoxFuture<'_, Result<Option<Day>, ReadError>> {
            pending().boxed()
        }

        fn publish_week(&self, _: StoredWeek) -> BoxFuture<'_, Result<bool, WriteError>> {
            pending().boxed()
        }

        fn public_weeks(&self) -> BoxFuture<'_, Result<Vec<StoredWeek>, ReadError>> {
            pending().boxed()
        }
    }

    impl Store for HangingStore {
        fn write_within(&self, _: Batch, _: Arc<dyn Allowance>) -> BoxFuture<'_, Result<(), WriteError>> {
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

        fn erase_installations(&self, _: InstallationFilter) -> BoxFuture<'_, Result<MatchedRows, WriteError>> {
            pending().boxed()
        }

        fn erase_events(&self, _: EventFilter) -> BoxFuture<'_, Result<MatchedRows, WriteError>> {
            pending().boxed()
        }

        fn installations(
            &self,
            _: InstallationFilter,
            _: usize,
        ) -> BoxFuture<'_, Result<MatchedInstallations, ReadError>> {
            pending().boxed()
        }

        fn events(&self, _: EventFilter, _: usize) -> BoxFuture<'_, Result<Vec<EventRow>, ReadError>> {
            pending().boxed()
        }

        fn count_events(&self, _: EventFilter) -> BoxFuture<'_, Result<MatchedRows, ReadError>> {
            pending().boxed()
        }

        fn intake(&self, _: Day) -> BoxFuture<'_, Result<Intake, ReadError>> {
            pending().boxed()
        }

        fn record_operations(&self, _: Operations) -> BoxFuture<'_, Result<(), WriteError>> {
            pending().boxed()
        }

        fn facts(&self, _: Vec<FactsQuery>) -> BoxFuture<'_, Result<Vec<Facts>, ReadError>> {
            pending().boxed()
        }

        fn move_first_seen(&self, _: BTreeMap<Uuid, Hour>) -> BoxFuture<'_, Result<u64, WriteError>> {
            pending().boxed()
        }

        fn pseudonym_key(&self) -> BoxFuture<'_, Result<PseudonymKey, ReadError>> {
            pending().boxed()
        }

        fn size(&self) -> BoxFuture<'_, Result<StoreSize, ReadError>> {
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
        let limiter = Limiter::new(&Limits::default(), Clock::default());
        let size_limit = SizeLimit { max: None, limiter };
        let (monitor, _service) = HealthMonitor::new(readiness.clone(), guard, size_limit).await;
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
