//! Life cycle of a release of the backend's chart in a real API server, and validation of each object.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use serde_json::{Value, json};

use super::{of, snapshots};
use crate::chart::apply::assert_second_apply_is_a_no_op;
use crate::chart::definitions::with_definitions;
use crate::chart::helm::{BACKEND, Helm, NAMESPACE};
use crate::chart::objects::{self, pod_of};
use crate::servers::{ApiServer, documents};

/// Claim of the store.
const STORE_CLAIM: &str = "PersistentVolumeClaim/kamaji-telemetry-backend";

/// Claim of the backups.
const BACKUP_CLAIM: &str = "PersistentVolumeClaim/kamaji-telemetry-backend-backup";

/// Objects of an installation with default values, without the store's claim.
const DEFAULT: [&str; 3] = [
    "Service/kamaji-telemetry-backend",
    "ServiceAccount/kamaji-telemetry-backend",
    "StatefulSet/kamaji-telemetry-backend",
];

/// Objects that the optional values add, without the claim of the backups.
const MORE: [&str; 13] = [
    "Certificate/kamaji-telemetry-backend",
    "ConfigMap/backend-map",
    "ConfigMap/backend-text",
    "CronJob/kamaji-telemetry-backend-backup",
    "GRPCRoute/kamaji-telemetry-backend-grpc",
    "HTTPRoute/kamaji-telemetry-backend-http",
    "Ingress/kamaji-telemetry-backend-grpc",
    "Ingress/kamaji-telemetry-backend-http",
    "NetworkPolicy/kamaji-telemetry-backend",
    "NetworkPolicy/kamaji-telemetry-backend-jobs",
    "Service/kamaji-telemetry-backend-metrics",
    "ServiceMonitor/kamaji-telemetry-backend",
    "PrometheusRule/kamaji-telemetry-backend",
];

async fn assert_objects(cluster: &ApiServer, parts: &[&[&str]], when: &str) {
    objects::assert_objects(cluster, &BACKEND, parts, when).await;
}

