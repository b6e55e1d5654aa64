//! Test of the pod that `helm test` runs with the agent's chart.

use serde_json::{Value, json};

use super::artifact_hub::containers;
use super::helm::{Helm, NAMESPACE};
use super::pod::{NAME, Pod, deployment, journal};
use super::snapshots;
use crate::servers::{ApiServer, documents, tcp};

/// The agent's variables for serving, electing and sending, none of which a preview does.
const RUNNING: [&str; 10] = [
    "KAMAJI_TELEMETRY_HEADERS_FILE",
    "KAMAJI_TELEMETRY_HEALTH_ADDR",
    "KAMAJI_TELEMETRY_LEADER_ELECT",
    "KAMAJI_TELEMETRY_LEASE_DURATION",
    "KAMAJI_TELEMETRY_OWNER_DEPLOYMENT",
    "KAMAJI_TELEMETRY_RELAY_CA_FILE",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    "POD_NAME",
];

/// Returns the pods of the rendering.
async fn pods(values: &Value) -> Vec<Value> {
    let objects = documents(&Helm::offline().template(values).await.unwrap());
    objects.into_iter().filter(|object| object["kind"] == "Pod").collect()
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_test_previews_with_the_agents_image_account_and_settings_and_no_selector_finds_it() {
    for (name, values) in snapshots::all() {
        let pods = pods(&values).await;
        if name == "disabled" || name == "kept" {
            assert_eq!(pods.len(), 0, "{name}");
            continue;
        }
        let [pod] = &pods[..] else { panic!("{name}: one pod: {pods:?}") };
        assert_eq!(pod["metadata"]["annotations"]["helm.sh/hook"], "test");
        assert_ne!(pod["metadata"]["labels"]["app.kubernetes.io/name"], NAME);
        let objects = documents(&Helm::offline().template(&values).await.unwrap());
        let agent = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
        let template = &agent["spec"]["template"]["spec"];
        assert_eq!(pod["spec"]["serviceAccountName"], template["serviceAccountName"]);
        let agent = containers(agent).find(|container| container["name"] == "agent").unwrap();
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["image"], agent["image"]);
        let mut arguments = vec![json!("preview")];
        arguments.extend(agent["args"].as_array().unwrap()[1..].iter().cloned());
        assert_eq!(container["args"], json!(arguments), "the settings of the agent itself");
        let [agents, tests] = [agent, container].map(|container| container["env"].as_array().unwrap());
        for variable in tests {
            assert!(agents.contains(variable), "{name}: the agent has no {variable}");
        }
        for variable in agents {
            let is_running = RUNNING.contains(&variable["name"].as_str().unwrap());
            assert_ne!(tests.contains(variable), is_running, "{name}: {variable}");
        }
    }
}

/// Runs what the pod of `helm test` would run, which is a pod of Kubernetes and valid under "restricted".
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_test_is_admitted_as_restricted_and_writes_nothing() {
    let cluster = ApiServer::start_for_a_chart().await;
    let restricted = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let metadata = json!({"name": NAMESPACE, "labels": restricted});
    cluster.apply_one(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})).await;
    cluster.create(tcp("a").status("Ready")).await;
    Helm::of(&cluster).upgrade(&json!({})).await;
    for (name, values) in snapshots::all() {
        for pod in pods(&values).await {
            cluster.dry_run(&pod).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    assert!(deployment(&cluster).await.is_some());
    let pod = &pods(&json!({})).await[0];
    let output = Pod::run_alone(&cluster, pod).await;
    assert!(output.contains("kamaji.tcp.running"), "{output}");
    assert_eq!(journal(&cluster).await, None, "a preview writes nothing");
    let requests = cluster.requests_of_account(NAMESPACE, NAME);
    let writes = ["create", "update", "patch", "delete"];
    assert!(!requests.is_empty() && !requests.iter().any(|it| writes.contains(&&*it.verb)), "{requests:?}");
}
