//! Comparison of the agent's chart with what the API server stores of it: tools that apply it again find no difference.

use kube::core::TypeMeta;
use serde_json::{Value, json};

use super::apply::assert_second_apply_is_a_no_op;
use super::definitions::with_definitions;
use super::helm::Helm;
use super::{merge, snapshots};
use crate::servers::documents;

/// Asserts that an object that the server has stored contains what was rendered, as it was rendered.
fn assert_contains(path: &str, stored: &Value, rendered: &Value) {
    match (stored, rendered) {
        (Value::Object(stored), Value::Object(rendered)) => {
            for (key, value) in rendered {
                let path = format!("{path}.{key}");
                assert_contains(
                    &path,
                    stored.get(key).unwrap_or_else(|| panic!("{path} is not stored: {value}")),
                    value,
                );
            }
        }
        (Value::Array(stored), Value::Array(rendered)) => {
            assert_eq!(stored.len(), rendered.len(), "{path}");
            for (stored, rendered) in stored.iter().zip(rendered) {
                assert_contains(path, stored, rendered);
            }
        }
        // Stored as null. Without it, a tool that owns no rule yet would take back none.
        (Value::Null, Value::Array(rules)) if path.ends_with("Role.rules") => assert!(rules.is_empty(), "{path}"),
        _ => assert_eq!(stored, rendered, "{path}"),
    }
}

/// Values that render objects in another form than the snapshots: lists that could become empty, and maps without content.
fn more() -> Vec<(String, Value)> {
    let policy = |policy: Value| json!({"networkPolicy": policy});
    let own = json!({"relay": {"enabled": false}, "otlp": {"endpoint": "http://collector.test:4317"}});
    let mut values = vec![
        json!({"resources": null, "relay": {"resources": null}, "podSecurityContext": null}),
        json!({"resources": {"limits": null}, "nodeSelector": "", "affinity": {}, "tolerations": []}),
        json!({"serviceAccount": {"annotations": {}}, "imagePullSecrets": [], "dnsConfig": {}, "extraVolumes": []}),
        json!({"replicas": 2, "serviceMonitor": {"enabled": true}}),
        json!({"disabled": true, "keepWhenDisabled": true}),
        json!({"disabled": true, "keepWhenDisabled": true, "telemetry": {"kamajiDeployment": "kamaji"}}),
        policy(json!({"enabled": true})),
        policy(json!({"enabled": true, "dnsPorts": []})),
        policy(json!({"enabled": true, "apiServer": {"cidrs": ["10.0.0.0/8"]}, "endpoint": {"ports": []}})),
    ];
    let mut with_policy = own;
    merge(&mut with_policy, policy(json!({"enabled": true, "dnsPorts": []})));
    values.push(with_policy);
    values.into_iter().enumerate().map(|(number, values)| (format!("more-{number}"), values)).collect()
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_second_apply_of_each_rendering_changes_nothing() {
    let cluster = with_definitions().await;
    let helm = Helm::offline();
    let snapshots = snapshots::all().into_iter().filter(|(name, _)| *name != "disabled");
    for (name, values) in snapshots.map(|(name, values)| (name.to_owned(), values)).chain(more()) {
        assert_second_apply_is_a_no_op(&cluster, &helm, &name, &values).await;
        let objects = documents(&helm.template_as("gitops", &name, &values).await.unwrap());
        // Not the pod of `helm test`, to which the server adds tolerations, as to every pod.
        for object in objects.into_iter().filter(|object| object["kind"] != "Pod") {
            let types: TypeMeta = serde_json::from_value(object.clone()).unwrap();
            let metadata = &object["metadata"];
            let stored =
                cluster.api(&types, metadata["namespace"].as_str()).get(metadata["name"].as_str().unwrap()).await;
            assert_contains(&format!("{name}: {}", types.kind), &json!(stored.unwrap()), &object);
        }
    }
}
