//! One version of an object, serialized once for every client.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::kind::Kind;

/// The type of a watch event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventType {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

/// One version of an object. Cloning it copies no bytes.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) version: u64,
    pub(super) labels: Arc<BTreeMap<String, String>>,
    /// The line of the `ADDED` event. It contains the object, so that the bytes are stored once.
    added: Bytes,
}

/// The selection of a request among the objects of a kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    /// Labels, and the values that they must have.
    pub(super) labels: Vec<(String, String)>,
    /// Keys of labels that an object must not have.
    pub(super) absent_labels: Vec<String>,
}

impl EventType {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Added => r#"{"type":"ADDED","object":"#,
            Self::Modified => r#"{"type":"MODIFIED","object":"#,
            Self::Deleted => r#"{"type":"DELETED","object":"#,
            Self::Bookmark => r#"{"type":"BOOKMARK","object":"#,
            Self::Error => r#"{"type":"ERROR","object":"#,
        }
    }

    const SUFFIX: &'static str = "}\n";

    /// Returns the line of this event for a serialized object.
    pub(super) fn line(self, object: &[u8]) -> Bytes {
        [self.prefix().as_bytes(), object, Self::SUFFIX.as_bytes()].concat().into()
    }
}

impl Object {
    /// Serializes a version of an object, with `version` as its `resourceVersion`.
    pub(super) fn new(mut value: Value, version: u64) -> Self {
        value["metadata"]["resourceVersion"] = version.to_string().into();
        let labels = value["metadata"]["labels"].as_object().into_iter().flatten();
        let labels = labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
        let added = EventType::Added.line(value.to_string().as_bytes());
        Self { version, labels: Arc::new(labels), added }
    }

    /// Returns the object as JSON.
    pub(super) fn json(&self) -> Bytes {
        let start = EventType::Added.prefix().len();
        self.added.slice(start..self.added.len() - EventType::SUFFIX.len())
    }

    /// Returns the object as a value.
    pub(super) fn to_value(&self) -> Value {
        serde_json::from_slice(&self.json()).expect("the store has serialized the object itself")
    }

    /// Returns the line of an event for the object.
    pub(super) fn line(&self, event: EventType) -> Bytes {
        match event {
            EventType::Added => self.added.clone(),
            other => other.line(&self.json()),
        }
    }
}

impl Filter {
    /// Returns whether the filter selects the object.
    pub(super) fn matches(&self, (namespace, name): &(String, String), object: &Object) -> bool {
        self.namespace.as_ref().is_none_or(|wanted| wanted == namespace)
            && self.name.as_ref().is_none_or(|wanted| wanted == name)
            && self.labels.iter().all(|(key, value)| object.labels.get(key) == Some(value))
            && !self.absent_labels.iter().any(|key| object.labels.contains_key(key))
    }
}

/// Returns the line of a bookmark, whose object has a kind and a version only.
pub(super) fn bookmark(kind: Kind, version: u64, initial_events_end: bool) -> Bytes {
    let annotations = if initial_events_end { r#""annotations":{"k8s.io/initial-events-end":"true"},"# } else { "" };
    let object = format!(
        r#"{{"kind":"{}","apiVersion":"{}","metadata":{{{annotations}"resourceVersion":"{version}"}}}}"#,
        kind.name(),
        kind.api_version(),
    );
    EventType::Bookmark.line(object.as_bytes())
}
