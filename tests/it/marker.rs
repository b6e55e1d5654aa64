//! A marker in every string and bytes field of an OTLP message, found by descriptor: what an operator may have written
//! anywhere, to be searched for where it must not arrive.

use std::path::PathBuf;
use std::process::Command;

use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value,
};

/// As long as a span's identity, which must have that length.
const MARKER: &str = "LEAKLEAK";

/// The same as bytes are often written.
const MARKER_DIGITS: &str = "4c45414b4c45414b";

/// How often a message type may stand within itself: an attribute's value can hold lists of values without end.
const NESTING: usize = 2;

/// A message with the marker in it, and where.
pub(crate) struct Planted {
    /// The fields from the message to the one that holds the marker, by name.
    pub(crate) path: String,
    pub(crate) message: DynamicMessage,
}

/// The message type of OTLP with this full name.
pub(crate) fn descriptor(name: &str) -> MessageDescriptor {
    let root = proto_folder();
    let services =
        ["metrics", "logs"].map(|signal| format!("opentelemetry/proto/collector/{signal}/v1/{signal}_service.proto"));
    let files = protox::compile(services, [root]).unwrap();
    DescriptorPool::from_file_descriptor_set(files).unwrap().get_message_by_name(name).unwrap()
}

/// Whether the marker is in `bytes`, as it is or in hexadecimal digits.
pub(crate) fn holds_marker(bytes: &[u8]) -> bool {
    let holds = |word: &str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
    holds(MARKER) || holds(MARKER_DIGITS)
}

/// Copies of `message`, each with the marker in one place: behind each text that is there, in its place, in a new
/// element of each list, and in every message that could be there.
pub(crate) fn plant(message: &DynamicMessage) -> Vec<Planted> {
    plant_message(message, &mut Vec::new())
}

/// The same; `within` are the types that `message` stands in.
fn plant_message(message: &DynamicMessage, within: &mut Vec<String>) -> Vec<Planted> {
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

/// Plants in each value of `field`, and in a new one: after the last of a list, in the place of what is no list. In a
/// list of attributes each planted one comes after the last too, as a key that is there twice.
fn plant_field(message: &DynamicMessage, field: &FieldDescriptor, within: &mut Vec<String>) -> Vec<Planted> {
    let there = match &*message.get_field(field) {
        Value::List(list) => list.clone(),
        value if message.has_field(field) => vec![value.clone()],
        _ => Vec::new(),
    };
    let mut copies = Vec::new();
    let mut keep = |inner: &str, position, value| {
        copies.push(Planted { path: path(field, inner), message: with(message, field, position, value) });
    };
    for (position, value) in there.iter().enumerate() {
        for (inner, planted) in plant_value(field, Some(value), within) {
            if is_attribute(field) {
                keep(&inner, there.len(), planted.clone());
            }
            keep(&inner, position, planted);
        }
    }
    for (inner, planted) in plant_value(field, None, within) {
        keep(&inner, there.len(), planted);
    }
    copies
}

/// Values for `field` with the marker in one place, and where: made of the `present` one, or new.
fn plant_value(field: &FieldDescriptor, present: Option<&Value>, within: &mut Vec<String>) -> Vec<(String, Value)> {
    let leaf = |value| vec![(String::new(), value)];
    match (field.kind(), present) {
        (Kind::String, Some(Value::String(text))) => leaf(Value::String(format!("{text}{MARKER}"))),
        (Kind::String, _) => leaf(Value::String(marker_for(field))),
        (Kind::Bytes, _) => leaf(Value::Bytes(marker_for(field).into())),
        (Kind::Message(kind), present) => {
            let message = present.and_then(Value::as_message).cloned().unwrap_or_else(|| DynamicMessage::new(kind));
            let planted = plant_message(&message, within).into_iter();
            planted.map(|Planted { path, message }| (path, Value::Message(message))).collect()
        }
        _ => Vec::new(),
    }
}

/// A trace's identity must have its length, or the message is refused before it is looked at.
fn marker_for(field: &FieldDescriptor) -> String {
    MARKER.repeat(if field.name() == "trace_id" { 2 } else { 1 })
}

fn is_attribute(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(kind) if field.is_list() && kind.name() == "KeyValue")
}

fn path(field: &FieldDescriptor, inner: &str) -> String {
    if inner.is_empty() { field.name().to_owned() } else { format!("{}.{inner}", field.name()) }
}

/// A copy of `message` with `value` in `field`; in a list at `position`, which may be behind the last.
fn with(message: &DynamicMessage, field: &FieldDescriptor, position: usize, value: Value) -> DynamicMessage {
    let mut copy = message.clone();
    match copy.get_field_mut(field) {
        Value::List(list) if position < list.len() => list[position] = value,
        Value::List(list) => list.push(value),
        _ => copy.set_field(field, value),
    }
    copy
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
