//! Life cycle of a release of the agent's chart in a real API server, and validation of each object.

use serde_json::{Value, json};

use super::helm::{AGENT, Helm, NAMESPACE};
use super::objects::{self, pod_of};
use super::pod::deployment;
use super::snapshots;
use crate::servers::{ApiServer, definition, documents};

/// Objects of an installation with default values.
const DEFAULT: [&str; 9] = [
    "ConfigMap/kamaji-telemetry-agent-relay",
    "ServiceAccount/kamaji-telemetry-agent",
    "Deployment/kamaji-telemetry-agent",
    "ClusterRole/kamaji-telemetry-agent",
    "ClusterRoleBinding/kamaji-telemetry-agent",
    "Role/kamaji-telemetry-agent",
    "Role/kamaji-telemetry-agent-kamaji",
    "RoleBinding/kamaji-telemetry-agent",
    "RoleBinding/kamaji-telemetry-agent-kamaji",
];

/// Objects that several replicas and the optional values add.
const MORE: [&str; 4] = [
    "Service/kamaji-telemetry-agent",
    "PodDisruptionBudget/kamaji-telemetry-agent",
    "NetworkPolicy/kamaji-telemetry-agent",
    "ServiceMonitor/kamaji-telemetry-agent",
];

/// Asserts that the release consists of exactly these objects. A pod of `helm test` is no part of it.
pub(super) async fn assert_objects(cluster: &ApiServer, parts: &[&[&str]], when: &str) {
    objects::assert_objects(cluster, &AGENT, parts, when).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_release_is_installed_changed_switched_off_and_on_and_removed() {
    let cluster = ApiServer::start_for_a_chart().await;
    cluster.apply(&definition("monitoring.coreos.com_servicemonitors")).await;
    let helm = Helm::of(&cluster);
    let local = json!({});
    let notes = helm.upgrade(&local).await;
    assert!(notes.contains("Telemetry is LOCAL") && notes.contains("nothing leaves this cluster"), "{notes}");
    assert!(notes.contains("kubectl logs -n kamaji-system deploy/kamaji-telemetry-agent -c relay"), "{notes}");
    let opt_out =
        "helm upgrade telemetry CHART -n kamaji-system --reset-then-reuse-values --set telemetry.disabled=true";
    assert!(notes.contains(opt_out), "{notes}");
    assert_objects(&cluster, &[&DEFAULT], "installed").await;

    let notes = helm.upgrade(&snapshots::extended()).await;
    assert!(notes.contains("Telemetry is ON and goes to https://telemetry.example.org through the proxy"), "{notes}");
    assert_objects(&cluster, &[&DEFAULT, &MORE], "changed").await;
    let rolling = deployment(&cluster).await.unwrap().spec;
    assert_eq!((rolling.replicas, rolling.strategy.unwrap().type_.as_deref()), (Some(2), Some("RollingUpdate")));

    let notes = helm.upgrade(&json!({"telemetry": {"disabled": true}})).await;
    assert!(notes.contains("Telemetry is OFF, by telemetry.disabled=true"), "{notes}");
    assert_objects(&cluster, &[], "switched off").await;
    assert_eq!(helm.run(&["get", "manifest", AGENT.release, "--namespace", NAMESPACE]).await.unwrap().trim(), "");

    helm.upgrade(&json!({"replicas": 2})).await;
    // The server has set defaults of the strategy RollingUpdate.
    let notes = helm.upgrade(&local).await;
    assert!(notes.contains("Telemetry is LOCAL"), "{notes}");
    assert_objects(&cluster, &[&DEFAULT], "switched on").await;
    assert_eq!(deployment(&cluster).await.unwrap().spec.strategy.unwrap().type_.as_deref(), Some("Recreate"));

    let notes = helm.upgrade(&json!({"global": {"telemetry": {"disabled": true}}})).await;
    assert!(notes.contains("Telemetry is OFF, by global.telemetry.disabled=true"), "{notes}");
    assert_objects(&cluster, &[], "switched off by the global value").await;

    helm.upgrade(&local).await;
    helm.uninstall().await;
    assert_objects(&cluster, &[], "removed").await;
}

/// `kubectl apply` and `kubectl delete` treat every object separately, and need its namespace to exist.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_rendered_objects_are_applied_changed_and_removed_with_kubectl() {
    let cluster = ApiServer::start_for_a_chart().await;
    cluster.apply(&definition("monitoring.coreos.com_servicemonitors")).await;
    let helm = Helm::offline();
    let rendered = async |values: Value| helm.manifests(&values).await;
    let (local, everything) = (rendered(json!({})).await, rendered(snapshots::extended()).await);
    cluster.apply(&local).await;
    assert_objects(&cluster, &[&DEFAULT], "applied").await;

    cluster.apply(&everything).await;
    assert_objects(&cluster, &[&DEFAULT, &MORE], "changed").await;

    cluster.apply(&local).await;
    let spec = deployment(&cluster).await.unwrap().spec;
    assert_eq!((spec.replicas, spec.strategy.unwrap().type_.as_deref()), (Some(1), Some("Recreate")));
    let arguments = spec.template.spec.unwrap().containers.remove(0).args;
    assert_eq!(arguments, Some(vec!["agent".to_owned()]), "a field that is no longer rendered is removed");
    assert_objects(&cluster, &[&DEFAULT, &MORE], "an object that is no longer rendered remains").await;

    // The chart must omit its own variables of these names: a duplicate could not be applied.
    let limits = json!([{"name": "RELAY_MEMORY_LIMIT_MIB", "value": "32"}, {"name": "GOMEMLIMIT", "value": "64MiB"}]);
    cluster.apply(&rendered(json!({"relay": {"extraEnv": limits}})).await).await;
    let relay = deployment(&cluster).await.unwrap().spec.template.spec.unwrap().init_containers.unwrap().remove(0);
    let variables = json!(relay.env.unwrap());
    assert!(
        limits.as_array().unwrap().iter().all(|limit| variables.as_array().unwrap().contains(limit)),
        "{variables}"
    );

    for object in documents(&everything) {
        cluster.remove(&object).await;
    }
    assert_objects(&cluster, &[], "removed").await;
}

