//! `helm test` of both charts, which finds what works and what does not.

use serde_json::json;

use super::fleet::Fleet;
use crate::node::scene::{Scene, Workload};

/// Runs the tests of a release.
async fn test(scene: &Scene, release: &str) -> Result<String, String> {
    let namespace = format!("--namespace={}", scene.namespace);
    scene.helm(&["test", release, &namespace, "--logs", "--timeout=3m"]).await
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn the_tests_of_both_releases_pass_and_find_a_backend_and_permissions_that_are_gone() {
    let scene = Scene::new().await;
    Fleet::with(&scene, &json!({}), &json!({})).await;
    let warnings = scene.warnings().await;
    assert!(warnings.is_empty(), "a start is no reason for a warning: {warnings:#?}");
    for release in ["backend", "telemetry"] {
        let passed = test(&scene, release).await;
        assert!(passed.as_ref().is_ok_and(|output| output.contains("Succeeded")), "{release}: {passed:?}");
    }
    let scale = ["scale", "statefulset/kamaji-telemetry-backend", "--replicas=0"];
    scene.in_namespace(&scale).await.unwrap();
    scene.until("no pod", async || scene.pods(Workload::Backend).await.is_empty().then_some(())).await;
    let failed = test(&scene, "backend").await.unwrap_err();
    assert!(failed.contains("failed"), "{failed}");
    let bindings = ["delete", "clusterrolebinding", "--selector=app.kubernetes.io/instance=telemetry"];
    scene.kubectl(&bindings).await.unwrap();
    let failed = test(&scene, "telemetry").await.unwrap_err();
    assert!(failed.contains("failed"), "{failed}");
}