/// Returns the UID of the store's claim, which distinguishes claims of the same name.
async fn claim_uid(cluster: &ApiServer) -> Option<String> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.admin().clone(), NAMESPACE);
    claims.get("kamaji-telemetry-backend").await.unwrap().metadata.uid
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_backend_is_installed_changed_and_uninstalled_and_its_volumes_are_kept() {
    let cluster = with_definitions().await;
    let helm = of(&cluster);
    let notes = helm.upgrade(&json!({})).await;
    for text in [
        "http://kamaji-telemetry-backend.kamaji-system.svc:4318",
        "TLS: none.",
        "Ingest: OPEN",
        "kubectl exec -n kamaji-system sts/kamaji-telemetry-backend -- kamaji-telemetry backend token create",
        "kubectl port-forward -n kamaji-system svc/kamaji-telemetry-backend 4318",
        "telemetry.endpoint=http://kamaji-telemetry-backend.kamaji-system.svc:4318",
        "helm test backend -n kamaji-system",
        "No backups are made",
    ] {
        assert!(notes.contains(text), "{text}: {notes}");
    }
    assert!(!notes.contains("MAINTENANCE"), "{notes}");
    assert_objects(&cluster, &[&DEFAULT, &[STORE_CLAIM]], "installed").await;
    let uid = claim_uid(&cluster).await;

    // The StorageClass of a claim is immutable.
    let mut everything = snapshots::everything();
    everything["store"]["sqlite"]["persistence"]["storageClass"] = json!("");
    everything["store"]["sqlite"]["persistence"]["size"] = json!("10Gi");
    let notes = helm.upgrade(&everything).await;
    for text in [
        "From outside:    http at telemetry.example.org",
        "From outside:    grpc at grpc.telemetry.example.org",
        "TLS: on both ports, from the Secret kamaji-telemetry-backend-tls.",
        "Ingest: CLOSED to all but senders with a token of the Secret senders.",
        "those of the Secret readers",
        "Page: https://telemetry.example.org",
        "telemetry.endpoint=https://kamaji-telemetry-backend.kamaji-system.svc:4318",
        "telemetry.endpoint=https://telemetry.example.org",
        "and one of the Secret's tokens, in relay.tokenSecret.",
    ] {
        assert!(notes.contains(text), "{text}: {notes}");
    }
    assert!(!notes.contains("WARNING") && !notes.contains("No backups"), "{notes}");
    let job = documents(&helm.template(&everything).await.unwrap()).into_iter().find(|object| object["kind"] == "Job");
    let job = format!("Job/{}", job.unwrap()["metadata"]["name"].as_str().unwrap());
    assert_objects(&cluster, &[&DEFAULT, &MORE, &[STORE_CLAIM, BACKUP_CLAIM, &job]], "changed").await;

    helm.upgrade(&json!({})).await;
    assert_objects(&cluster, &[&DEFAULT, &[STORE_CLAIM, BACKUP_CLAIM]], "changed back").await;
    helm.uninstall().await;
    assert_objects(&cluster, &[&[STORE_CLAIM, BACKUP_CLAIM]], "removed").await;
    helm.upgrade(&json!({})).await;
    assert_objects(&cluster, &[&DEFAULT, &[STORE_CLAIM, BACKUP_CLAIM]], "installed again").await;
    assert_eq!(claim_uid(&cluster).await, uid, "the same volume");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_claim_is_deleted_without_keep_on_uninstall_and_an_existing_claim_is_left_alone() {
    let cluster = ApiServer::start_for_a_chart().await;
    let helm = of(&cluster);
    helm.upgrade(&json!({"store": {"sqlite": {"persistence": {"keepOnUninstall": false}}}})).await;
    assert_objects(&cluster, &[&DEFAULT, &[STORE_CLAIM]], "installed").await;
    helm.uninstall().await;
    assert_objects(&cluster, &[], "removed").await;

    let cluster = ApiServer::start_for_a_chart().await;
    of(&cluster).upgrade(&json!({"store": {"sqlite": {"persistence": {"existingClaim": "own"}}}})).await;
    assert_objects(&cluster, &[&DEFAULT], "with an existing claim").await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn both_charts_are_installed_side_by_side_and_a_second_backend_is_rejected() {
    let cluster = ApiServer::start_for_a_chart().await;
    Helm::of(&cluster).upgrade(&json!({})).await;
    let helm = of(&cluster);
    helm.upgrade(&json!({})).await;
    let second = ["install", "second", &BACKEND.path(), "--namespace", NAMESPACE];
    let error = helm.run(&second).await.unwrap_err();
    assert!(error.contains("cannot be imported into the current release"), "{error}");
    let elsewhere = ["install", "second", &BACKEND.path(), "--namespace", "elsewhere", "--create-namespace"];
    helm.run(&elsewhere).await.unwrap();
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn every_object_of_the_backend_is_valid_and_its_pods_satisfy_the_restricted_standard() {
    let cluster = with_definitions().await;
    let restricted = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": restricted}});
    cluster.apply_one(&namespace).await;
    let helm = of(&cluster);
    helm.upgrade(&json!({})).await;
    for (name, values) in snapshots::all() {
        let values = with_the_installed_claim(values);
        for object in documents(&helm.template(&values).await.unwrap()) {
            let kind = &object["kind"];
            cluster.dry_run(&object).await.unwrap_or_else(|error| panic!("{kind} of {name}: {error}"));
            if let Some(template) = template_of(&object) {
                let pod = pod_of(template);
                cluster.dry_run(&pod).await.unwrap_or_else(|error| panic!("the pod of {kind} of {name}: {error}"));
                assert_eq!(pod["spec"]["automountServiceAccountToken"], false, "{kind} of {name}");
            }
        }
    }
    // The counter-check: the server rejects a pod that violates the standard.
    let rendered = helm.template(&json!({"podSecurityContext": {"runAsNonRoot": false}})).await.unwrap();
    let root = documents(&rendered).iter().find_map(|object| template_of(object).map(pod_of)).unwrap();
    let error = cluster.dry_run(&root).await.unwrap_err().to_string();
    assert!(error.contains("violates PodSecurity \"restricted:latest\": runAsNonRoot"), "{error}");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn maintenance_and_a_restore_keep_the_claims_and_are_in_the_notes() {
    let cluster = ApiServer::start_for_a_chart().await;
    let helm = of(&cluster);
    let running = json!({"backup": {"enabled": true}});
    helm.upgrade(&running).await;
    let uid = claim_uid(&cluster).await;

    let objects: [&[&str]; 3] = [&DEFAULT, &[STORE_CLAIM, BACKUP_CLAIM], &["CronJob/kamaji-telemetry-backend-backup"]];
    let notes = helm.upgrade(&json!({"backup": {"enabled": true}, "maintenance": true})).await;
    assert!(notes.contains("MAINTENANCE: no backend runs") && notes.contains("set restore.backup"), "{notes}");
    assert!(!notes.contains("helm test"), "no backend answers: {notes}");
    assert_objects(&cluster, &objects, "in maintenance").await;

    let job = "Job/kamaji-telemetry-backend-restore-20261124t031700z-e68d";
    let restore = json!({"backup": "telemetry-20261124T031700Z.db"});
    let notes = helm.upgrade(&json!({"backup": {"enabled": true}, "maintenance": true, "restore": restore})).await;
    assert!(notes.contains("job/kamaji-telemetry-backend-restore-20261124t031700z-e68d --for=condition"), "{notes}");
    assert_objects(&cluster, &[&objects.concat(), &[job]], "while restoring").await;

    helm.upgrade(&running).await;
    assert_eq!(claim_uid(&cluster).await, uid, "the same volume");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_second_server_side_apply_of_the_backend_changes_nothing() {
    let cluster = with_definitions().await;
    for (name, values) in snapshots::all() {
        assert_second_apply_is_a_no_op(&cluster, &of(&cluster), &format!("apply-{name}"), &values).await;
    }
}

/// Resets the immutable fields of the store's claim to those of the installed release.
fn with_the_installed_claim(mut values: Value) -> Value {
    let persistence = json!({"store": {"sqlite": {"persistence": {"storageClass": "", "size": "10Gi"}}}});
    crate::chart::merge(&mut values, persistence);
    values
}

/// Returns the pod template of an object, if it has one.
fn template_of(object: &Value) -> Option<&Value> {
    match object["kind"].as_str()? {
        "StatefulSet" | "Job" => Some(&object["spec"]["template"]),
        "CronJob" => Some(&object["spec"]["jobTemplate"]["spec"]["template"]),
        _ => None,
    }
}
