//! The life of a release in a real API server, and each object as that server takes it.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use serde_json::{Value, json};

use super::{of, snapshots};
use crate::chart::definitions::with_definitions;
use crate::chart::helm::{BACKEND, Helm, NAMESPACE};
use crate::chart::objects::{self, pod_of};
use crate::servers::{ApiServer, documents};

/// The claim of the store.
const CLAIM: &str = "PersistentVolumeClaim/kamaji-telemetry-backend";

/// The claim of the copies.
const COPIES: &str = "PersistentVolumeClaim/kamaji-telemetry-backend-backup";

/// What an installation with default values consists of, beside the claim.
const DEFAULT: [&str; 3] = [
    "Service/kamaji-telemetry-backend",
    "ServiceAccount/kamaji-telemetry-backend",
    "StatefulSet/kamaji-telemetry-backend",
];

/// What everything that is optional adds, beside the claim of the copies.
const MORE: [&str; 11] = [
    "Certificate/kamaji-telemetry-backend",
    "CronJob/kamaji-telemetry-backend-backup",
    "GRPCRoute/kamaji-telemetry-backend-grpc",
    "HTTPRoute/kamaji-telemetry-backend-http",
    "Ingress/kamaji-telemetry-backend-grpc",
    "Ingress/kamaji-telemetry-backend-http",
    "NetworkPolicy/kamaji-telemetry-backend",
    "NetworkPolicy/kamaji-telemetry-backend-backup",
    "Service/kamaji-telemetry-backend-metrics",
    "ServiceMonitor/kamaji-telemetry-backend",
    "PrometheusRule/kamaji-telemetry-backend",
];

async fn consists_of(cluster: &ApiServer, parts: &[&[&str]], when: &str) {
    objects::consists_of(cluster, &BACKEND, parts, when).await;
}

/// What the store's claim is known by, whatever its name.
async fn claim_uid(cluster: &ApiServer) -> Option<String> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.admin().clone(), NAMESPACE);
    claims.get("kamaji-telemetry-backend").await.unwrap().metadata.uid
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_release_of_the_backend_is_installed_changed_and_removed_and_its_volumes_stay() {
    let cluster = with_definitions().await;
    let helm = of(&cluster);
    let notes = helm.upgrade(&json!({})).await;
    for said in [
        "http://kamaji-telemetry-backend.kamaji-system.svc:24318",
        "TLS: none.",
        "Ingest: OPEN",
        "kubectl exec -n kamaji-system sts/kamaji-telemetry-backend -- kamaji-telemetry backend token create",
        "kubectl port-forward -n kamaji-system svc/kamaji-telemetry-backend 24318",
        "telemetry.endpoint=http://kamaji-telemetry-backend.kamaji-system.svc:24318",
        "No backups are made",
    ] {
        assert!(notes.contains(said), "{said}: {notes}");
    }
    consists_of(&cluster, &[&DEFAULT, &[CLAIM]], "installed").await;
    let uid = claim_uid(&cluster).await;

    // A class of storage is for good.
    let mut everything = snapshots::everything();
    everything["store"]["sqlite"]["persistence"]["storageClass"] = json!("");
    everything["store"]["sqlite"]["persistence"]["size"] = json!("10Gi");
    let notes = helm.upgrade(&everything).await;
    for said in [
        "From outside:    http at telemetry.example.org",
        "From outside:    grpc at grpc.telemetry.example.org",
        "TLS: on both ports, from the Secret kamaji-telemetry-backend-tls.",
        "Ingest: CLOSED to all but senders with a token of the Secret senders.",
        "those of the Secret readers",
        "See it: https://telemetry.example.org",
        "telemetry.endpoint=https://kamaji-telemetry-backend.kamaji-system.svc:24318",
        "telemetry.endpoint=https://telemetry.example.org",
        "each with a token that the Secret has, by relay.tokenSecret.",
    ] {
        assert!(notes.contains(said), "{said}: {notes}");
    }
    assert!(!notes.contains("WARNING") && !notes.contains("No backups"), "{notes}");
    consists_of(&cluster, &[&DEFAULT, &MORE, &[CLAIM, COPIES]], "changed").await;

    helm.upgrade(&json!({})).await;
    consists_of(&cluster, &[&DEFAULT, &[CLAIM, COPIES]], "changed back").await;
    helm.uninstall().await;
    consists_of(&cluster, &[&[CLAIM, COPIES]], "removed").await;
    helm.upgrade(&json!({})).await;
    consists_of(&cluster, &[&DEFAULT, &[CLAIM, COPIES]], "installed again").await;
    assert_eq!(claim_uid(&cluster).await, uid, "it is the same volume");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_volume_that_is_not_to_be_kept_goes_and_one_of_ones_own_is_left_alone() {
    let cluster = ApiServer::start_for_a_chart().await;
    let helm = of(&cluster);
    helm.upgrade(&json!({"store": {"sqlite": {"persistence": {"keep": false}}}})).await;
    consists_of(&cluster, &[&DEFAULT, &[CLAIM]], "installed").await;
    helm.uninstall().await;
    consists_of(&cluster, &[], "removed").await;

    let cluster = ApiServer::start_for_a_chart().await;
    of(&cluster).upgrade(&json!({"store": {"sqlite": {"persistence": {"existingClaim": "own"}}}})).await;
    consists_of(&cluster, &[&DEFAULT], "with a claim of one's own").await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn both_charts_are_installed_side_by_side_and_a_second_backend_is_refused() {
    let cluster = ApiServer::start_for_a_chart().await;
    Helm::of(&cluster).upgrade(&json!({})).await;
    let helm = of(&cluster);
    helm.upgrade(&json!({})).await;
    let second = ["install", "second", &BACKEND.path(), "--namespace", NAMESPACE];
    let said = helm.run(&second).await.unwrap_err();
    assert!(said.contains("cannot be imported into the current release"), "{said}");
    let elsewhere = ["install", "second", &BACKEND.path(), "--namespace", "elsewhere", "--create-namespace"];
    helm.run(&elsewhere).await.unwrap();
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn every_object_of_the_backend_is_valid_and_its_pods_fit_the_restricted_standard() {
    let cluster = with_definitions().await;
    let restricted = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": restricted}});
    cluster.apply_one(&namespace).await;
    let helm = of(&cluster);
    helm.upgrade(&json!({})).await;
    for (name, values) in snapshots::all() {
        // What is there is not changed in what can't be.
        let values = with_the_claim_as_it_is(values);
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
    // The control: what does not fit is refused.
    let rendered = helm.template(&json!({"podSecurityContext": {"runAsNonRoot": false}})).await.unwrap();
    let root = documents(&rendered).iter().find_map(|object| template_of(object).map(pod_of)).unwrap();
    let refusal = cluster.dry_run(&root).await.unwrap_err().to_string();
    assert!(refusal.contains("violates PodSecurity \"restricted:latest\": runAsNonRoot"), "{refusal}");
}

fn with_the_claim_as_it_is(mut values: Value) -> Value {
    let persistence = json!({"store": {"sqlite": {"persistence": {"storageClass": "", "size": "10Gi"}}}});
    crate::chart::merge(&mut values, persistence);
    values
}

/// The template of an object's pods.
fn template_of(object: &Value) -> Option<&Value> {
    match object["kind"].as_str()? {
        "StatefulSet" => Some(&object["spec"]["template"]),
        "CronJob" => Some(&object["spec"]["jobTemplate"]["spec"]["template"]),
        _ => None,
    }
}
