//! Installation, and the start and end of the pods.

use std::fmt::Write as _;

use serde_json::json;

use super::figures::write;
use super::scene::{Scene, Workload};

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
    write_start_times(&scene).await;
    let metrics = scene.metrics(&scene.pod(Workload::Backend).await).await;
    assert!(metrics.contains("kamaji_telemetry_backend_records_accepted_total{kind=\"event\"} 3"), "{metrics}");
    let coverage = scene.backend(&["insights", "coverage"]).await.unwrap();
    assert!(coverage.contains("installation"), "{coverage}");
}

/// Writes the time in which the node has started, and that of each chart's pod, to the second as the API server has it.
async fn write_start_times(scene: &Scene) {
    let mut rows = format!("| start of the node, with its images | {:.1} s |\n", scene.node.start_time().as_secs_f64());
    for workload in [Workload::Agent, Workload::Backend] {
        let pod = scene.pod(workload).await;
        writeln!(rows, "| {} from its creation until it is ready | {} s |", workload.name(), pod.start_seconds())
            .unwrap();
    }
    write("start", &rows);
}
