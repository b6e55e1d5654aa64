//! Installation, and the start and end of the pods.

use serde_json::json;

use super::scene::{Component, Scene};

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn an_event_goes_from_a_pod_through_dns_and_the_relay_into_the_store_of_another() {
    let scene = Scene::new().await;
    scene.install_backend(&json!({})).await;
    scene.install_agent(&json!({"telemetry": {"endpoint": scene.endpoint()}})).await;
    scene.tenant(1, 1).await;
    scene.stored(&["created v1.30.1"]).await;
    scene.tenant(1, 2).await;
    scene.delete_tenant(1).await;
    scene.stored(&["created v1.30.1", "v1.30.1 to v1.30.2", "deleted v1.30.2 Unknown"]).await;
    let preview = scene.agent(&["preview"]).await.unwrap();
    assert!(preview.contains("kamaji.tcp.running"), "{preview}");
    let status = scene.agent(&["status"]).await.unwrap();
    assert!(status.contains("Telemetry is on"), "{status}");
    let metrics = scene.metrics(&scene.pod(Component::Backend).await).await;
    assert!(metrics.contains("kamaji_telemetry_backend_records_accepted_total{kind=\"event\"} 3"), "{metrics}");
    let coverage = scene.backend(&["insights", "coverage"]).await.unwrap();
    assert!(coverage.contains("installation"), "{coverage}");
}
