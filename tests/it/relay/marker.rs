//! Nothing that an operator wrote passes the relay: a marker, planted in every string and bytes field of the OTLP
//! messages, found by descriptor, is in no byte that arrives.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use kamaji_telemetry::signals;
use prost::Message as _;
use prost::bytes::Bytes;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value,
};

use super::Relay;
use super::messages::{event, gauge};
use crate::servers::Arrived;

/// As long as a span's identity, which must have that length.
const MARKER: &str = "LEAKLEAK";

/// What OTTL has no path to. Nothing sends them but who means to, and the backend refuses a resource that holds one.
const OUT_OF_REACH: [&str; 4] = [
    "resource.entity_refs.schema_url",
    "resource.entity_refs.type",
    "resource.entity_refs.id_keys",
    "resource.entity_refs.description_keys",
];

/// How often a message type may stand within itself: an attribute's value can hold lists of values without end.
const NESTING: usize = 2;

/// How many planted messages are sent in one request: few enough for the relay's limit on a request's size.
const BATCH: usize = 200;

/// A message with the marker in it, and where.
struct Planted {
    path: String,
    message: DynamicMessage,
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn no_string_of_a_metric_reaches_the_relays_socket() {
    let relay = Relay::start().await;
    let request = descriptor("opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest");
    let requests = signals::METRICS.iter().map(|metric| gauge(metric).encode_to_vec());
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
    let requests = signals::EVENT_KINDS.iter().map(|kind| event(kind).encode_to_vec());
    let leaks = leaks(&relay, &request, requests, async |bytes| {
        relay.sender.logs(prost::Message::decode(bytes).unwrap()).await.is_ok()
    });
    assert_eq!(leaks.await, out_of_reach("resource_logs"));
}

fn out_of_reach(root: &str) -> BTreeSet<String> {
    OUT_OF_REACH.iter().map(|path| format!("{root}.{path}")).collect()
}

/// Where the marker, planted anywhere in each of `requests`, gets through.
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
        for batch in plant(&request, &mut Vec::new()).chunks(BATCH) {
            // The requests have repeated fields alone, and such messages merge by being written one after another.
            let together: Vec<u8> = batch.iter().flat_map(|planted| planted.message.encode_to_vec()).collect();
            if send(together.into()).await && !relay.backend.take().iter().any(holds_marker) {
                continue;
            }
            for Planted { path, message } in batch {
                send(message.encode_to_vec().into()).await;
                if relay.backend.take().iter().any(holds_marker) {
                    leaks.insert(path.clone());
                }
            }
        }
    }
    leaks
}

fn holds_marker(arrived: &Arrived) -> bool {
    let holds = |bytes: &[u8]| bytes.windows(MARKER.len()).any(|window| window == MARKER.as_bytes());
    holds(&arrived.body) || arrived.headers.values().any(|value| holds(value.as_bytes()))
}

/// Copies of `message`, each with the marker in one place; `within` are the types that it stands in.
fn plant(message: &DynamicMessage, within: &mut Vec<String>) -> Vec<Planted> {
    let descriptor = message.descriptor();
    let name = descriptor.full_name().to_owned();
    if within.iter().filter(|outer| **outer == name).count() >= NESTING {
        return Vec::new();
    }
    within.push(name);
    let planted = descriptor.fields().flat_map(|field| plant_field(message, &field, within)).collect();
    within.pop();
    planted
}

fn plant_field(message: &DynamicMessage, field: &FieldDescriptor, within: &mut Vec<String>) -> Vec<Planted> {
    let name = field.name();
    let leaf = |value: Value| {
        let copies = [Some(with_first(message, field, value.clone())), with_one_more(message, field, value)];
        copies.into_iter().flatten().map(|message| Planted { path: name.to_owned(), message }).collect()
    };
    match field.kind() {
        Kind::String => leaf(Value::String(marker_for(field))),
        Kind::Bytes => leaf(Value::Bytes(marker_for(field).into())),
        Kind::Message(kind) => plant_inner(message, field, &kind, within),
        _ => Vec::new(),
    }
}

