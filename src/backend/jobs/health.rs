//! How the backend does, looked at now and then, and told to whoever asks: the probes, gRPC health and the metrics.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::{HealthReporter, health_reporter};

use crate::backend::metrics;
use crate::backend::store::Store;
use crate::process::probes::{self, Readiness};

/// How often the store is looked at, and how long it may take to answer: twice within the 10 s after which a kubelet
/// asks again.
const EVERY: Duration = Duration::from_secs(5);

/// Where what was seen is told.
pub(in crate::backend) struct HealthMonitor {
    readiness: Readiness,
    reporter: HealthReporter,
}

impl HealthMonitor {
    /// Nothing is said to be ready before the first look. `readiness` tells the probes, the service tells it over gRPC.
    pub(in crate::backend) async fn new(readiness: Readiness) -> (Self, HealthServer<impl Health>) {
        let (reporter, service) = health_reporter();
        let upkeep = Self { readiness, reporter };
        upkeep.tell(false).await;
        (upkeep, service)
    }

    /// Looks until `shutdown`; from then on nothing is ready.
    pub(in crate::backend) async fn run(self, store: Arc<dyn Store>, has_accounts: bool, shutdown: CancellationToken) {
        let mut due = tokio::time::interval(EVERY);
        // What took too long is not made up for.
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let looks = async {
            loop {
                due.tick().await;
                // A store that does not answer can't be read either.
                let ready = timeout(EVERY, store.ready()).await.is_ok_and(|answer| answer.is_ok());
                self.tell(ready).await;
                if has_accounts {
                    let size = timeout(EVERY, store.size()).await.ok().and_then(Result::ok);
                    metrics::store(size, ready);
                    // Latencies are kept one by one until they are sorted into their buckets.
                    probes::recorder().run_upkeep();
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => self.tell(false).await,
            () = looks => {}
        }
    }

    /// The empty name stands for the whole server.
    async fn tell(&self, ready: bool) {
        self.readiness.set(ready);
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in ["", crate::backend::ingest::otlp::grpc::METRICS, crate::backend::ingest::otlp::grpc::LOGS] {
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
    use tower::ServiceExt;
    use uuid::Uuid;

    use super::*;
    use crate::backend::store::{
        Batch, Cutoffs, Erased, OverviewData, OverviewQuery, Pruned, PseudonymKey, ReadError, WriteError,
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
        let (upkeep, _service) = HealthMonitor::new(readiness.clone()).await;
        let probes = probes::routes(readiness);
        let store = Arc::new(HangingStore::default());
        tokio::spawn(upkeep.run(Arc::clone(&store) as _, false, CancellationToken::new()));
        for (hangs, expected) in
            [(false, StatusCode::OK), (true, StatusCode::SERVICE_UNAVAILABLE), (false, StatusCode::OK)]
        {
            store.0.store(hangs, Ordering::Relaxed);
            tokio::time::sleep(3 * EVERY).await;
            let probe = Request::get("/readyz").body(Body::empty()).unwrap();
            assert_eq!(probes.clone().oneshot(probe).await.unwrap().status(), expected, "hangs: {hangs}");
        }
    }
}
