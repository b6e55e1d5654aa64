//! The preview prints exactly what the agent sends.

use std::process::Output;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::program::{AgentOptions, NAMESPACE, PROGRAM};
use crate::servers::{ApiServer, Collector, CountingProxy, User, checkout, eventually, fixture, tcp};

const STATUSES: [&str; 9] = [
    "Provisioning",
    "CertificateAuthorityRotating",
    "Upgrading",
    "Migrating",
    "Ready",
    "NotReady",
    "Sleeping",
    "WriteLimited",
    "Unknown",
];

const DATASTORE: &str = "
apiVersion: kamaji.clastix.io/v1alpha1
kind: DataStore
metadata: {name: default}
spec: {driver: PostgreSQL}
";

/// Starts a cluster with a control plane in each of the nine statuses, all of one version, and Kamaji with its defaults.
async fn all_statuses() -> ApiServer {
    let cluster = ApiServer::start_with_kamaji().await;
    for status in STATUSES {
        cluster.create(tcp(&status.to_lowercase()).status(status).service("LoadBalancer")).await;
    }
    cluster
}

async fn preview(cluster: &ApiServer, endpoint: &str, arguments: &[&str]) -> Output {
    let output = tokio::process::Command::new(PROGRAM)
        .arg("preview")
        .args(arguments)
        .env_clear()
        .env("KUBECONFIG", cluster.kubeconfig(User::Agent))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("POD_NAMESPACE", NAMESPACE)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn lines<T: DeserializeOwned>(text: &[u8]) -> Vec<T> {
    let text = std::str::from_utf8(text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Removes the times, which may differ, and sorts the rest.
fn comparable_metrics(mut request: ExportMetricsServiceRequest) -> ExportMetricsServiceRequest {
    for resource in &mut request.resource_metrics {
        let resource_attributes = &mut resource.resource.as_mut().unwrap().attributes;
        resource_attributes.sort_by(|one, other| one.key.cmp(&other.key));
        for metric in resource.scope_metrics.iter_mut().flat_map(|scope| &mut scope.metrics) {
            let Some(Data::Gauge(gauge)) = &mut metric.data else { panic!("{} is no gauge", metric.name) };
            for point in &mut gauge.data_points {
                (point.time_unix_nano, point.start_time_unix_nano) = (0, 0);
                point.attributes.sort_by(|one, other| one.key.cmp(&other.key));
            }
            gauge.data_points.sort_by_key(|point| format!("{:?}", point.attributes));
        }
    }
    request
}

/// Merges the records of several requests into one, sorted by their names, without times and uids.
fn comparable_logs(requests: Vec<ExportLogsServiceRequest>) -> ExportLogsServiceRequest {
    let mut requests = requests.into_iter();
    let mut all = requests.next().unwrap();
    let records = &mut all.resource_logs[0].scope_logs[0].log_records;
    for mut request in requests {
        records.append(&mut request.resource_logs[0].scope_logs[0].log_records);
    }
    for record in &mut *records {
        (record.time_unix_nano, record.observed_time_unix_nano) = (0, 0);
        // The collector writes a missing body as one without a value.
        record.body.take_if(|body| body.value.is_none());
        record.attributes.iter_mut().filter(|one| one.key == "log.record.uid").for_each(|one| one.value = None);
        record.attributes.sort_by(|one, other| one.key.cmp(&other.key));
    }
    records.sort_by(|one, other| one.event_name.cmp(&other.event_name));
    all.resource_logs[0].resource.as_mut().unwrap().attributes.sort_by(|one, other| one.key.cmp(&other.key));
    all
}

async fn compare_preview_with_export(cluster: ApiServer, flag: &'static str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("requests.json");
    let config = checkout("tests/fixtures/collector-file.yaml");
    let collector = Collector::start(&config, &[("FILE_PATH", file.to_str().unwrap())], &[]).await;
    let agent = AgentOptions::new(&cluster, &collector.endpoint()).argument(flag).start().await;
    agent.ready().await;
    let output = preview(&cluster, "http://127.0.0.1:1", &["--output=otlp", flag]).await;
    let previewed: Vec<Value> = lines(&output.stdout);
    let [previewed_metrics, previewed_logs] = &previewed[..] else { panic!("two requests: {previewed:?}") };
    let sent_lines = async |key: &str| -> Vec<Value> {
        let text = std::fs::read(&file).unwrap_or_default();
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        lines::<Value>(&text[..whole]).into_iter().filter(|line| line.get(key).is_some()).collect()
    };
    let metrics = eventually("gauges in the file", async || sent_lines("resourceMetrics").await.first().cloned()).await;
    let decode = |value: &Value| serde_json::from_value(value.clone()).unwrap();
    assert_eq!(comparable_metrics(decode(&metrics)), comparable_metrics(decode(previewed_metrics)));

    // The changes of the samples are made.
    cluster.create(tcp("new").status("Provisioning").service("LoadBalancer")).await;
    let deleted = deleted_sample(previewed_logs);
    cluster.upgrade(if deleted == "ready" { "sleeping" } else { "ready" }, "v1.35.2").await;
    cluster.delete(&deleted).await;
    let logs = eventually("three records in the file", async || {
        let requests: Vec<ExportLogsServiceRequest> =
            sent_lines("resourceLogs").await.iter().map(|line| serde_json::from_value(line.clone()).unwrap()).collect();
        let records = requests.iter().flat_map(|request| &request.resource_logs[0].scope_logs[0].log_records);
        (records.count() == 3).then_some(requests)
    })
    .await;
    let previewed_logs = serde_json::from_value(previewed_logs.clone()).unwrap();
    assert_eq!(comparable_logs(logs), comparable_logs(vec![previewed_logs]));
}

/// Returns the name of the control plane with the status in the sample of a deletion.
fn deleted_sample(logs: &Value) -> String {
    let records = logs["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap();
    let deleted = records.iter().find(|record| record["eventName"] == "kamaji.tcp.deleted").unwrap();
    let status = deleted["attributes"].as_array().unwrap().iter().find(|attribute| attribute["key"] == "status");
    status.unwrap()["value"]["stringValue"].as_str().unwrap().to_lowercase()
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_preview_equals_what_is_sent() {
    compare_preview_with_export(all_statuses().await, "--extended=false").await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_preview_of_the_extended_signals_equals_what_is_sent() {
    let cluster = all_statuses().await;
    cluster.apply(&fixture("agent-extended.yaml")).await;
    cluster.apply(DATASTORE).await;
    compare_preview_with_export(cluster, "--extended").await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_documented_payloads_are_printed_one_per_line_and_nothing_is_sent_or_written() {
    let cluster = all_statuses().await;
    let collector = CountingProxy::start(None).await;
    let output = preview(&cluster, &collector.url(), &["--output=json", "--disable-telemetry"]).await;
    let payloads: Vec<Value> = lines(&output.stdout);
    let [gauges, created, updated, deleted] = &payloads[..] else { panic!("four payloads: {payloads:?}") };
    let (kamaji, kubernetes) = ("v1.0.0", "v1.36.3");
    assert_eq!(
        *gauges,
        json!({
            "uuid": "00000000-0000-0000-0000-000000000000",
            "running": 4, "sleeping": 1, "not_ready": 3, "upgrading": 1,
            "kamaji_version": kamaji, "kubernetes_version": kubernetes,
        })
    );
    let version = json!({"tcp_version": "v1.35.1", "kamaji_version": kamaji, "kubernetes_version": kubernetes});
    assert_eq!(*created, version);
    assert_eq!(
        *updated,
        json!({
            "kamaji_version": kamaji, "kubernetes_version": kubernetes,
            "old_tcp_version": "v1.35.1", "new_tcp_version": "v1.35.2",
        })
    );
    assert!(STATUSES.contains(&deleted["status"].as_str().unwrap()), "{deleted}");

    let table = preview(&cluster, &collector.url(), &["--kamaji-namespace=kamaji-system"]).await;
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("operator            Deployment \"kamaji\" in the namespace \"kamaji-system\""), "{table}");
    assert!(table.contains("kamaji_version      v1.0.0  (from its image's tag)"), "{table}");
    let table = preview(&cluster, &collector.url(), &["--kamaji-deployment=other", "--kamaji-version=latest"]).await;
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("operator            unknown: ") && table.contains("Deployment \"other\""), "{table}");
    assert!(table.contains("kamaji_version      latest  (from --kamaji-version)"), "{table}");
    let table = preview(&cluster, &collector.url(), &["--disable-telemetry"]).await;
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("off: --disable-telemetry is set") && table.contains("all zero"), "{table}");
    assert_eq!(collector.connections(), 0);
    let is_write = |verb: &str| !matches!(verb, "get" | "list" | "watch");
    assert!(cluster.requests_of(User::Agent).iter().all(|request| !is_write(&request.verb)));
}
