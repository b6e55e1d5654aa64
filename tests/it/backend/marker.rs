//! No text of an operator is stored, whatever let it pass: the marker is in no byte of the store's files, nor in an
//! answer.

use std::collections::BTreeSet;

use kamaji_telemetry::catalog::{EVENT_KINDS, METRICS};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use prost::Message as _;
use prost_reflect::DynamicMessage;
use tonic::transport::Channel;
use uuid::Uuid;

use super::harness::{Backend, PROTOBUF, stored_bytes, unlimited};
use super::samples::{
    created_with, deleted, extended_gauges, logs_request, metrics_request, now, state_gauges, updated,
};
use crate::marker::{Planted, descriptor, holds_marker, plant};

/// The number of planted messages that are sent between two searches of the store.
const BATCH: usize = 200;

/// A request that is stored, and the identities in it.
struct Request {
    path: &'static str,
    message: DynamicMessage,
    identities: Vec<Uuid>,
}

/// A backend and a connection to its gRPC receiver.
struct Target {
    backend: Backend,
    channel: Channel,
}

#[tokio::test]
async fn no_string_of_a_metric_is_stored_or_answered() {
    let installation = Uuid::new_v4();
    let metrics: Vec<_> = state_gauges([1, 2, 3, 4], now()).into_iter().chain(extended_gauges(now())).collect();
    assert_eq!(metrics.len(), METRICS.len(), "every metric of the catalog is planted in");
    let request = Request::new(
        "/v1/metrics",
        "opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest",
        &metrics_request(installation, metrics).encode_to_vec(),
        vec![installation],
    );
    assert_eq!(request.leaks().await, BTreeSet::new());
}

#[tokio::test]
async fn no_string_of_a_log_record_is_stored_or_answered() {
    let [first, second, third] = [(); 3].map(|()| Uuid::new_v4());
    let records = vec![created_with(first, now()), updated(second, now()), deleted(third, now())];
    assert_eq!(records.len(), EVENT_KINDS.len(), "every event of the catalog is planted in");
    let request = Request::new(
        "/v1/logs",
        "opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest",
        &logs_request(records).encode_to_vec(),
        vec![first, second, third],
    );
    assert_eq!(request.leaks().await, BTreeSet::new());
}

impl Request {
    fn new(path: &'static str, name: &str, message: &[u8], identities: Vec<Uuid>) -> Self {
        Self { path, message: DynamicMessage::decode(descriptor(name), message).unwrap(), identities }
    }

    /// Returns the fields from which a planted marker gets into the store or into an answer.
    async fn leaks(&self) -> BTreeSet<String> {
        let target = Target::start().await;
        assert!(!self.is_answered(&target, &self.message).await && target.backend.rows() > 0, "unmarked, it is stored");
        let planted = plant(&self.message);
        let mut leaks = BTreeSet::new();
        for batch in planted.chunks(BATCH) {
            let mut leaked = false;
            for Planted { message, .. } in batch {
                leaked |= self.is_answered(&target, message).await;
            }
            if leaked || target.is_stored() {
                leaks.extend(self.narrow(batch).await);
            }
        }
        leaks
    }

    /// Sends each to a backend of its own.
    async fn narrow(&self, batch: &[Planted]) -> BTreeSet<String> {
        let mut leaks = BTreeSet::new();
        for Planted { path, message } in batch {
            let target = Target::start().await;
            if self.is_answered(&target, message).await || target.is_stored() {
                leaks.insert(path.clone());
            }
        }
        leaks
    }

    /// Sends `message` to both receivers, and says whether the marker is in an answer.
    async fn is_answered(&self, target: &Target, message: &DynamicMessage) -> bool {
        let reply = target.backend.post(self.path, &[PROTOBUF], &self.renamed(message)).await;
        assert!(matches!(reply.status, 200 | 400), "{reply:?}");
        let answer = target.call(self.path, &self.renamed(message)).await;
        holds_marker(&reply.body) || holds_marker(answer.as_bytes())
    }

    /// Its bytes with new identities: of two with the same one a store keeps one, which could hide the other.
    fn renamed(&self, message: &DynamicMessage) -> Vec<u8> {
        let mut bytes = message.encode_to_vec();
        for identity in self.identities.iter().map(Uuid::to_string) {
            let new = Uuid::new_v4().to_string();
            while let Some(at) = bytes.windows(identity.len()).position(|window| window == identity.as_bytes()) {
                bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
            }
        }
        bytes
    }
}

impl Target {
    async fn start() -> Self {
        let backend = Backend::limited(unlimited()).await;
        let channel = backend.channel().await;
        Self { backend, channel }
    }

    /// The whole answer of the gRPC receiver, as text.
    async fn call(&self, path: &str, body: &[u8]) -> String {
        let channel = self.channel.clone();
        if path == "/v1/metrics" {
            let request = ExportMetricsServiceRequest::decode(body).unwrap();
            format!("{:?}", MetricsServiceClient::new(channel).export(request).await)
        } else {
            let request = ExportLogsServiceRequest::decode(body).unwrap();
            format!("{:?}", LogsServiceClient::new(channel).export(request).await)
        }
    }

    fn is_stored(&self) -> bool {
        holds_marker(&stored_bytes(self.backend.file().parent().unwrap()))
    }
}
