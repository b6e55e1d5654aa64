//! Tests of the selectors and of what a network policy allows: they match the backend's pod with any added labels, and no other
//! pod.

use serde_json::{Map, Value, json};

use super::{offline, snapshots};
use crate::servers::documents;

/// Renders the chart with every optional value enabled.
async fn everything() -> Vec<Value> {
    rendered(&snapshots::everything()).await
}

async fn rendered(values: &Value) -> Vec<Value> {
    documents(&offline().template(values).await.unwrap())
}

/// Returns the object of this kind with this suffix of its name. Names of Jobs end with a checksum after the suffix.
fn find<'a>(objects: &'a [Value], kind: &str, suffix: &str) -> &'a Value {
    let name = format!("kamaji-telemetry-backend{suffix}");
    let is_named = |found: &str| if kind == "Job" { found.starts_with(&name) } else { found == name };
    let is_named = |object: &Value| is_named(object["metadata"]["name"].as_str().unwrap());
    let mut found = objects.iter().filter(|object| object["kind"] == kind && is_named(object));
    found.next().unwrap_or_else(|| panic!("no {kind}/{name}"))
}

fn at<'a>(object: &'a Value, pointer: &str) -> &'a Map<String, Value> {
    object.pointer(pointer).and_then(Value::as_object).unwrap_or_else(|| panic!("{pointer} of {object}"))
}

fn selects(selector: &Map<String, Value>, labels: &Map<String, Value>) -> bool {
    assert!(!selector.is_empty(), "an empty selector");
    selector.iter().all(|(label, value)| labels.get(label) == Some(value))
}

/// The scheduler's term for the pods beside which a pod runs, or does not run.
const TERM: &str = "/requiredDuringSchedulingIgnoredDuringExecution/0/labelSelector/matchLabels";

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn selectors_match_the_backends_pod_and_no_other_pod() {
    let mut objects = everything().await;
    objects.extend(rendered(&snapshots::restore()).await.into_iter().filter(|object| object["kind"] == "Job"));
    let pod = |kind, suffix, pointer: &str| at(find(&objects, kind, suffix), &format!("{pointer}/metadata/labels"));
    let server = pod("StatefulSet", "", "/spec/template");
    let others = [
        ("backup", pod("CronJob", "-backup", "/spec/jobTemplate/spec/template")),
        ("backup-volume", pod("Job", "-volume", "/spec/template")),
        ("restore", pod("Job", "-restore", "/spec/template")),
        ("test", pod("Pod", "-test", "")),
    ];
    let affinity = |template: &str, kind: &str| format!("{template}/spec/affinity/{kind}{TERM}");
    for (kind, suffix, selector) in [
        ("StatefulSet", "", "/spec/selector/matchLabels".to_owned()),
        ("Service", "", "/spec/selector".to_owned()),
        ("Service", "-metrics", "/spec/selector".to_owned()),
        ("NetworkPolicy", "", "/spec/podSelector/matchLabels".to_owned()),
        ("CronJob", "-backup", affinity("/spec/jobTemplate/spec/template", "podAffinity")),
        ("Job", "-volume", affinity("/spec/template", "podAffinity")),
        ("Job", "-restore", affinity("/spec/template", "podAntiAffinity")),
    ] {
        let selector = at(find(&objects, kind, suffix), &selector);
        assert!(selects(selector, server), "{kind}: {selector:?}");
        for (component, labels) in &others {
            assert_eq!(labels["app.kubernetes.io/component"], *component);
            assert!(!selects(selector, labels), "{kind} and {component}: {selector:?}");
        }
    }
    let policy = find(&objects, "NetworkPolicy", "-jobs");
    assert!(selects(at(policy, "/spec/podSelector/matchLabels"), server), "of this release");
    let components = &policy["spec"]["podSelector"]["matchExpressions"];
    let values = json!(["backup", "backup-volume", "restore"]);
    assert_eq!(*components, json!([{"key": "app.kubernetes.io/component", "operator": "In", "values": values}]));
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
async fn no_pod_has_egress_and_jobs_have_no_ingress() {
    let objects = everything().await;
    let policies: Vec<_> = objects.iter().filter(|object| object["kind"] == "NetworkPolicy").collect();
    assert_eq!(policies.len(), 2);
    for policy in policies {
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!(policy["spec"].get("egress"), None, "no rule");
    }
    assert_eq!(find(&objects, "NetworkPolicy", "-jobs")["spec"].get("ingress"), None, "no rule");
}

/// Network plugins resolve the name of a container's port differently, and not that of a sidecar.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn network_policies_have_numbers_of_the_backends_ports() {
    let objects = everything().await;
    let container = find(&objects, "StatefulSet", "").pointer("/spec/template/spec/containers/0").unwrap();
    let number = |name: &str| {
        let port = container["ports"].as_array().unwrap().iter().find(|port| port["name"] == name).unwrap();
        json!({"port": port["containerPort"]})
    };
    let rules = &find(&objects, "NetworkPolicy", "")["spec"]["ingress"];
    assert_eq!(rules[0]["ports"], json!([number("grpc"), number("http")]));
    assert_eq!(rules[1]["ports"], json!([number("health")]));
}

