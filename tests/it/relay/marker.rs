//! Text of an operator does not pass the relay: the backend receives no byte of the marker.

use std::collections::BTreeSet;

use kamaji_telemetry::catalog;
use prost::Message as _;
use prost::bytes::Bytes;
use prost_reflect::{DynamicMessage, MessageDescriptor};

use super::Relay;
use super::messages::{event, gauge};
use crate::marker::{Planted, descriptor, holds_marker, plant};
use crate::servers::Arrived;

/// The fields that OTTL can't access. No SDK sets them, and the backend rejects a resource with one.
const OUT_OF_REACH: [&str; 4] = [
    "resource.entity_refs.schema_url",
    "resource.entity_refs.type",
    "resource.entity_refs.id_keys",
    "resource.entity_refs.description_keys",
];

/// The number of messages in a request: few enough for the relay's limit of a request's size.
const BATCH: usize = 200;

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn no_string_of_a_metric_reaches_the_relays_socket() {
    let relay = Relay::start().await;
    let request = descriptor("opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest");
    let requests = catalog::METRICS.iter().map(|metric| gauge(metric).encode_to_vec());
    let leaks = leaks(&relay, &request, requests, async |bytes| {
        relay.sender.metrics(prost::Message::decode(bytes).unwrap()).await.is_ok()
    });
    assert_eq!(leaks.await, out_of_reach("resource_metrics"));
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn no_string_of_a_log_record_reaches_the_relays_socket() {
    let relay = Relay::start().await;
    let request = descriptor("opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest");
    let requests = catalog::EVENT_KINDS.iter().map(|kind| event(kind).encode_to_vec());
    let leaks = leaks(&relay, &request, requests, async |bytes| {
        relay.sender.logs(prost::Message::decode(bytes).unwrap()).await.is_ok()
    });
    assert_eq!(leaks.await, out_of_reach("resource_logs"));
}

fn out_of_reach(root: &str) -> BTreeSet<String> {
    OUT_OF_REACH.iter().map(|path| format!("{root}.{path}")).collect()
}

/// Returns the paths of the marker in `requests` at which the backend receives it.
async fn leaks(
    relay: &Relay,
    descriptor: &MessageDescriptor,
    requests: impl Iterator<Item = Vec<u8>>,
    send: impl AsyncFn(Bytes) -> bool,
) -> BTreeSet<String> {
    let mut leaks = BTreeSet::new();
    for request in requests {
        let request = DynamicMessage::decode(descriptor.clone(), request.as_slice()).unwrap();
        assert!(send(request.encode_to_vec().into()).await);
        assert_eq!(relay.backend.take().len(), 1, "the unmarked message arrives");
        for batch in plant(&request).chunks(BATCH) {
            // The requests have repeated fields alone, and such messages merge by being written one after another.
            let together: Vec<u8> = batch.iter().flat_map(|planted| planted.message.encode_to_vec()).collect();
            if send(together.into()).await && !relay.backend.take().iter().any(is_marked) {
                continue;
            }
            for Planted { path, message } in batch {
                send(message.encode_to_vec().into()).await;
                if relay.backend.take().iter().any(is_marked) {
                    leaks.insert(path.clone());
                }
            }
        }
    }
    leaks
}

fn is_marked(arrived: &Arrived) -> bool {
    holds_marker(&arrived.body) || arrived.headers.values().any(|value| holds_marker(value.as_bytes()))
}
