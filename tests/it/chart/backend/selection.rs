//! Tests of the selectors: they match the backend's pod with any added labels, and never the backup's pod.

use serde_json::{Map, Value, json};

use super::{offline, snapshots};
use crate::servers::documents;

/// Renders the chart with every optional value enabled.
async fn everything() -> Vec<Value> {
    documents(&offline().template(&snapshots::everything()).await.unwrap())
}

/// Returns the object of this kind with this suffix of its name.
fn find<'a>(objects: &'a [Value], kind: &str, suffix: &str) -> &'a Value {
    let name = format!("kamaji-telemetry-backend{suffix}");
    let mut found = objects.iter().filter(|object| object["kind"] == kind && object["metadata"]["name"] == *name);
    found.next().unwrap_or_else(|| panic!("no {kind}/{name}"))
}

fn at<'a>(object: &'a Value, pointer: &str) -> &'a Map<String, Value> {
    object.pointer(pointer).and_then(Value::as_object).unwrap_or_else(|| panic!("{pointer} of {object}"))
}

fn selects(selector: &Map<String, Value>, labels: &Map<String, Value>) -> bool {
    assert!(!selector.is_empty(), "an empty selector");
    selector.iter().all(|(label, value)| labels.get(label) == Some(value))
}

const AFFINITY: &str = "/spec/jobTemplate/spec/template/spec/affinity/podAffinity\
                        /requiredDuringSchedulingIgnoredDuringExecution/0/labelSelector/matchLabels";

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn selectors_match_the_backends_pod_and_never_the_backups_pod() {
    let objects = everything().await;
    let server = at(find(&objects, "StatefulSet", ""), "/spec/template/metadata/labels");
    let backup = at(find(&objects, "CronJob", "-backup"), "/spec/jobTemplate/spec/template/metadata/labels");
    for (kind, suffix, selector) in [
        ("StatefulSet", "", "/spec/selector/matchLabels"),
        ("Service", "", "/spec/selector"),
        ("Service", "-metrics", "/spec/selector"),
        ("NetworkPolicy", "", "/spec/podSelector/matchLabels"),
        ("CronJob", "-backup", AFFINITY),
    ] {
        let selector = at(find(&objects, kind, suffix), selector);
        assert!(selects(selector, server) && !selects(selector, backup), "{kind}: {selector:?}");
    }
    let policy = at(find(&objects, "NetworkPolicy", "-backup"), "/spec/podSelector/matchLabels");
    assert!(selects(policy, backup) && !selects(policy, server), "{policy:?}");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_service_monitor_scrapes_the_port_of_the_metrics() {
    let objects = everything().await;
    let monitor = find(&objects, "ServiceMonitor", "");
    let selector = at(monitor, "/spec/selector/matchLabels");
    let [senders, metrics] = ["", "-metrics"].map(|suffix| find(&objects, "Service", suffix));
    let labels = |service| at(service, "/metadata/labels");
    assert!(selects(selector, labels(metrics)) && !selects(selector, labels(senders)), "{selector:?}");
    let port = &monitor["spec"]["endpoints"][0]["port"];
    let ports = metrics["spec"]["ports"].as_array().unwrap();
    let target = &ports.iter().find(|found| &found["name"] == port).unwrap()["targetPort"];
    let container = find(&objects, "StatefulSet", "").pointer("/spec/template/spec/containers/0").unwrap();
    let named = container["ports"].as_array().unwrap().iter().find(|port| &port["name"] == target).unwrap();
    assert_eq!(named["containerPort"], 8080);
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn no_pod_has_egress_and_the_backup_has_no_ingress() {
    let objects = everything().await;
    let policies: Vec<_> = objects.iter().filter(|object| object["kind"] == "NetworkPolicy").collect();
    assert_eq!(policies.len(), 2);
    for policy in policies {
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!(policy["spec"]["egress"], json!([]));
    }
    assert_eq!(find(&objects, "NetworkPolicy", "-backup")["spec"]["ingress"], json!([]));
}

/// A single file that is mounted with `subPath` does not follow changes of its Secret.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn secrets_are_mounted_as_directories() {
    let objects = everything().await;
    let mounts = find(&objects, "StatefulSet", "").pointer("/spec/template/spec/containers/0/volumeMounts").unwrap();
    let mounts = mounts.as_array().unwrap();
    assert_eq!(mounts.len(), 4, "the store, the certificate, and both token files");
    assert!(mounts.iter().all(|mount| mount.get("subPath").is_none()), "{mounts:?}");
}

/// A claim with `WaitForFirstConsumer` would otherwise stay pending until the first backup, and `helm install --wait` with it.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_backups_claim_is_referenced_by_the_backends_pod_and_mounted_by_the_backups_pod_only() {
    let claim = json!({"name": "backups", "persistentVolumeClaim": {"claimName": "kamaji-telemetry-backend-backup"}});
    for (enabled, is_referenced) in [(true, true), (false, false)] {
        let rendered = offline().template(&json!({"backup": {"enabled": enabled}})).await.unwrap();
        let objects = documents(&rendered);
        let pod = &find(&objects, "StatefulSet", "")["spec"]["template"]["spec"];
        assert_eq!(pod["volumes"].as_array().unwrap().contains(&claim), is_referenced, "backup.enabled={enabled}");
        let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
        assert!(mounts.iter().all(|mount| mount["name"] != "backups"), "{mounts:?}");
    }
}
