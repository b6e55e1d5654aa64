//! The responses to senders while nothing can be stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use kamaji_telemetry::backend::store::{
    Allowance, Batch, Cutoffs, Day, Erased, EventFilter, EventRow, Facts, FactsQuery, Hour, InstallationFilter, Intake,
    MatchedInstallations, MatchedRows, Operations, Pruned, PseudonymKey, PublicKey, PublicWeekStore, ReadError,
    SqliteStore, StaleRows, Store, StoreSize, StoredWeek, WeekCounts, WriteError,
};
use kamaji_telemetry::backend::{Retention, SecurityConfig, Stores};
use prost::Message;
use tokio::sync::Barrier;
use tonic::Code;
use tonic_types::{RpcStatusExt, StatusExt};
use uuid::Uuid;

use super::harness::{Backend, JSON, PROTOBUF};
use super::kamaji::stats;
use super::samples::{created, logs_request, now};

/// A store that fails every write, once as many writes as the barrier needs wait for it.
struct Failing(WriteError, Arc<Barrier>);

impl PublicWeekStore for Failing {
    fn week_counts(&self, _: Day) -> BoxFuture<'_, Result<WeekCounts, ReadError>> {
        futures::future::ready(Err(ReadError("disk /secret is broken".into()))).boxed()
    }

    fn public_key(&self) -> BoxFuture<'_, Result<PublicKey, ReadError>> {
        futures::future::ready(Err(ReadError("disk /secret is broken".into()))).boxed()
    }

    fn last_public_week(&self) -> BoxFuture<'_, Result<Option<Day>, ReadError>> {
        futures::future::ready(Err(ReadError("disk /secret is broken".into()))).boxed()
    }

    fn publish_week(&self, _: StoredWeek) -> BoxFuture<'_, Result<bool, WriteError>> {
        futures::future::ready(Err(self.0.clone())).boxed()
    }

    fn public_weeks(&self) -> BoxFuture<'_, Result<Vec<StoredWeek>, ReadError>> {
        futures::future::ready(Err(ReadError("disk /secret is broken".into()))).boxed()
    }
}

impl Store for Failing {
    fn write_within(&self, _: Batch, _: Arc<dyn Allowance>) -> BoxFuture<'_, Result<(), WriteError>> {
        async {
            self.1.wait().await;
            Err(self.0.clone())
        }
        .boxed()
    }

    fn prune(&self, _: Cutoffs) -> BoxFuture<'_, Result<Pruned, WriteError>> {
        futures::future::ready(Err(self.0.clone())).boxed()
    }

    fn newest_record(&self) -> BoxFuture<'_, Result<Option<Timestamp>, ReadError>> {
        async { Ok(None) }.boxed()
    }

    fn stale_rows(&self, _: Cutoffs) -> BoxFuture<'_, Result<StaleRows, ReadError>> {
        async { Ok(StaleRows::default()) }.boxed()
    }

    fn delete_after(&self, _: Timestamp) -> BoxFuture<'_, Result<Pruned, WriteError>> {
        async { Ok(Pruned::default()) }.boxed()
    }

    fn checkpoint(&self) -> BoxFuture<'_, Result<(), WriteError>> {
        futures::future::ready(Err(self.0.clone())).boxed()
    }

    fn erase(&self, _: Uuid) -> BoxFuture<'_, Result<Erased, WriteError>> {
        futures::future::ready(Err(self.0.clone())).boxed()
    }

    fn erase_installations(&self, _: InstallationFilter) -> BoxFuture<'_, Result<MatchedRows, WriteError>> {
        futures::future::ready(Err(self.0.clone())).boxed()
    }

    fn erase_events(&self, _: EventFilter) -> BoxFuture<'_, Result<MatchedRows, WriteError>> {
        futures::future::ready(Err(self.0.clone())).boxed()
    }

    fn installations(&self, _: InstallationFilter, _: usize) -> BoxFuture<'_, Result<MatchedInstallations, ReadError>> {
        futures::future::ready(Err(ReadError("disk /secret is broken".into()))).boxed()
    }

    fn events(&self, _: EventFilter, _: usize) -> BoxFuture<'_, Result<Vec<EventRow>, ReadError>> {
        futures::future::ready(Err(ReadError("disk /secret is broken".into()))).boxed()
    }

    fn count_events(&self, _: EventFilter) -> BoxFuture<'_, Result<MatchedRows, ReadError>> {
        futures::future::ready(Err(ReadError("disk /secret is broken".into()))).boxed()
    }

    fn intake(&self, _: Day) -> BoxFuture<'_, Result<Intake, ReadError>> {
        futures::future::ready(Err(ReadError("disk /secret is broken".into()))).boxed()
    }

    fn record_operations(&self, _: Operations) -> BoxFuture<'_, Result<(), WriteError>> {
        futures::future::ready(Err(self.0.clone())).boxed()
    }

    fn facts(&self, _: Vec<FactsQuery>) -> BoxFuture<'_, Result<Vec<Facts>, ReadError>> {
        futures::future::ready(Err(ReadError("disk /secret is broken".into()))).boxed()
    }

    fn move_first_seen(&self, _: BTreeMap<Uuid, Hour>) -> BoxFuture<'_, Result<u64, WriteError>> {
        futures::future::ready(Err(self.0.clone())).boxed()
    }

    fn pseudonym_key(&self) -> BoxFuture<'_, Result<PseudonymKey, ReadError>> {
        futures::future::ready(Ok(PseudonymKey::from([0; PseudonymKey::LENGTH]))).boxed()
    }

    fn size(&self) -> BoxFuture<'_, Result<StoreSize, ReadError>> {
        futures::future::ready(Err(ReadError("disk /secret is broken".into()))).boxed()
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), ReadError>> {
        futures::future::ready(Err(ReadError("disk /secret is broken".into()))).boxed()
    }
}