/// `networkPolicy.from` names the proxy alone.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_pod_of_helm_test_may_always_reach_the_backend() {
    let objects = everything().await;
    let test = at(find(&objects, "Pod", "-test"), "/metadata/labels");
    let from = &find(&objects, "NetworkPolicy", "")["spec"]["ingress"][0]["from"];
    assert!(selects(at(&from[1], "/podSelector/matchLabels"), test), "{from}");
    let open = rendered(&json!({"networkPolicy": {"enabled": true}})).await;
    assert_eq!(find(&open, "NetworkPolicy", "")["spec"]["ingress"][0].get("from"), None, "from everywhere");
}

/// A single file that is mounted with `subPath` does not follow changes of its Secret.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn secrets_are_mounted_as_directories() {
    let objects = everything().await;
    let mounts = find(&objects, "StatefulSet", "").pointer("/spec/template/spec/containers/0/volumeMounts").unwrap();
    let mounts = mounts.as_array().unwrap();
    assert_eq!(mounts.len(), 5, "the store, the certificate, both token files, and an additional one");
    assert!(mounts.iter().all(|mount| mount.get("subPath").is_none()), "{mounts:?}");
}

/// A claim with `WaitForFirstConsumer` would otherwise stay pending until the first backup, and `helm install --wait` with it. The
/// backend does not wait for it.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_backups_claim_is_mounted_by_a_job_of_its_own_and_not_referenced_by_the_backends_pod() {
    let claim = json!({"name": "backups", "persistentVolumeClaim": {"claimName": "kamaji-telemetry-backend-backup"}});
    let objects = rendered(&json!({"backup": {"enabled": true}})).await;
    assert_eq!(objects.iter().filter(|object| object["kind"] == "Job").count(), 1);
    let job = &find(&objects, "Job", "-volume")["spec"]["template"]["spec"];
    assert_eq!(job["volumes"], json!([claim]));
    assert_eq!(job["containers"][0]["volumeMounts"][0]["name"], "backups");
    let pod = &find(&objects, "StatefulSet", "")["spec"]["template"]["spec"];
    assert!(!pod["volumes"].as_array().unwrap().contains(&claim), "{pod}");

    let names = async |values: Value| {
        let objects = rendered(&values).await;
        let jobs = objects.into_iter().filter(|object| object["kind"] == "Job");
        jobs.map(|job| job["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = names(json!({"backup": {"enabled": true}})).await;
    let other_image = json!({"backup": {"enabled": true}, "image": {"tag": "2.1.0"}});
    assert_ne!(names(other_image).await, first, "the pod of a Job can't be changed");
    let unrelated =
        json!({"backup": {"enabled": true, "schedule": "@daily"}, "resources": {"limits": {"memory": "1Gi"}}});
    assert_eq!(names(unrelated).await, first);
    let existing = json!({"backup": {"enabled": true, "persistence": {"existingClaim": "own"}}});
    assert!(names(existing).await.is_empty(), "a claim of the operator's is not waited for");
    assert!(names(json!({})).await.is_empty());
}
