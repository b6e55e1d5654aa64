//! Records the history from etcd's own watch, independently of API server and agent.

use std::sync::{Arc, Mutex};

use axum::body::{Body, BodyDataStream};
use futures::StreamExt;
use http::Request;
use k8s_openapi::ByteString;
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinHandle;

use super::{Commit, History, Object, Revision};
use crate::servers::{ApiServer, eventually};

/// The range of keys under which kube-apiserver stores control planes. It ends before the byte that follows the slash.
const FROM: &str = "/registry/kamaji.clastix.io/tenantcontrolplanes/";
const TO: &str = "/registry/kamaji.clastix.io/tenantcontrolplanes0";

const UNPOISONED: &str = "no holder of the lock panics";

/// Records every commit to a control plane from etcd's first revision on, before any compaction removes it.
pub(in crate::faults) struct Recorder {
    commits: Arc<Mutex<Vec<Commit>>>,
    task: JoinHandle<()>,
}

/// A line of etcd's JSON gateway.
#[derive(Deserialize)]
struct Line {
    result: WatchResponse,
}

#[derive(Deserialize)]
struct WatchResponse {
    #[serde(default)]
    events: Vec<Event>,
    /// The watch has ended.
    #[serde(default)]
    canceled: bool,
}

#[derive(Deserialize)]
struct Event {
    /// `DELETE`, or empty for a put.
    #[serde(default, rename = "type")]
    kind: String,
    kv: KeyValue,
}

#[derive(Deserialize)]
struct KeyValue {
    key: ByteString,
    /// A number, which the gateway writes as text because it has 64 bits.
    mod_revision: String,
    #[serde(default)]
    value: ByteString,
}

impl Recorder {
    /// Starts to record.
    pub(in crate::faults) async fn start(cluster: &ApiServer) -> Self {
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        let watch = json!({"create_request": {"key": bytes(FROM), "range_end": bytes(TO), "start_revision": "1"}});
        let request = Request::post("/v3/watch").body(watch.to_string().into_bytes().into()).unwrap();
        let answer = cluster.etcd_client().send(request).await.expect("etcd serves its JSON gateway");
        assert!(answer.status().is_success(), "{answer:?}");
        let commits = Arc::<Mutex<Vec<Commit>>>::default();
        let task = tokio::spawn(record(Body::new(answer.into_body()).into_data_stream(), Arc::clone(&commits)));
        Self { commits, task }
    }

    /// Waits until `revision` is recorded and returns the history.
    pub(in crate::faults) async fn up_to(&self, revision: Revision) -> History {
        eventually("the history to be recorded", async || {
            let history = self.so_far();
            (history.last >= revision).then_some(history)
        })
        .await
    }

    /// Returns the history that is recorded so far.
    pub(in crate::faults) fn so_far(&self) -> History {
        assert!(!self.task.is_finished(), "etcd ended the watch");
        History::of(&self.commits.lock().expect(UNPOISONED))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads line after line, which may be split across chunks.
async fn record(mut body: BodyDataStream, commits: Arc<Mutex<Vec<Commit>>>) {
    let mut rest = Vec::new();
    while let Some(Ok(chunk)) = body.next().await {
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let Line { result } = serde_json::from_slice(&line).expect("the gateway writes one answer a line");
            assert!(!result.canceled, "etcd cancelled the watch");
            commits.lock().expect(UNPOISONED).extend(result.events.into_iter().map(Commit::from));
        }
    }
}

impl From<Event> for Commit {
    fn from(Event { kind, kv }: Event) -> Self {
        let KeyValue { key, mod_revision, value } = kv;
        Self {
            revision: mod_revision.parse().expect("a revision is a number"),
            key: String::from_utf8(key.0).expect("a key is text"),
            object: (kind != "DELETE").then(|| Object::read(&value.0)),
        }
    }
}