/// `kubectl` does not know the objects that earlier values have rendered, as the documentation says.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn with_kubectl_objects_of_earlier_values_are_removed_with_those_values() {
    let cluster = ApiServer::start_for_a_chart().await;
    let elsewhere = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "elsewhere"}});
    cluster.apply_one(&elsewhere).await;
    let helm = Helm::offline();
    let before = helm.manifests(&json!({"telemetry": {"kamajiNamespace": "elsewhere"}})).await;
    let own = json!({"relay": {"enabled": false}, "otlp": {"endpoint": "http://collector.test:4317"}});
    let after = helm.manifests(&own).await;
    cluster.apply(&before).await;
    cluster.apply(&after).await;
    for object in documents(&after) {
        cluster.remove(&object).await;
    }
    let remaining = [
        "ConfigMap/kamaji-telemetry-agent-relay",
        "Role/kamaji-telemetry-agent-kamaji",
        "RoleBinding/kamaji-telemetry-agent-kamaji",
    ];
    assert_objects(&cluster, &[&remaining], "the new values do not render these").await;
    let is_remaining = |object: &Value| object["kind"] == "ConfigMap" || object["metadata"]["namespace"] == "elsewhere";
    for object in documents(&before).iter().filter(|object| is_remaining(object)) {
        cluster.remove(object).await;
    }
    assert_objects(&cluster, &[], "the old values render these").await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_second_installation_is_rejected_instead_of_counting_twice() {
    let cluster = ApiServer::start_for_a_chart().await;
    let helm = Helm::of(&cluster);
    helm.upgrade(&json!({})).await;
    for namespace in [NAMESPACE, "default"] {
        let second = ["install", "second", &AGENT.path(), "--namespace", namespace];
        let error = helm.run(&second).await.unwrap_err();
        assert!(error.contains("cannot be imported into the current release"), "{error}");
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn every_object_is_valid_and_the_pod_satisfies_the_restricted_standard() {
    let cluster = ApiServer::start_for_a_chart().await;
    cluster.apply(&definition("monitoring.coreos.com_servicemonitors")).await;
    let restricted = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": restricted}});
    cluster.apply_one(&namespace).await;
    let helm = Helm::of(&cluster);
    helm.upgrade(&json!({})).await;
    for (name, values) in snapshots::all() {
        for object in documents(&helm.template(&values).await.unwrap()) {
            let kind = &object["kind"];
            cluster.dry_run(&object).await.unwrap_or_else(|error| panic!("{kind} of {name}: {error}"));
            if kind == "Deployment" {
                let pod = pod_of(&object["spec"]["template"]);
                cluster.dry_run(&pod).await.unwrap_or_else(|error| panic!("the pod of {name}: {error}"));
            }
        }
    }
    // The counter-check: the server rejects a pod that violates the standard.
    let rendered = helm.template(&json!({"podSecurityContext": {"runAsNonRoot": false}})).await.unwrap();
    let root = documents(&rendered)
        .iter()
        .find(|object| object["kind"] == "Deployment")
        .map(|object| pod_of(&object["spec"]["template"]))
        .unwrap();
    let error = cluster.dry_run(&root).await.unwrap_err().to_string();
    assert!(error.contains("violates PodSecurity \"restricted:latest\": runAsNonRoot"), "{error}");
}
