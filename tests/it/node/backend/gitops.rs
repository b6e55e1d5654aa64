//! The backend as Argo CD applies it: rendered by Helm, and applied by server-side apply, again and again.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::fleet::Fleet;
use crate::node::scene::{Scene, Workload, backend_values};
use crate::servers::{checkout, documents};

/// The kind and name of an object, and its version.
type Versions = BTreeMap<String, String>;

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn a_rendered_backend_that_listens_on_ipv6_is_applied_twice_and_the_second_changes_nothing() {
    let scene = Scene::new().await;
    scene.volume(&format!("{}-store", scene.namespace), Workload::Backend.name()).await;
    scene.volume(&format!("{}-backup", scene.namespace), "kamaji-telemetry-backend-backup").await;
    let values = json!({
        "listenAddress": "[::]",
        "backup": {"enabled": true},
        "networkPolicy": {"enabled": true, "from": [{"namespaceSelector": {}}]},
    });
    let rendered = render(&scene, &backend_values(&values)).await;
    let file = scene.file("rendered.yaml", &rendered);
    apply(&scene, &file).await;
    scene.ready(Workload::Backend).await;
    let fleet = Fleet::new(&scene);
    fleet.install_agent(&json!({})).await;
    let before = settled(&scene, &rendered).await;
    assert!(before.len() > 6, "{before:?}");
    let applied = apply(&scene, &file).await;
    assert_eq!(settled(&scene, &rendered).await, before, "{applied}");
    fleet.create().await;
    fleet.stored().await;
}

/// Renders the chart as Argo CD does.
async fn render(scene: &Scene, values: &Value) -> String {
    let chart = checkout("charts/kamaji-telemetry-backend").display().to_string();
    let values = scene.values("backend", values);
    let namespace = format!("--namespace={}", scene.namespace);
    scene.helm(&["template", "backend", &chart, &namespace, "--skip-tests", "--values", &values]).await.unwrap()
}

async fn apply(scene: &Scene, file: &str) -> String {
    scene.in_namespace(&["apply", "--server-side", "--filename", file]).await.unwrap()
}

/// Returns the version of each rendered object, once no controller works on any of them.
async fn settled(scene: &Scene, rendered: &str) -> Versions {
    let mut last = versions(scene, rendered).await;
    scene
        .until("the objects to settle", async || {
            let found = versions(scene, rendered).await;
            let is_settled = found == last;
            last.clone_from(&found);
            is_settled.then_some(found)
        })
        .await
}

async fn versions(scene: &Scene, rendered: &str) -> Versions {
    let mut versions = Versions::new();
    for object in documents(rendered).into_iter().filter(|object| !object.is_null()) {
        let name = format!("{}/{}", object["kind"], object["metadata"]["name"]).replace('"', "");
        let found = scene.object(&[&name]).await.unwrap_or_else(|| panic!("{name} is not there"));
        let metadata = &found["metadata"];
        versions.insert(name, format!("{} {}", metadata["generation"], metadata["resourceVersion"]));
    }
    versions
}
