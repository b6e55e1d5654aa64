//! The metadata of an object, as far as the API server completes or compares it.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::testkit::simulated_cluster::kind::Kind;
use crate::testkit::simulated_cluster::status_error::StatusError;

/// Sets the fields that every object has, and returns its metadata.
pub(super) fn complete<'a>(
    kind: Kind,
    namespace: &str,
    body: &'a mut Value,
) -> Result<&'a mut Map<String, Value>, StatusError> {
    let invalid = || StatusError::BadRequest(format!("expected a {} object with metadata", kind.name()));
    let object = body.as_object_mut().ok_or_else(invalid)?;
    object.insert("apiVersion".to_owned(), kind.api_version().into());
    object.insert("kind".to_owned(), kind.name().into());
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut).ok_or_else(invalid)?;
    if text(metadata, "namespace").is_some_and(|sent| sent != namespace) {
        return Err(StatusError::BadRequest(format!(
            "the namespace of the provided object does not match the namespace sent on the request ({namespace})"
        )));
    }
    if kind.is_namespaced() {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    Ok(metadata)
}

/// Fails if a field of the metadata differs from the expected value. `None` expects nothing.
pub(super) fn require_equal(
    kind: Kind,
    name: &str,
    object: &Value,
    field: &str,
    expected: Option<&str>,
) -> Result<(), StatusError> {
    let actual = object["metadata"][field].as_str().unwrap_or_default();
    let Some(expected) = expected.filter(|expected| *expected != actual) else { return Ok(()) };
    let cause = if field == "resourceVersion" {
        "the object has been modified; please apply your changes to the latest version and try again".to_owned()
    } else {
        format!("Precondition failed: UID in precondition: {expected}, UID in object meta: {actual}")
    };
    Err(StatusError::Conflict { kind, name: name.to_owned(), cause })
}

pub(super) fn text<'a>(metadata: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    metadata.get(field).and_then(Value::as_str)
}

pub(super) fn is_terminating(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

pub(super) fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
}

/// Formats a time as the API server does, in whole seconds.
pub(super) fn seconds(time: Timestamp) -> String {
    format!("{time:.0}")
}
