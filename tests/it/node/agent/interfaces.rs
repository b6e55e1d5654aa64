//! The commands that an operator runs in the pod, and the addresses on which the pods listen.

use std::fs;

use serde_json::json;

use crate::node::figures::write;
use crate::node::scene::{Pod, Scene, Workload};

/// Returns whether a container listens on `port` of every address of IPv6, as the kernel lists it.
fn listens_on_ipv6(scene: &Scene, pod: &Pod, container: &str, port: u16) -> bool {
    let process = scene.processes(&pod.container_id(container))[0];
    let listed = fs::read_to_string(format!("/proc/{process}/net/tcp6")).unwrap();
    listed.contains(&format!(" {:032X}:{port:04X} ", 0))
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn preview_and_status_answer_in_the_pod_and_a_pod_that_listens_on_ipv6_is_reached_over_ipv4() {
    let scene = Scene::new().await;
    scene.install_backend(&json!({"listenAddress": "[::]"})).await;
    scene.install_sender(&json!({"listenAddress": "[::]"})).await;
    scene.tenant(1, 1).await;
    scene.created([1]).await;
    write("warnings", &format!("| Warning events at the start of both charts | {} |\n", scene.warnings().await.len()));
    // Both are ready, by probes over IPv4, which is all that the node's pods have.
    let (agent, backend) = (scene.pod(Workload::Agent).await, scene.pod(Workload::Backend).await);
    for (pod, container, port) in
        [(&agent, "agent", 8080), (&agent, "relay", 13133), (&backend, "backend", 8080), (&backend, "backend", 4318)]
    {
        assert!(listens_on_ipv6(&scene, pod, container, port), "{container} does not listen on [::]:{port}");
        assert!(pod.address().contains('.'), "{}", pod.address());
    }
    scene.assert_enabled(&agent, true).await;

    let preview = scene.agent(&["preview"]).await.unwrap();
    let installation = scene.installation().await;
    for expected in ["kamaji.tcp.running", installation.as_str()] {
        assert!(preview.contains(expected), "{expected}: {preview}");
    }
    assert!(!preview.contains("tenant-1"), "a name: {preview}");
    let status = scene.agent(&["status"]).await.unwrap();
    assert!(status.contains(&installation), "{status}");
}
