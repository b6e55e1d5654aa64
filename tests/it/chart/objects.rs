//! Objects of a release in a real API server.

use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::core::TypeMeta;
use serde_json::{Value, json};

use super::helm::{Chart, NAMESPACE};
use crate::servers::ApiServer;

/// API versions and kinds of all objects that the charts can create.
const KINDS: [(&str, &str); 21] = [
    ("v1", "ConfigMap"),
    ("v1", "PersistentVolumeClaim"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("batch/v1", "CronJob"),
    ("batch/v1", "Job"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("policy/v1", "PodDisruptionBudget"),
    ("networking.k8s.io/v1", "Ingress"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("cert-manager.io/v1", "Certificate"),
    ("gateway.networking.k8s.io/v1", "GRPCRoute"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
];

/// Returns the objects of the chart's release in all namespaces, except those that are being deleted: a claim is deleted once a
/// controller has seen that no pod uses it. A kind that is unknown to the cluster has no objects.
async fn objects(cluster: &ApiServer, chart: &Chart) -> Vec<String> {
    let of_release = ListParams::default().labels(&format!("app.kubernetes.io/instance={}", chart.release));
    let mut found = Vec::new();
    for (version, kind) in KINDS {
        let types = TypeMeta { api_version: version.to_owned(), kind: kind.to_owned() };
        let api: Api<DynamicObject> = cluster.api(&types, None);
        let listed = match api.list(&of_release).await {
            Err(kube::Error::Api(status)) if status.code == 404 => continue,
            listed => listed.unwrap(),
        };
        let remaining = listed.into_iter().filter(|object| object.metadata.deletion_timestamp.is_none());
        let names = remaining.filter_map(|object| object.metadata.name);
        found.extend(names.map(|name| format!("{kind}/{name}")));
    }
    found
}

/// Asserts that the chart's release consists of exactly these objects.
pub(super) async fn assert_objects(cluster: &ApiServer, chart: &Chart, parts: &[&[&str]], when: &str) {
    let mut found = objects(cluster, chart).await;
    found.sort();
    let mut expected: Vec<_> = parts.concat().iter().map(|&name| name.to_owned()).collect();
    expected.sort();
    assert_eq!(found, expected, "{when}");
}

/// Returns the pod that a controller would create from a pod template.
pub(super) fn pod_of(template: &Value) -> Value {
    let metadata = json!({"name": "pod", "namespace": NAMESPACE, "labels": template["metadata"]["labels"]});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}
