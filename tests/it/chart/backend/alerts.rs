//! Tests of the alerts with promtool: each fires under its condition, and not otherwise.

use std::process::Command;

use regex::Regex;
use serde_json::{Value, json};

use super::{offline, snapshots};
use crate::backend::tls::Authority;
use crate::servers::{documents, tool_path};

/// Metrics of the kubelet and of kube-state-metrics that the rules use.
const EXTERNAL_METRICS: [&str; 6] = [
    "kube_cronjob_created",
    "kube_cronjob_status_last_successful_time",
    "kube_job_created",
    "kube_job_failed",
    "kubelet_volume_stats_available_bytes",
    "kubelet_volume_stats_capacity_bytes",
];

const READY: &str = r#"kamaji_telemetry_backend_ready{namespace="kamaji-system"}"#;
const FAILED_COMMITS: &str = r#"kamaji_telemetry_backend_commits_total{namespace="kamaji-system", result="failure"}"#;
const LAST_WRITE: &str = r#"kamaji_telemetry_backend_last_write_timestamp_seconds{namespace="kamaji-system"}"#;
const WRITE_QUEUE: &str = r#"kamaji_telemetry_backend_write_queue_records{namespace="kamaji-system"}"#;
const EXPIRY: &str = r#"kamaji_telemetry_backend_tls_certificate_expiry_timestamp_seconds{namespace="kamaji-system"}"#;
const AVAILABLE_BYTES: &str = r#"kubelet_volume_stats_available_bytes{namespace="kamaji-system", persistentvolumeclaim="kamaji-telemetry-backend"}"#;
const CAPACITY_BYTES: &str = r#"kubelet_volume_stats_capacity_bytes{namespace="kamaji-system", persistentvolumeclaim="kamaji-telemetry-backend"}"#;
const JOB_CREATED: &str =
    r#"kube_job_created{namespace="kamaji-system", job_name="kamaji-telemetry-backend-backup-29"}"#;
const JOB_FAILED: &str =
    r#"kube_job_failed{namespace="kamaji-system", job_name="kamaji-telemetry-backend-backup-29", condition="true"}"#;
const POD_FAILED: &str =
    r#"kube_job_status_failed{namespace="kamaji-system", job_name="kamaji-telemetry-backend-backup-29"}"#;
const LAST_BACKUP: &str =
    r#"kube_cronjob_status_last_successful_time{namespace="kamaji-system", cronjob="kamaji-telemetry-backend-backup"}"#;
const CRON_JOB_CREATED: &str =
    r#"kube_cronjob_created{namespace="kamaji-system", cronjob="kamaji-telemetry-backend-backup"}"#;

const NEW_INSTALLATIONS: &str =
    r#"kamaji_telemetry_backend_new_installations{namespace="kamaji-system", period="today"}"#;
const NEW_INSTALLATIONS_MEDIAN: &str =
    r#"kamaji_telemetry_backend_new_installations{namespace="kamaji-system", period="median"}"#;
const NEW_VERSIONS: &str = r#"kamaji_telemetry_backend_new_versions{namespace="kamaji-system", period="today"}"#;
const NEW_VERSIONS_MEDIAN: &str =
    r#"kamaji_telemetry_backend_new_versions{namespace="kamaji-system", period="median"}"#;
const BULK_RECORDS: &str = r#"kamaji_telemetry_backend_bulk_records{namespace="kamaji-system", period="today"}"#;
const BULK_RECORDS_MEDIAN: &str =
    r#"kamaji_telemetry_backend_bulk_records{namespace="kamaji-system", period="median"}"#;

/// Name and values of a time series, in promtool's notation.
type Series = (&'static str, &'static str);

/// An alert, the time of its evaluation, the series from time 0 on with a value per minute, and, if it must fire, its labels in
/// addition to the namespace.
struct Case(&'static str, &'static str, &'static [Series], Option<&'static [Series]>);

const FIRES: Option<&'static [Series]> = Some(&[]);

