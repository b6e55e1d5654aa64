//! The journal in a real API server: its metadata, its fence, and what it carries over a restart.

mod copies;
mod forget;

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kamaji_telemetry::agent::journal::config_map::{JournalWriteError, NAME};
use kamaji_telemetry::agent::journal::{JournalState, JournalStore, OUTBOX_LIMIT, ROW_LIMIT};
use kamaji_telemetry::agent::observe::PersistedRow;
use kamaji_telemetry::catalog::{Event, EventRecord, KamajiVersion, KubernetesVersion, Status};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::process::Command;
use uuid::Uuid;

use crate::program::{AgentOptions, NAMESPACE, PROGRAM};
use crate::servers::{ApiServer, Collector, User, checkout, eventually, tcp};

const QUARANTINE: &str = "kamaji-telemetry-quarantine";

fn config_maps(cluster: &ApiServer) -> Api<ConfigMap> {
    Api::namespaced(cluster.admin().clone(), NAMESPACE)
}

async fn journal(cluster: &ApiServer) -> ConfigMap {
    config_maps(cluster).get(NAME).await.unwrap()
}

fn data(journal: &ConfigMap, key: &str) -> String {
    journal.data.as_ref().unwrap()[key].clone()
}

fn store(cluster: &ApiServer) -> JournalStore {
    JournalStore { client: cluster.client(User::Agent), namespace: NAMESPACE.to_owned(), owner: None }
}

