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
    let values = match field.kind() {
        Kind::String => vec![(String::new(), Value::String(marker_for(field)))],
        Kind::Bytes => vec![(String::new(), Value::Bytes(marker_for(field).into()))],
        Kind::Message(kind) => inner(message, field, &kind)
            .flat_map(|inner| plant(&inner, within))
            .map(|planted| (format!(".{}", planted.path), Value::Message(planted.message)))
            .collect(),
        _ => Vec::new(),
    };
    let with = |(path, value): (String, Value)| {
        let path = format!("{}{path}", field.name());
        places(message, field, value).map(move |message| Planted { path: path.clone(), message }).collect::<Vec<_>>()
    };
    values.into_iter().flat_map(with).collect()
}

/// A trace's identity must have its length, or the message is refused before it is looked at.
fn marker_for(field: &FieldDescriptor) -> String {
    MARKER.repeat(if field.name() == "trace_id" { 2 } else { 1 })
}

/// The messages to plant in for `field`: the one that is there, and an empty one.
fn inner(
    message: &DynamicMessage,
    field: &FieldDescriptor,
    kind: &MessageDescriptor,
) -> impl Iterator<Item = DynamicMessage> + use<> {
    let present = match &*message.get_field(field) {
        Value::Message(inner) if message.has_field(field) => Some(inner.clone()),
        Value::List(list) => list.first().and_then(Value::as_message).cloned(),
        _ => None,
    };
    let empty = DynamicMessage::new(kind.clone());
    present.into_iter().chain([empty])
}

/// Copies of `message` with `value` in `field`; in a list, in the place of its first element, and after its last.
fn places(
    message: &DynamicMessage,
    field: &FieldDescriptor,
    value: Value,
) -> impl Iterator<Item = DynamicMessage> + use<> {
    let with = |value: Value| {
        let mut copy = message.clone();
        copy.set_field(field, value);
        copy
    };
    let Value::List(list) = message.get_field(field).into_owned() else {
        return vec![with(value)].into_iter();
    };
    let first = [value.clone()].into_iter().chain(list.iter().skip(1).cloned()).collect();
    let last = list.into_iter().chain([value]).collect();
    vec![with(Value::List(first)), with(Value::List(last))].into_iter()
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
