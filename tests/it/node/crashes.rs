//! Killed containers, pods and nodes: nothing is lost, and nothing is repeated.

use serde_json::json;

use super::scene::{Scene, Workload};

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn a_killed_container_is_started_again_and_loses_no_event() {
    let scene = Scene::running(&json!({})).await;
    let mut expected = vec!["created v1.30.1".to_owned()];
    let containers = [(Workload::Agent, "agent"), (Workload::Agent, "relay"), (Workload::Backend, "backend")];
    for (patch, (workload, container)) in (2..).zip(containers) {
        let pod = scene.pod(workload).await;
        scene.tenant(patch, patch).await;
        scene.kill_container(&pod, container);
        scene.tenant(10 + patch, 10 + patch).await;
        expected.extend([format!("created v1.30.{patch}"), format!("created v1.30.{}", 10 + patch)]);
        scene.stored(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
        scene.started_again(workload, &pod, &[container]).await;
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn a_killed_node_comes_back_and_loses_no_event() {
    let mut scene = Scene::running(&json!({})).await;
    scene.tenant(2, 2).await;
    scene.node.crash().await;
    scene.tenant(3, 3).await;
    scene.stored(&["created v1.30.1", "created v1.30.2", "created v1.30.3"]).await;
}