/// A trace's identity must have its length, or the message is refused before it is looked at.
fn marker_for(field: &FieldDescriptor) -> String {
    MARKER.repeat(if field.name() == "trace_id" { 2 } else { 1 })
}

/// Plants in the message that is in `field`, and in an empty one; in a list, the first in its place, the empty one after
/// the last, and, in a list of attributes, the first there too, as a key that comes twice.
fn plant_inner(
    message: &DynamicMessage,
    field: &FieldDescriptor,
    kind: &MessageDescriptor,
    within: &mut Vec<String>,
) -> Vec<Planted> {
    let present = match &*message.get_field(field) {
        Value::Message(inner) if message.has_field(field) => Some(inner.clone()),
        Value::List(list) => list.first().and_then(Value::as_message).cloned(),
        _ => None,
    };
    let mut copies = Vec::new();
    let mut keep = |path: &str, copy: Option<DynamicMessage>| {
        copies.extend(copy.map(|message| Planted { path: format!("{}.{path}", field.name()), message }));
    };
    for Planted { path, message: inner } in present.iter().flat_map(|inner| plant(inner, within)) {
        let inner = Value::Message(inner);
        if kind.name() == "KeyValue" {
            keep(&path, with_one_more(message, field, inner.clone()));
        }
        keep(&path, Some(with_first(message, field, inner)));
    }
    for Planted { path, message: inner } in plant(&DynamicMessage::new(kind.clone()), within) {
        let inner = Value::Message(inner);
        keep(&path, with_one_more(message, field, inner.clone()).or_else(|| Some(with_first(message, field, inner))));
    }
    copies
}

/// A copy of `message` with `value` in `field`, or in the place of the first in its list.
fn with_first(message: &DynamicMessage, field: &FieldDescriptor, value: Value) -> DynamicMessage {
    let value = match &*message.get_field(field) {
        Value::List(list) => Value::List([value].into_iter().chain(list.iter().skip(1).cloned()).collect()),
        _ => value,
    };
    with(message, field, value)
}

/// A copy of `message` with `value` after the last in the list of `field`, if it is one.
fn with_one_more(message: &DynamicMessage, field: &FieldDescriptor, value: Value) -> Option<DynamicMessage> {
    match &*message.get_field(field) {
        Value::List(list) => Some(with(message, field, Value::List(list.iter().cloned().chain([value]).collect()))),
        _ => None,
    }
}

fn with(message: &DynamicMessage, field: &FieldDescriptor, value: Value) -> DynamicMessage {
    let mut copy = message.clone();
    copy.set_field(field, value);
    copy
}

fn descriptor(name: &str) -> MessageDescriptor {
    let root = proto_folder();
    let services =
        ["metrics", "logs"].map(|signal| format!("opentelemetry/proto/collector/{signal}/v1/{signal}_service.proto"));
    let files = protox::compile(services, [root]).unwrap();
    DescriptorPool::from_file_descriptor_set(files).unwrap().get_message_by_name(name).unwrap()
}

/// Where cargo keeps the .proto files of the crate that the messages are generated from.
fn proto_folder() -> PathBuf {
    // Packages of other platforms aren't downloaded.
    let version = cargo(&["-vV"]);
    let platform = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let manifest = crate::servers::checkout("Cargo.toml").display().to_string();
    let arguments =
        ["metadata", "--format-version=1", "--locked", "--filter-platform", platform, "--manifest-path", &manifest];
    let metadata: serde_json::Value = serde_json::from_str(&cargo(&arguments)).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "opentelemetry-proto").unwrap();
    PathBuf::from(package["manifest_path"].as_str().unwrap()).with_file_name("src/proto/opentelemetry-proto")
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