async fn run(cluster: &ApiServer, arguments: &[&str]) -> String {
    let output = Command::new(PROGRAM)
        .args(arguments)
        .env_clear()
        .env("KUBECONFIG", cluster.kubeconfig(User::Agent))
        .env("POD_NAMESPACE", NAMESPACE)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Starts a collector that prints what it receives.
async fn collector() -> Collector {
    Collector::start(&checkout("otel-collector/debug.yaml"), &[], &[]).await
}

/// Returns the `log.record.uid` of each record that the collector has printed, in order.
fn printed_uids(collector: &Collector) -> Vec<String> {
    let output = collector.output();
    let values = output.lines().filter_map(|line| line.split_once("log.record.uid: Str("));
    values.map(|(_, uid)| uid.trim_end_matches(')').to_owned()).collect()
}

/// Waits until the collector has printed this number of distinct events, the last one completely. Returns its output.
async fn printed(collector: &Collector, events: usize) -> String {
    let complete = async || {
        let (output, uids) = (collector.output(), printed_uids(collector));
        let is_complete = output.matches("Trace ID:").count() == uids.len();
        (is_complete && uids.iter().collect::<BTreeSet<_>>().len() == events).then_some(output)
    };
    eventually("the events to be printed", complete).await
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_journal_is_described_and_owned_by_the_agents_deployment() {
    let cluster = ApiServer::start_with_kamaji().await;
    let options = AgentOptions::new(&cluster, "http://127.0.0.1:1").argument("--owner-deployment=kamaji-telemetry");
    let agent = options.start().await;
    agent.ready().await;
    let written = async || Some(journal(&cluster).await).filter(|journal| data(journal, "baseline") == "true");
    let journal = eventually("the baseline to be written", written).await;
    let metadata = &journal.metadata;
    assert_eq!(metadata.labels.as_ref().unwrap()["app.kubernetes.io/managed-by"], "kamaji-telemetry");
    assert!(metadata.annotations.as_ref().unwrap()["kubernetes.io/description"].contains("Deleting it is safe"));
    let deployments: Api<Deployment> = Api::namespaced(cluster.admin().clone(), NAMESPACE);
    let deployment = deployments.get("kamaji-telemetry").await.unwrap();
    let [owner] = &metadata.owner_references.as_ref().unwrap()[..] else { panic!("one owner: {metadata:?}") };
    assert_eq!((&owner.kind[..], &owner.name[..]), ("Deployment", "kamaji-telemetry"));
    assert_eq!(Some(&owner.uid), deployment.metadata.uid.as_ref());
    assert_eq!(data(&journal, "endpoint"), "http://127.0.0.1:1");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_missing_owner_is_named_and_nothing_is_created_without_it() {
    let cluster = ApiServer::start_with_kamaji().await;
    let agent = AgentOptions::new(&cluster, "http://127.0.0.1:1").argument("--owner-deployment=other").start().await;
    let log = agent.logged("failed to find the Deployment").await;
    assert!(log.contains("--owner-deployment") && log.contains("name=\"other\""), "{log}");
    assert!(config_maps(&cluster).get_opt(NAME).await.unwrap().is_none());
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_restart_keeps_the_identity_and_reports_what_happened_meanwhile() {
    let cluster = ApiServer::start_with_kamaji().await;
    for name in ["a", "b", "c"] {
        cluster.create(tcp(name).status("Ready")).await;
    }
    let collector = collector().await;
    let mut agent = AgentOptions::new(&cluster, &collector.endpoint()).start().await;
    agent.ready().await;
    cluster.upgrade("a", "v1.36.0").await;
    printed(&collector, 1).await;
    let installation = data(&journal(&cluster).await, "installation");
    assert_eq!(agent.terminate().await, Some(0), "{}", agent.log());
    assert_eq!(run(&cluster, &["status"]).await.matches("pending               0").count(), 1);

    cluster.upgrade("a", "v1.37.0").await;
    cluster.upgrade("a", "v1.38.0").await;
    cluster.delete("b").await;
    cluster.create(tcp("d").version("v1.34.0")).await;
    let agent = AgentOptions::new(&cluster, &collector.endpoint()).start().await;
    agent.ready().await;
    let output = printed(&collector, 4).await;
    assert_eq!(data(&journal(&cluster).await, "installation"), installation);
    assert!(output.contains("old_tcp_version: Str(v1.36.0)"), "A→B→C is A→C: {output}");
    assert!(output.contains("new_tcp_version: Str(v1.38.0)") && !output.contains("v1.37.0"), "{output}");
    assert!(output.contains("status: Str(Ready)") && output.contains("tcp_version: Str(v1.34.0)"), "{output}");
    assert_eq!(output.matches("EventName: kamaji.tcp.updated").count(), 2, "what was acknowledged is not repeated");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_foreign_config_map_is_quarantined_and_a_new_installation_begins() {
    let cluster = ApiServer::start_with_kamaji().await;
    cluster.create(tcp("a")).await;
    for (number, content) in [json!({"mine": "a"}), json!({"format": "1", "installation": "b"})].into_iter().enumerate()
    {
        let foreign = json!({"metadata": {"name": NAME}, "data": content, "immutable": number == 1});
        config_maps(&cluster).create(&PostParams::default(), &serde_json::from_value(foreign).unwrap()).await.unwrap();
        let mut agent = AgentOptions::new(&cluster, "http://127.0.0.1:1").start().await;
        agent.ready().await;
        let log = agent.logged("is no journal of this program").await;
        assert_eq!(log.matches("ERROR").count(), 1, "{number}: {log}");
        let copy = config_maps(&cluster).get(QUARANTINE).await.unwrap();
        assert_eq!(serde_json::to_value(copy.data).unwrap(), content);
        assert!(data(&journal(&cluster).await, "installation").parse::<Uuid>().is_ok());
        assert_eq!(agent.terminate().await, Some(0));
        // The next start finds what the last one wrote.
        let agent = AgentOptions::new(&cluster, "http://127.0.0.1:1").start().await;
        agent.ready().await;
        assert!(!agent.log().contains("ERROR"), "{}", agent.log());
        drop(agent);
        config_maps(&cluster).delete(NAME, &DeleteParams::default()).await.unwrap();
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_journal_at_its_limit_is_accepted_by_the_api_server_and_read_back() {
    let cluster = ApiServer::start_with_kamaji().await;
    let version = KubernetesVersion::normalize("v1.36.0-rc.1");
    let row = |number: usize| PersistedRow {
        uid: Uuid::from_u128(number as u128),
        reported: version,
        status: Status::Ready,
        deleted_reported: false,
    };
    let event = |_| EventRecord {
        uid: Uuid::new_v4(),
        time: Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap(),
        kamaji_version: KamajiVersion::normalize("26.7.4-edge"),
        kubernetes_version: version,
        event: Event::Updated { old_tcp_version: version, new_tcp_version: version },
    };
    let (mut journal, state) = store(&cluster).open("http://127.0.0.1:1").await.unwrap();
    let full = JournalState {
        rows: (0..ROW_LIMIT).map(row).collect(),
        outbox: (0..OUTBOX_LIMIT).map(event).collect(),
        baseline: true,
        ..state
    };
    journal.write(full.clone()).await.unwrap();
    // All of it is in the head; then all of it differs from the base, and a fifth is of other control planes.
    let last = u128::try_from(ROW_LIMIT).unwrap();
    let others = full.rows.iter().map(|row| PersistedRow {
        uid: Uuid::from_u128(row.uid.as_u128() + last / 5),
        status: Status::NotReady,
        ..*row
    });
    let others = JournalState { rows: others.collect(), ..full.clone() };
    journal.write(others.clone()).await.unwrap();
    assert!(view_outbox(&cluster).await == others.outbox);
    let (_, opened) = store(&cluster).open("http://127.0.0.1:1").await.unwrap();
    assert_eq!(opened, JournalState { epoch: others.epoch + 1, ..others });
}

async fn view_outbox(cluster: &ApiServer) -> Vec<EventRecord> {
    store(cluster).read().await.unwrap().unwrap().state.outbox
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_term_ends_with_the_first_write_of_another_and_with_a_deletion() {
    let cluster = ApiServer::start_with_kamaji().await;
    let (mut old, state) = store(&cluster).open("").await.unwrap();
    old.write(state.clone()).await.unwrap();
    let (mut new, later) = store(&cluster).open("").await.unwrap();
    assert_eq!((later.installation, later.epoch), (state.installation, state.epoch + 1));
    assert!(matches!(old.write(state.clone()).await, Err(JournalWriteError::Fenced(_))));
    new.write(later.clone()).await.unwrap();
    assert!(store(&cluster).erase().await.unwrap());
    assert!(matches!(new.write(later.clone()).await, Err(JournalWriteError::Fenced(_))));
    assert!(!store(&cluster).erase().await.unwrap(), "it was not brought back");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_foreign_edit_of_the_journal_costs_a_list_and_nothing_else() {
    let cluster = ApiServer::start_with_kamaji().await;
    cluster.create(tcp("a")).await;
    let collector = collector().await;
    let agent = AgentOptions::new(&cluster, &collector.endpoint()).start().await;
    agent.ready().await;
    cluster.upgrade("a", "v1.36.0").await;
    printed(&collector, 1).await;
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"curious": "yes"}}}));
    config_maps(&cluster).patch(NAME, &PatchParams::default(), &patch).await.unwrap();
    cluster.upgrade("a", "v1.37.0").await;
    let output = printed(&collector, 2).await;
    assert!(output.contains("old_tcp_version: Str(v1.36.0)"), "{output}");
    let annotated = async || journal(&cluster).await.metadata.annotations?.contains_key("curious").then_some(());
    eventually("their annotation in what the agent has written since", annotated).await;
    assert!(agent.log().contains("a new one begins from what is written"), "{}", agent.log());
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn status_and_metrics_show_pending_events_and_forget_deletes_them() {
    let cluster = ApiServer::start_with_kamaji().await;
    let status: Value = serde_json::from_str(&run(&cluster, &["status", "--output=json"]).await).unwrap();
    assert_eq!((&status["enabled"], &status["installation"]), (&json!(true), &json!(null)));
    let agent = AgentOptions::new(&cluster, "http://127.0.0.1:1").argument("--operator-poll-interval=1s").start().await;
    agent.ready().await;
    cluster.create(tcp("a")).await;
    let pending = async || {
        let status: Value = serde_json::from_str(&run(&cluster, &["status", "--output=json"]).await).unwrap();
        (status["pending"] == 1).then_some(status)
    };
    let status = eventually("an event to wait", pending).await;
    assert_eq!(status["endpoint"], "http://127.0.0.1:1");
    assert_eq!(status["last_acknowledgement"], json!(null));
    assert!(status["oldest_pending"].is_string(), "{status}");
    let uuid = status["installation"].as_str().unwrap();
    let metrics = agent.metrics().await;
    for line in [
        "kamaji_telemetry_agent_events_pending 1",
        "kamaji_telemetry_agent_events_persisted_total 1",
        "kamaji_telemetry_agent_events_acknowledged_total 0",
        "kamaji_telemetry_agent_leader 1",
    ] {
        assert!(metrics.lines().any(|metric| metric == line), "{line} is not in {metrics}");
    }
    assert!(!metrics.contains(uuid), "the metrics do not identify the installation");
    let log = agent.logged("failed to export").await;
    assert!(log.contains("term{namespace=\"kamaji-telemetry\" epoch=1}:export{signal="), "{log}");
    assert!(!log.contains(uuid), "nor does the log: {log}");

    let table = run(&cluster, &["status"]).await;
    assert!(table.contains("Telemetry is on") && table.contains(uuid), "{table}");
    let pending = "pending               1  (or fewer: an acknowledgement is written within 2 s)";
    assert!(table.contains(pending), "{table}");
    assert!(table.contains("name it with --owner-deployment"), "its own switches are not seen: {table}");
    assert!(
        table.contains("Kamaji's operator     Deployment \"kamaji\" in the namespace \"kamaji-system\""),
        "{table}"
    );
    assert!(table.contains("Kamaji's version      v1.0.0  (from its image's tag)"), "{table}");
    let elsewhere = run(&cluster, &["status", "--kamaji-namespace=elsewhere"]).await;
    assert!(elsewhere.contains("Kamaji's operator     unknown: looking for Kamaji's operator in"), "{elsewhere}");
    let forgotten = run(&cluster, &["forget"]).await;
    assert!(forgotten.contains(uuid) && forgotten.contains("erased by whoever runs the backend"), "{forgotten}");
    drop(agent);
    run(&cluster, &["forget"]).await;
    assert!(run(&cluster, &["forget"]).await.contains("There was no state"));
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_switch_in_the_agents_deployment_shows_in_the_status() {
    let cluster = ApiServer::start_with_kamaji().await;
    let status = async || run(&cluster, &["status", "--owner-deployment=kamaji-telemetry"]).await;
    assert!(status().await.contains("Telemetry is on"));
    let deployments: Api<Deployment> = Api::namespaced(cluster.admin().clone(), NAMESPACE);
    let container = json!({"name": "agent", "env": [{"name": "DO_NOT_TRACK", "value": "1"}]});
    let change = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    deployments.patch("kamaji-telemetry", &PatchParams::default(), &Patch::Strategic(change)).await.unwrap();
    let off = status().await;
    assert!(off.contains("Telemetry is off: DO_NOT_TRACK is set in the Deployment"), "{off}");
}
