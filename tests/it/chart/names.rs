//! Names that YAML could read as numbers, and keys that could be duplicated.

use serde::Deserialize as _;
use serde_json::{Value, json};
use serde_yaml_ng::{Deserializer, Value as Yaml};

use super::definitions::with_definitions;
use super::helm::{AGENT, BACKEND, Chart, Helm};
use super::{merge, snapshots};
use crate::servers::documents;

/// Values of the agent's chart with valid names that YAML reads as numbers.
fn agent() -> Value {
    let mut values = snapshots::extended();
    merge(
        &mut values,
        json!({
            "imagePullSecrets": [{"name": "12"}],
            // These have the labels that the operator gives them.
            "extraObjects": [],
            "telemetry": {"kamajiNamespace": "5678"},
            "serviceAccount": {"name": "123"},
            "priorityClassName": "12",
            "relay": {
                "caBundle": {"configMap": "", "secret": "23", "key": "1.5"},
                "clientCertificateSecret": "456",
                "tokenSecret": {"name": "789", "key": "10"},
            },
        }),
    );
    values
}

fn own_collector() -> Value {
    json!({
        "relay": {"enabled": false},
        "otlp": {
            "endpoint": "https://collector.test:4317",
            "headersSecret": {"name": "12", "key": "34"},
            "caSecret": {"name": "56", "key": "78"},
            "clientCertificateSecret": "90",
        },
    })
}

fn backend() -> Value {
    let mut values = super::backend::snapshots::everything();
    merge(
        &mut values,
        json!({
            "store": {"sqlite": {"persistence": {"storageClass": "123"}}},
            "auth": {
                "ingestTokensSecret": {"name": "1", "key": "2"},
                "readerTokensSecret": {"name": "3", "key": "4"},
            },
            "backup": {"persistence": {"storageClass": "456"}},
            "ingress": {"http": {"className": "1"}, "grpc": {"className": "2"}},
            "serviceAccount": {"name": "123"},
            "priorityClassName": "78",
        }),
    );
    values
}

fn with_existing_claims() -> Value {
    json!({
        "store": {"sqlite": {"persistence": {"existingClaim": "1"}}},
        "backup": {"enabled": true, "persistence": {"existingClaim": "2"}},
        "tls": {"existingSecret": "31"},
    })
}

/// The API server rejects a number where the schema has a string.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn names_that_look_like_numbers_stay_strings() {
    let cluster = with_definitions().await;
    for namespace in ["1234", "5678"] {
        let metadata = json!({"name": namespace});
        cluster.apply_one(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})).await;
    }
    // The server looks them up for the pod of `helm test`.
    for class in ["12", "78"] {
        let metadata = json!({"name": class});
        let class =
            json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": metadata, "value": 1});
        cluster.apply_one(&class).await;
    }
    let ca_bundle = json!({"relay": {"caBundle": {"configMap": "1", "key": "2"}}});
    let charts: [(&Chart, Value); 5] = [
        (&AGENT, agent()),
        (&AGENT, ca_bundle),
        (&AGENT, own_collector()),
        (&BACKEND, backend()),
        (&BACKEND, with_existing_claims()),
    ];
    for (chart, values) in charts {
        let helm = Helm::offline().with(chart);
        let rendered = helm.template_as("123", "1234", &values).await.unwrap();
        for object in documents(&rendered) {
            let (kind, metadata) = (&object["kind"], &object["metadata"]);
            assert_eq!(metadata["labels"]["app.kubernetes.io/instance"], "123", "{kind}");
            cluster.dry_run(&object).await.unwrap_or_else(|error| panic!("{kind} of {chart:?}: {error}"));
            if kind == "ServiceAccount" {
                // For the same reason.
                cluster.apply_one(&object).await;
            }
        }
    }
}

/// Which of two duplicates takes effect depends on the parser, and `kubectl apply --server-side` rejects both.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn added_labels_and_annotations_duplicate_no_key() {
    let labels = json!({"app.kubernetes.io/name": "other", "team": "monitoring"});
    let annotations = json!({"kubectl.kubernetes.io/default-container": "other", "checksum/relay": "other"});
    let added = json!({
        "serviceMonitor": {"enabled": true, "labels": labels},
        "podLabels": labels,
        "podAnnotations": annotations,
        "extraLabels": labels,
        "extraAnnotations": annotations,
        "serviceAccount": {"annotations": annotations},
    });
    let charts: [(&Chart, Value); 2] =
        [(&AGENT, snapshots::extended()), (&BACKEND, super::backend::snapshots::everything())];
    for (chart, mut values) in charts {
        merge(&mut values, added.clone());
        let rendered = Helm::offline().with(chart).template(&values).await.unwrap();
        for document in Deserializer::from_str(&rendered) {
            Yaml::deserialize(document).unwrap_or_else(|error| panic!("{chart:?}: {error}"));
        }
        let objects = documents(&rendered);
        let monitor = objects.iter().find(|object| object["kind"] == "ServiceMonitor").unwrap();
        assert_eq!(monitor["metadata"]["labels"]["team"], "monitoring");
        assert_eq!(monitor["metadata"]["labels"]["app.kubernetes.io/name"], chart.name);
        if let Some(pod) = objects.iter().find(|object| object["kind"] == "Deployment") {
            let annotations = &pod["spec"]["template"]["metadata"]["annotations"];
            assert_eq!(annotations["kubectl.kubernetes.io/default-container"], "agent");
            assert_ne!(annotations["checksum/relay"], "other");
        }
    }
}