async fn failing(error: WriteError) -> Backend {
    failing_together(error, 1).await
}

async fn failing_together(error: WriteError, writes: usize) -> Backend {
    let folder = tempfile::tempdir().unwrap();
    let auth = Arc::new(SqliteStore::open(&folder.path().join("auth.db")).unwrap());
    let rows = Arc::new(Failing(error, Arc::new(Barrier::new(writes))));
    Backend::serve(folder, Stores { rows, auth }, Retention::default(), SecurityConfig::default()).await
}

#[tokio::test]
async fn decoded_requests_wait_for_a_commit_together() {
    // Far more than are decoded at once.
    let (backend, one, other) = (failing_together(WriteError::Unavailable("".into()), 60).await, 20, 40);
    let event = || logs_request(vec![created(Uuid::new_v4(), now())]);
    let grpc = futures::future::join_all(
        (0..one).map(|_| async { backend.logs_client().await.export(event()).await.unwrap_err().code() }),
    );
    let http = futures::future::join_all((0..other).map(|position| {
        let event = event().encode_to_vec();
        let backend = &backend;
        async move {
            match position % 2 {
                0 => backend.post("/v1/logs", &[PROTOBUF], &event).await.status,
                _ => backend.post("/stats", &[JSON], stats(Uuid::new_v4()).as_bytes()).await.status,
            }
        }
    }));
    let (grpc, http) = futures::join!(grpc, http);
    assert!(grpc.into_iter().all(|code| code == Code::Unavailable));
    assert!(http.into_iter().all(|status| status == 503));
}

#[tokio::test]
async fn senders_get_a_time_to_retry_after_over_every_transport() {
    let overloaded = (WriteError::Overloaded { waiting: 7, bound: 7 }, 2);
    let unavailable = (WriteError::Unavailable("disk /secret is full".into()), 30);
    for (error, seconds) in [overloaded, unavailable] {
        let backend = failing(error).await;
        let request = logs_request(vec![created(Uuid::new_v4(), now())]);

        let status = backend.logs_client().await.export(request.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        let delay = status.get_details_retry_info().unwrap().retry_delay;
        assert_eq!(delay, Some(Duration::from_secs(seconds)));

        let reply = backend.post("/v1/logs", &[PROTOBUF], &request.encode_to_vec()).await;
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some(seconds.to_string().as_str())));
        let body = tonic_types::pb::Status::decode(reply.body.as_slice()).unwrap();
        assert_eq!(body.get_details_retry_info().unwrap().retry_delay, delay);
        let kamaji = backend.post("/stats", &[JSON], stats(Uuid::new_v4()).as_bytes()).await;
        assert_eq!((kamaji.status, kamaji.header("retry-after")), (503, Some(seconds.to_string().as_str())));
        for message in [status.message(), &body.message, kamaji.text()] {
            assert!(message.contains("try again") && !message.contains("secret"), "{message}");
        }
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_read_makes_it_unready_and_stays_private() {
    let backend = failing(WriteError::Unavailable("gone".into())).await;
    assert_eq!(backend.get("/livez").await.status, 200);
    for path in ["/readyz", "/", "/api/v1/insights/overview"] {
        let reply = backend.get(path).await;
        assert_eq!(reply.status, 503, "{path}");
        assert!(!reply.text().contains("secret"), "{path}");
    }
}
