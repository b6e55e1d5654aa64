//! How the backend does, looked at now and then, and told to whoever asks: the probes, gRPC health and the accounts.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::{HealthReporter, health_reporter};

use super::accounts;
use super::store::Store;
use crate::health::{self, Readiness};

/// How often the store is looked at: twice within the 10 s after which a kubelet asks again.
const EVERY: Duration = Duration::from_secs(5);

/// Where what was seen is told.
pub(super) struct Upkeep {
    readiness: Readiness,
    reporter: HealthReporter,
}

impl Upkeep {
    /// Nothing is said to be ready before the first look. The service tells it over gRPC.
    pub(super) async fn new() -> (Self, HealthServer<impl Health>) {
        let (reporter, service) = health_reporter();
        let upkeep = Self { readiness: Readiness::new(), reporter };
        upkeep.tell(false).await;
        (upkeep, service)
    }

    /// For the probes.
    pub(super) fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Looks until `shutdown`; from then on nothing is ready.
    pub(super) async fn run(self, store: Arc<dyn Store>, has_accounts: bool, shutdown: CancellationToken) {
        let mut due = tokio::time::interval(EVERY);
        let looks = async {
            loop {
                due.tick().await;
                let ready = store.ready().await.is_ok();
                self.tell(ready).await;
                if has_accounts {
                    accounts::store(store.size().await.ok(), ready);
                    // Latencies are kept one by one until they are sorted into their buckets.
                    health::accounts().run_upkeep();
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
        for service in ["", super::receive::grpc::METRICS, super::receive::grpc::LOGS] {
            self.reporter.set_service_status(service, status).await;
        }
    }
}
