//! The life of a release in a real API server, and each object as that server takes it.

use serde_json::{Value, json};

use super::helm::{AGENT, Helm, NAMESPACE};
use super::objects::{self, pod_of};
use super::pod::deployment;
use super::snapshots;
use crate::servers::{ApiServer, definition, documents};

/// What an installation with default values consists of.
const DEFAULT: [&str; 9] = [
    "ConfigMap/kamaji-telemetry-relay",
    "ServiceAccount/kamaji-telemetry",
    "Deployment/kamaji-telemetry",
    "ClusterRole/kamaji-telemetry",
    "ClusterRoleBinding/kamaji-telemetry",
    "Role/kamaji-telemetry",
    "Role/kamaji-telemetry-kamaji",
    "RoleBinding/kamaji-telemetry",
    "RoleBinding/kamaji-telemetry-kamaji",
];

/// What several replicas and everything that is optional add.
const MORE: [&str; 4] = [
    "Service/kamaji-telemetry",
    "PodDisruptionBudget/kamaji-telemetry",
    "NetworkPolicy/kamaji-telemetry",
    "ServiceMonitor/kamaji-telemetry",
];

/// Holds what there is of the release against what it should consist of.
pub(super) async fn consists_of(cluster: &ApiServer, parts: &[&[&str]], when: &str) {
    objects::consists_of(cluster, &AGENT, parts, when).await;
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
    assert!(notes.contains("kubectl logs -n kamaji-system deploy/kamaji-telemetry -c relay"), "{notes}");
    let off = "helm upgrade telemetry CHART -n kamaji-system --reset-then-reuse-values --set telemetry.disabled=true";
    assert!(notes.contains(off), "{notes}");
    consists_of(&cluster, &[&DEFAULT], "installed").await;

    let notes = helm.upgrade(&snapshots::extended()).await;
    assert!(notes.contains("Telemetry is ON and goes to https://telemetry.example.org through the proxy"), "{notes}");
    consists_of(&cluster, &[&DEFAULT, &MORE], "changed").await;
    let rolling = deployment(&cluster).await.unwrap().spec;
    assert_eq!((rolling.replicas, rolling.strategy.unwrap().type_.as_deref()), (Some(2), Some("RollingUpdate")));

    let notes = helm.upgrade(&json!({"telemetry": {"disabled": true}})).await;
    assert!(notes.contains("Telemetry is OFF, by telemetry.disabled=true"), "{notes}");
    consists_of(&cluster, &[], "switched off").await;
    assert_eq!(helm.run(&["get", "manifest", AGENT.release, "--namespace", NAMESPACE]).await.unwrap().trim(), "");

    helm.upgrade(&json!({"replicas": 2})).await;
    // The server has filled in what belongs to the other strategy.
    let notes = helm.upgrade(&local).await;
    assert!(notes.contains("Telemetry is LOCAL"), "{notes}");
    consists_of(&cluster, &[&DEFAULT], "switched on").await;
    assert_eq!(deployment(&cluster).await.unwrap().spec.strategy.unwrap().type_.as_deref(), Some("Recreate"));

    let notes = helm.upgrade(&json!({"global": {"telemetry": {"disabled": true}}})).await;
    assert!(notes.contains("Telemetry is OFF, by global.telemetry.disabled=true"), "{notes}");
    consists_of(&cluster, &[], "switched off for a whole installation").await;

    helm.upgrade(&local).await;
    helm.uninstall().await;
    consists_of(&cluster, &[], "removed").await;
}

/// As `kubectl apply` and `kubectl delete` do it: every object by itself, where its own metadata say, in a namespace that is
/// there.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn what_helm_renders_is_applied_changed_and_removed_without_helm() {
    let cluster = ApiServer::start_for_a_chart().await;
    cluster.apply(&definition("monitoring.coreos.com_servicemonitors")).await;
    let helm = Helm::offline();
    let rendered = async |values: Value| helm.template(&values).await.unwrap();
    let (local, everything) = (rendered(json!({})).await, rendered(snapshots::extended()).await);
    cluster.apply(&local).await;
    consists_of(&cluster, &[&DEFAULT], "applied").await;

    cluster.apply(&everything).await;
    consists_of(&cluster, &[&DEFAULT, &MORE], "changed").await;

    cluster.apply(&local).await;
    let back = deployment(&cluster).await.unwrap().spec;
    assert_eq!((back.replicas, back.strategy.unwrap().type_.as_deref()), (Some(1), Some("Recreate")));
    let arguments = back.template.spec.unwrap().containers.remove(0).args;
    assert_eq!(arguments, Some(vec!["agent".to_owned()]), "what is no longer rendered of an object is gone");
    consists_of(&cluster, &[&DEFAULT, &MORE], "an object that is no longer rendered stays").await;

    // A variable that is there twice could not be applied.
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
    consists_of(&cluster, &[], "removed").await;
}

/// What docs/operations.md says of it: `kubectl` knows nothing of what other values had rendered.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn without_helm_what_other_values_rendered_goes_with_the_old_values() {
    let cluster = ApiServer::start_for_a_chart().await;
    let elsewhere = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "elsewhere"}});
    cluster.apply_one(&elsewhere).await;
    let helm = Helm::offline();
    let before = helm.template(&json!({"telemetry": {"kamajiNamespace": "elsewhere"}})).await.unwrap();
    let own = json!({"relay": {"enabled": false}, "otlp": {"endpoint": "http://collector.test:4317"}});
    let now = helm.template(&own).await.unwrap();
    cluster.apply(&before).await;
    cluster.apply(&now).await;
    for object in documents(&now) {
        cluster.remove(&object).await;
    }
    let rest =
        ["ConfigMap/kamaji-telemetry-relay", "Role/kamaji-telemetry-kamaji", "RoleBinding/kamaji-telemetry-kamaji"];
    consists_of(&cluster, &[&rest], "the new values don't render them").await;
    let is_left = |object: &Value| object["kind"] == "ConfigMap" || object["metadata"]["namespace"] == "elsewhere";
    for object in documents(&before).iter().filter(|object| is_left(object)) {
        cluster.remove(object).await;
    }
    consists_of(&cluster, &[], "the old values do").await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_second_installation_is_refused_rather_than_counted_twice() {
    let cluster = ApiServer::start_for_a_chart().await;
    let helm = Helm::of(&cluster);
    helm.upgrade(&json!({})).await;
    for namespace in [NAMESPACE, "default"] {
        let second = ["install", "second", &AGENT.path(), "--namespace", namespace];
        let said = helm.run(&second).await.unwrap_err();
        assert!(said.contains("cannot be imported into the current release"), "{said}");
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn every_object_is_valid_and_the_pod_fits_the_restricted_standard() {
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
    // The control: what does not fit is refused.
    let rendered = helm.template(&json!({"podSecurityContext": {"runAsNonRoot": false}})).await.unwrap();
    let root = documents(&rendered)
        .iter()
        .find(|object| object["kind"] == "Deployment")
        .map(|object| pod_of(&object["spec"]["template"]))
        .unwrap();
    let refusal = cluster.dry_run(&root).await.unwrap_err().to_string();
    assert!(refusal.contains("violates PodSecurity \"restricted:latest\": runAsNonRoot"), "{refusal}");
}