const CASES: [Case; 32] = [
    Case("Down", "6m", &[], FIRES),
    Case("Down", "4m", &[], None),
    Case("Down", "6m", &[(READY, "0x9")], None),
    // A backend in another namespace does not count.
    Case("Down", "6m", &[(r#"kamaji_telemetry_backend_ready{namespace="other"}"#, "1x9")], FIRES),
    Case("NotReady", "2m", &[(READY, "0x9")], FIRES),
    Case("NotReady", "2m", &[(READY, "1 0 1 0 1")], None),
    Case("CommitFailed", "6m", &[(FAILED_COMMITS, "0 0 0 1x9")], Some(&[("result", "failure")])),
    Case("CommitFailed", "20m", &[(FAILED_COMMITS, "0 0 0 1x30")], None),
    Case("NoDataReceived", "77m", &[(LAST_WRITE, "0x99")], FIRES),
    Case("ManyNewInstallations", "6m", &[(NEW_INSTALLATIONS, "71x9"), (NEW_INSTALLATIONS_MEDIAN, "10x9")], FIRES),
    Case("ManyNewInstallations", "6m", &[(NEW_INSTALLATIONS, "70x9"), (NEW_INSTALLATIONS_MEDIAN, "10x9")], None),
    Case("ManyNewVersions", "6m", &[(NEW_VERSIONS, "36x9"), (NEW_VERSIONS_MEDIAN, "3x9")], FIRES),
    Case("ManyNewVersions", "6m", &[(NEW_VERSIONS, "35x9"), (NEW_VERSIONS_MEDIAN, "3x9")], None),
    Case("ManyBulkRecords", "6m", &[(BULK_RECORDS, "101x9"), (BULK_RECORDS_MEDIAN, "0x9")], FIRES),
    Case("ManyBulkRecords", "6m", &[(BULK_RECORDS, "100x9"), (BULK_RECORDS_MEDIAN, "0x9")], None),
    Case("NoDataReceived", "77m", &[(LAST_WRITE, "0+60x99")], None),
    // The backend has just started, and has received nothing yet.
    Case("NoDataReceived", "99m", &[(LAST_WRITE, "_x90 0x20")], None),
    Case("WriteQueueFilling", "2m", &[(WRITE_QUEUE, "8001x9")], FIRES),
    Case("WriteQueueFilling", "2m", &[(WRITE_QUEUE, "8000x9")], None),
    Case(
        "VolumeFilling",
        "6m",
        &[(AVAILABLE_BYTES, "19x9"), (CAPACITY_BYTES, "100x9")],
        Some(&[("persistentvolumeclaim", "kamaji-telemetry-backend")]),
    ),
    Case("VolumeFilling", "6m", &[(AVAILABLE_BYTES, "20x9"), (CAPACITY_BYTES, "100x9")], None),
    // The threshold is 7 days, 604,800 s; the evaluation is 6 min later.
    Case("CertificateExpiring", "6m", &[(EXPIRY, "604800x9")], FIRES),
    Case("CertificateExpiring", "6m", &[(EXPIRY, "605400x9")], None),
    Case(
        "BackupFailed",
        "5m",
        &[(JOB_CREATED, "60x9"), (JOB_FAILED, "1x9"), (LAST_BACKUP, "30x9"), (CRON_JOB_CREATED, "0x9")],
        FIRES,
    ),
    Case("BackupFailed", "5m", &[(JOB_CREATED, "60x9"), (JOB_FAILED, "1x9"), (CRON_JOB_CREATED, "0x9")], FIRES),
    Case(
        "BackupFailed",
        "5m",
        &[(JOB_CREATED, "60x9"), (JOB_FAILED, "0x9"), (LAST_BACKUP, "30x9"), (CRON_JOB_CREATED, "0x9")],
        None,
    ),
    // The first pod failed, and the retry is running.
    Case(
        "BackupFailed",
        "5m",
        &[(JOB_CREATED, "60x9"), (POD_FAILED, "1x9"), (LAST_BACKUP, "30x9"), (CRON_JOB_CREATED, "0x9")],
        None,
    ),
    // A later backup succeeded.
    Case(
        "BackupFailed",
        "5m",
        &[(JOB_CREATED, "60x9"), (JOB_FAILED, "1x9"), (LAST_BACKUP, "90x9"), (CRON_JOB_CREATED, "0x9")],
        None,
    ),
    Case("BackupTooOld", "2887m", &[(LAST_BACKUP, "0x3000"), (CRON_JOB_CREATED, "0x3000")], FIRES),
    Case("BackupTooOld", "2887m", &[(CRON_JOB_CREATED, "0x3000")], FIRES),
    Case("BackupTooOld", "2887m", &[(LAST_BACKUP, "0x1000 60000x2000"), (CRON_JOB_CREATED, "0x3000")], None),
    Case("BackupTooOld", "2800m", &[(CRON_JOB_CREATED, "0x3000")], None),
];

/// The metric of three pods, as Prometheus has it.
const PODS: [&str; 3] = [
    r#"kamaji_telemetry_backend_ready{namespace="kamaji-system", pod="a"}"#,
    r#"kamaji_telemetry_backend_ready{namespace="kamaji-system", pod="b"}"#,
    r#"kamaji_telemetry_backend_ready{namespace="kamaji-system", pod="c"}"#,
];

/// Cases of the alerts of three replicas on PostgreSQL.
const REPLICA_CASES: [Case; 6] = [
    Case("ReplicaMissing", "12m", &[(PODS[0], "1x20"), (PODS[1], "1x20")], FIRES),
    Case("ReplicaMissing", "12m", &[(PODS[0], "1x20"), (PODS[1], "1x20"), (PODS[2], "0x20")], FIRES),
    Case("ReplicaMissing", "12m", &[(PODS[0], "1x20"), (PODS[1], "1x20"), (PODS[2], "1x20")], None),
    // Another pod has taken the place of one that has ended.
    Case(
        "ReplicaMissing",
        "20m",
        &[(PODS[0], "1x20"), (PODS[1], "1x20"), (PODS[2], "1x3 stale"), (NEW_POD, "_x8 1x12")],
        None,
    ),
    // A rollout has one more.
    Case("ReplicaMissing", "12m", &[(PODS[0], "1x20"), (PODS[1], "1x20"), (PODS[2], "1x20"), (NEW_POD, "1x20")], None),
    // Another alert is for a backend that is down.
    Case("ReplicaMissing", "12m", &[], None),
];

const NEW_POD: &str = r#"kamaji_telemetry_backend_ready{namespace="kamaji-system", pod="d"}"#;

/// Returns the groups of rules, with every optional value enabled.
async fn groups() -> Value {
    groups_of(&snapshots::everything()).await
}

async fn groups_of(values: &Value) -> Value {
    let rendered = offline().template(values).await.unwrap();
    let rule = documents(&rendered).into_iter().find(|object| object["kind"] == "PrometheusRule").unwrap();
    rule["spec"]["groups"].clone()
}

fn rules(groups: &Value) -> &Vec<Value> {
    groups[0]["rules"].as_array().unwrap()
}

fn promtool(arguments: &[&str]) {
    let output = Command::new(tool_path("promtool")).args(arguments).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}");
}

/// Returns the test of a case in promtool's format.
fn test(case: &Case, rules: &[Value]) -> Value {
    let Case(alert, at, series, labels) = case;
    let alert = format!("KamajiTelemetryBackend{alert}");
    let rule = rules.iter().find(|rule| rule["alert"] == *alert).unwrap_or_else(|| panic!("{alert} is a rule"));
    let expected = labels.map(|labels| {
        let mut expected = json!({"namespace": "kamaji-system", "severity": rule["labels"]["severity"]});
        for (label, value) in labels {
            expected[label] = json!(value);
        }
        json!({"exp_labels": expected, "exp_annotations": rule["annotations"]})
    });
    let series: Vec<_> = series.iter().map(|(series, values)| json!({"series": series, "values": values})).collect();
    let expected: Vec<_> = expected.into_iter().collect();
    let alerts = json!([{"eval_time": at, "alertname": alert, "exp_alerts": expected}]);
    json!({"name": format!("{alert} at {at}"), "interval": "1m", "input_series": series, "alert_rule_test": alerts})
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn each_alert_fires_under_its_condition_and_not_otherwise() {
    let groups = groups().await;
    try_rules(&groups, &CASES);
    assert_each_has_cases(rules(&groups), &CASES);
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_alert_fires_while_one_of_several_replicas_is_missing() {
    let mut values = snapshots::postgres();
    let groups = groups_of(&values).await;
    try_rules(&groups, &REPLICA_CASES);
    let names =
        |groups: &Value| rules(groups).iter().map(|rule| rule["alert"].to_string()).collect::<Vec<_>>().concat();
    assert!(names(&groups).contains("ReplicaMissing"));
    for (name, value) in [("replicas", json!(1)), ("maintenance", json!(true))] {
        values[name] = value;
        assert!(!names(&groups_of(&values).await).contains("ReplicaMissing"), "{name}");
        values["replicas"] = json!(3);
    }
}

/// Tries the rules with promtool.
fn try_rules(groups: &Value, cases: &[Case]) {
    let folder = tempfile::tempdir().unwrap();
    let path = |file: &str| folder.path().join(file).display().to_string();
    std::fs::write(path("rules.yaml"), json!({"groups": groups}).to_string()).unwrap();
    promtool(&["check", "rules", "--lint=all", "--lint-fatal", &path("rules.yaml")]);

    let rules = rules(groups);
    let tests: Vec<_> = cases.iter().map(|case| test(case, rules)).collect();
    std::fs::write(path("tests.yaml"), json!({"rule_files": ["rules.yaml"], "tests": tests}).to_string()).unwrap();
    promtool(&["test", "rules", &path("tests.yaml")]);
}

/// Asserts that each rule has a case in which it fires, one in which it does not, and what people read.
fn assert_each_has_cases(rules: &[Value], cases: &[Case]) {
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        let cases = cases.iter().filter(|case| name == format!("KamajiTelemetryBackend{}", case.0));
        let (firing, silent): (Vec<_>, Vec<_>) = cases.partition(|case| case.3.is_some());
        assert!(!firing.is_empty() && !silent.is_empty(), "{name} has a firing and a silent case");
        let severity = rule["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("critical" | "warning")), "{name}");
        for annotation in ["summary", "description"] {
            assert!(rule["annotations"][annotation].is_string(), "{annotation} of {name}");
        }
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_backend_exposes_every_metric_that_an_alert_uses() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue(2100);
    authority.put((&certificate, &key));
    let metrics = authority.start().await.metrics().await;
    let selector = Regex::new(r"([a-z_]+)\{").unwrap();
    let groups = groups().await;
    let mut used = 0;
    for rule in rules(&groups) {
        for found in selector.captures_iter(rule["expr"].as_str().unwrap()) {
            let name = &found[1];
            let is_exposed = metrics.lines().any(|line| line.split(['{', ' ']).next() == Some(name));
            assert!(is_exposed || EXTERNAL_METRICS.contains(&name), "{name}: {metrics}");
            used += usize::from(is_exposed);
        }
    }
    assert!(used >= 6, "{used}");
    assert!(metrics.contains("commits_total{result=\"failure\"} 0\n"), "{metrics}");
}
