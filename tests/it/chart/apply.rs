//! Server-side apply of rendered objects, as Argo CD, Flux and `kubectl apply --server-side` do it.

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::TypeMeta;
use serde_json::Value;

use super::Helm;
use crate::servers::{ApiServer, documents};

/// Applies an object, and returns what the server holds then.
async fn apply(cluster: &ApiServer, object: &Value) -> DynamicObject {
    let types: TypeMeta = serde_json::from_value(object.clone()).unwrap();
    let (name, namespace) = (object["metadata"]["name"].as_str().unwrap(), object["metadata"]["namespace"].as_str());
    let params = PatchParams::apply("gitops").force().validation_strict();
    let applied = cluster.api(&types, namespace).patch(name, &params, &Patch::Apply(object)).await;
    applied.unwrap_or_else(|error| panic!("{} {name}: {error}", types.kind))
}

/// Asserts that the second of two applies of the same rendering changes nothing. A field that the server drops, such as an empty
/// list, would be a change at each apply. The release is in a namespace of its own, named `namespace`, where nothing was applied
/// before.
pub(super) async fn assert_second_apply_is_a_no_op(cluster: &ApiServer, helm: &Helm, namespace: &str, values: &Value) {
    let metadata = serde_json::json!({"name": namespace});
    cluster.apply_one(&serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})).await;
    let objects = documents(&helm.template_as("gitops", namespace, values).await.unwrap());
    assert!(!objects.is_empty(), "{namespace}");
    let mut first = Vec::new();
    for object in &objects {
        let created = apply(cluster, object).await;
        // The API server writes a claim that it has just created once more, whatever is in it.
        let is_claim = object["kind"] == "PersistentVolumeClaim";
        first.push(if is_claim { apply(cluster, object).await } else { created });
    }
    for (object, first) in objects.iter().zip(first) {
        let second = apply(cluster, object).await;
        assert_eq!(second, first, "{} {} in {namespace}", object["kind"], object["metadata"]["name"]);
    }
}
