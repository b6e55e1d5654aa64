//! Who chooses which pod: what is for the backend's takes it, whatever labels an operator adds, and never a backup's.

use serde_json::{Map, Value, json};

use super::{offline, snapshots};
use crate::servers::documents;

/// What is rendered where everything is on.
async fn everything() -> Vec<Value> {
    documents(&offline().template(&snapshots::everything()).await.unwrap())
}

/// The object of this kind whose name ends so.
fn find<'a>(objects: &'a [Value], kind: &str, end: &str) -> &'a Value {
    let name = format!("kamaji-telemetry-backend{end}");
    let mut found = objects.iter().filter(|object| object["kind"] == kind && object["metadata"]["name"] == *name);
    found.next().unwrap_or_else(|| panic!("{kind}/{name} is rendered"))
}

fn at<'a>(object: &'a Value, pointer: &str) -> &'a Map<String, Value> {
    object.pointer(pointer).and_then(Value::as_object).unwrap_or_else(|| panic!("{pointer} of {object}"))
}

fn selects(selector: &Map<String, Value>, labels: &Map<String, Value>) -> bool {
    assert!(!selector.is_empty(), "it selects some");
    selector.iter().all(|(label, value)| labels.get(label) == Some(value))
}

const AFFINITY: &str = "/spec/jobTemplate/spec/template/spec/affinity/podAffinity\
                        /requiredDuringSchedulingIgnoredDuringExecution/0/labelSelector/matchLabels";

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn what_is_for_the_backends_pod_takes_it_and_never_a_backups() {
    let objects = everything().await;
    let server = at(find(&objects, "StatefulSet", ""), "/spec/template/metadata/labels");
    let backup = at(find(&objects, "CronJob", "-backup"), "/spec/jobTemplate/spec/template/metadata/labels");
    for (kind, end, selector) in [
        ("StatefulSet", "", "/spec/selector/matchLabels"),
        ("Service", "", "/spec/selector"),
        ("Service", "-metrics", "/spec/selector"),
        ("NetworkPolicy", "", "/spec/podSelector/matchLabels"),
        ("CronJob", "-backup", AFFINITY),
    ] {
        let selector = at(find(&objects, kind, end), selector);
        assert!(selects(selector, server) && !selects(selector, backup), "{kind}: {selector:?}");
    }
    let policy = at(find(&objects, "NetworkPolicy", "-backup"), "/spec/podSelector/matchLabels");
    assert!(selects(policy, backup) && !selects(policy, server), "{policy:?}");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn what_is_scraped_is_the_port_of_the_accounts() {
    let objects = everything().await;
    let monitor = find(&objects, "ServiceMonitor", "");
    let selector = at(monitor, "/spec/selector/matchLabels");
    let [senders, metrics] = ["", "-metrics"].map(|end| find(&objects, "Service", end));
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
async fn no_pod_may_open_a_connection_and_a_backup_takes_none() {
    let objects = everything().await;
    let policies: Vec<_> = objects.iter().filter(|object| object["kind"] == "NetworkPolicy").collect();
    assert_eq!(policies.len(), 2);
    for policy in policies {
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!(policy["spec"]["egress"], json!([]));
    }
    assert_eq!(find(&objects, "NetworkPolicy", "-backup")["spec"]["ingress"], json!([]));
}

/// A file that is mounted by itself stays as it was when the Secret changes.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn secrets_are_mounted_as_folders_so_that_changes_arrive() {
    let objects = everything().await;
    let mounts = find(&objects, "StatefulSet", "").pointer("/spec/template/spec/containers/0/volumeMounts").unwrap();
    let mounts = mounts.as_array().unwrap();
    assert_eq!(mounts.len(), 4, "the store, the certificate, and both files of tokens");
    assert!(mounts.iter().all(|mount| mount.get("subPath").is_none()), "{mounts:?}");
}

/// A volume that waits for its first pod would otherwise wait for the first copy, and `helm install --wait` with it.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_claim_of_the_copies_is_bound_with_the_stores_and_mounted_by_a_backup_alone() {
    let claim = json!({"name": "backups", "persistentVolumeClaim": {"claimName": "kamaji-telemetry-backend-backup"}});
    for (enabled, is_there) in [(true, true), (false, false)] {
        let rendered = offline().template(&json!({"backup": {"enabled": enabled}})).await.unwrap();
        let objects = documents(&rendered);
        let pod = &find(&objects, "StatefulSet", "")["spec"]["template"]["spec"];
        assert_eq!(pod["volumes"].as_array().unwrap().contains(&claim), is_there, "backup.enabled={enabled}");
        let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
        assert!(mounts.iter().all(|mount| mount["name"] != "backups"), "{mounts:?}");
    }
}
