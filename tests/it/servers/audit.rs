//! The requests to an API server, read from its audit log.

use std::path::Path;

use serde::Deserialize;

/// The policy: every request is logged when it ends, and a watch also when it begins, without bodies.
pub(crate) const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
";

/// A request to the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// The verb of Kubernetes: `get`, `list`, `watch`, `create`, …
    pub(crate) verb: String,
    /// The path and the query.
    pub(crate) uri: String,
    /// The plural of the resource; empty for a path without one, such as `/version`.
    pub(crate) resource: String,
    /// Empty where none was named.
    pub(crate) namespace: String,
    /// Empty where none was named.
    pub(crate) name: String,
    /// The status of the response.
    pub(crate) code: u16,
}

impl Request {
    /// Returns whether the request deletes the agent's state, the only one allowed while telemetry is off.
    pub(crate) fn is_erasure(&self) -> bool {
        let ours = ["", "-base", "-quarantine", "-base-quarantine"];
        let is_ours = self.name.strip_prefix("kamaji-telemetry").is_some_and(|rest| ours.contains(&rest));
        self.verb == "delete" && self.resource == "configmaps" && is_ours
    }

    /// Returns whether the request reads Kamaji's operator, which is allowed if telemetry follows its opt-out.
    pub(crate) fn is_operator_read(&self) -> bool {
        self.resource == "deployments" && self.namespace == "kamaji-system" && ["get", "list"].contains(&&*self.verb)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    stage: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
struct ObjectRef {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
}

#[derive(Default, Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

/// Returns the requests of `user` in the log at `path`, each once: a watch when it begins, any other when it ends.
pub(crate) fn requests_of(path: &Path, user: &str) -> Vec<Request> {
    let log = std::fs::read_to_string(path).unwrap_or_default();
    // The last line may be half written.
    let lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let entries =
        lines.map(|line| serde_json::from_str::<Entry>(line).expect("the audit log is JSON, one entry a line"));
    entries.filter(|entry| entry.user.username == user && counts(entry)).map(Request::from).collect()
}

/// Returns whether an entry counts as a request. A watch that began is logged again when it ends; a rejected one only
/// then.
fn counts(entry: &Entry) -> bool {
    let watching = entry.verb == "watch" && entry.response_status.code == 200;
    entry.stage == if watching { "ResponseStarted" } else { "ResponseComplete" }
}

impl From<Entry> for Request {
    fn from(entry: Entry) -> Self {
        let Entry { stage: _, request_uri: uri, verb, user: _, object_ref, response_status } = entry;
        let ObjectRef { resource, namespace, name } = object_ref;
        Self { verb, uri, resource, namespace, name, code: response_status.code }
    }
}
