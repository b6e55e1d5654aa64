//! What an API server was asked, read from its audit log.

use std::path::Path;

use serde::Deserialize;

/// Logs every request when it is done, and a watch when it begins too, without bodies.
pub(crate) const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
";

/// One request to the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// Kubernetes' verb: `get`, `list`, `watch`, `create`, …
    pub(crate) verb: String,
    /// Path and query.
    pub(crate) uri: String,
    /// The plural of the resource; empty where none was asked for, as `/version`.
    pub(crate) resource: String,
    /// Empty where none was named.
    pub(crate) namespace: String,
    /// Empty where none was named.
    pub(crate) name: String,
    /// The status of the answer.
    pub(crate) code: u16,
}

impl Request {
    /// What the design allows while telemetry is off: the deletion of what the agent keeps.
    pub(crate) fn is_erasure(&self) -> bool {
        let ours = ["kamaji-telemetry", "kamaji-telemetry-set-aside"];
        self.verb == "delete" && self.resource == "configmaps" && ours.contains(&&*self.name)
    }

    /// What the design allows while Kamaji's operator decides, too.
    pub(crate) fn is_look(&self) -> bool {
        self.resource == "deployments" && self.namespace == "kamaji-system" && self.verb == "list"
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

/// The requests of `user` in the log at `path`, each once: a watch from its beginning, any other when it is answered.
pub(crate) fn requests_of(path: &Path, user: &str) -> Vec<Request> {
    let log = std::fs::read_to_string(path).unwrap_or_default();
    // The last line may be half written.
    let lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let entries =
        lines.map(|line| serde_json::from_str::<Entry>(line).expect("the audit log is JSON, one entry a line"));
    entries.filter(|entry| entry.user.username == user && counts(entry)).map(Request::from).collect()
}

/// A watch that began is logged a second time when it ends; one that was refused, only then.
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
