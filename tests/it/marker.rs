//! A marker in every string and bytes field of an OTLP message, found by descriptor. It stands for text of an operator,
//! which must not pass relay or backend.

use std::path::PathBuf;
use std::process::Command;

use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value,
};

/// The marker, with the required length of a span ID.
pub(crate) const MARKER: &str = "LEAKLEAK";

/// The marker in hexadecimal digits.
const MARKER_DIGITS: &str = "4c45414b4c45414b";

/// The largest depth of a message type within itself, since the value of an attribute can contain values recursively.
const MAX_NESTING: usize = 2;

/// A message with the marker, and the path of its field.
pub(crate) struct Planted {
    /// The names of the fields from the message to the one with the marker.
    pub(crate) path: String,
    pub(crate) message: DynamicMessage,
}

/// Returns the message type of OTLP with this full name.
pub(crate) fn descriptor(name: &str) -> MessageDescriptor {
    let root = proto_folder();
    let services =
        ["metrics", "logs"].map(|signal| format!("opentelemetry/proto/collector/{signal}/v1/{signal}_service.proto"));
    let files = protox::compile(services, [root]).unwrap();
    DescriptorPool::from_file_descriptor_set(files).unwrap().get_message_by_name(name).unwrap()
}

/// Returns whether `bytes` contain the marker, as text or in hexadecimal digits.
pub(crate) fn holds_marker(bytes: &[u8]) -> bool {
    let holds = |word: &str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
    holds(MARKER) || holds(MARKER_DIGITS)
}

/// Returns copies of `message`, each with the marker in one field: appended to each text, in place of it, in a new
/// element of each list, and in every message that could be set.
pub(crate) fn plant(message: &DynamicMessage) -> Vec<Planted> {
    plant_message(message, &mut Vec::new())
}

/// Returns copies of `message` within messages of the types `within`.
fn plant_message(message: &DynamicMessage, within: &mut Vec<String>) -> Vec<Planted> {
    let descriptor = message.descriptor();
    let name = descriptor.full_name().to_owned();
    if within.iter().filter(|outer| **outer == name).count() >= MAX_NESTING {
        return Vec::new();
    }
    within.push(name);
    let planted = descriptor.fields().flat_map(|field| plant_field(message, &field, within)).collect();
    within.pop();
    planted
}

/// Plants the marker in each value of `field`, and in a new value: at the end of a list, or in place of a single value.
/// In a list of attributes, each planted one is also appended, as a duplicate key.
fn plant_field(message: &DynamicMessage, field: &FieldDescriptor, within: &mut Vec<String>) -> Vec<Planted> {
    let values = match &*message.get_field(field) {
        Value::List(list) => list.clone(),
        value if message.has_field(field) => vec![value.clone()],
        _ => Vec::new(),
    };
    let mut copies = Vec::new();
    let mut add = |inner: &str, position, value| {
        copies.push(Planted { path: path(field, inner), message: with(message, field, position, value) });
    };
    for (position, value) in values.iter().enumerate() {
        for (inner, planted) in plant_value(field, Some(value), within) {
            if is_attribute(field) {
                add(&inner, values.len(), planted.clone());
            }
            add(&inner, position, planted);
        }
    }
    for (inner, planted) in plant_value(field, None, within) {
        add(&inner, values.len(), planted);
    }
    copies
}

/// Returns values for `field` with the marker, and its path in them, derived from the `present` value or new.
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

/// Returns the marker for a field. A trace ID must have its required length, or the message is rejected for that.
fn marker_for(field: &FieldDescriptor) -> String {
    MARKER.repeat(if field.name() == "trace_id" { 2 } else { 1 })
}

fn is_attribute(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(kind) if field.is_list() && kind.name() == "KeyValue")
}

fn path(field: &FieldDescriptor, inner: &str) -> String {
    if inner.is_empty() { field.name().to_owned() } else { format!("{}.{inner}", field.name()) }
}

/// Returns a copy of `message` with `value` in `field`, in a list at `position`, which may be its end.
fn with(message: &DynamicMessage, field: &FieldDescriptor, position: usize, value: Value) -> DynamicMessage {
    let mut copy = message.clone();
    match copy.get_field_mut(field) {
        Value::List(list) if position < list.len() => list[position] = value,
        Value::List(list) => list.push(value),
        _ => copy.set_field(field, value),
    }
    copy
}

/// Returns the folder with the .proto files of the crate that the messages are generated from.
fn proto_folder() -> PathBuf {
    // Packages of other platforms are not downloaded.
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
