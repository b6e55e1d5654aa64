//! The default mode of the agent.

use serde_json::json;

use crate::node::scene::{Scene, Workload};
use crate::node::traffic::Traffic;

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn by_default_the_relay_prints_what_it_would_send_and_nothing_leaves_the_pod() {
    let scene = Scene::new().await;
    let traffic = Traffic::watch(&scene).await;
    scene.install_agent(&json!({})).await;
    scene.tenant(1, 1).await;
    let pod = scene.pod(Workload::Agent).await;
    scene
        .until("the relay to print the event and a later gauge", async || {
            let log = scene.logged(&pod, "relay").await;
            let (_, later) = log.split_once("kamaji.tcp.created")?;
            later.contains("kamaji.tcp.running").then_some(())
        })
        .await;
    assert_eq!(traffic.left().await, 0, "packets that left a pod");
    // The counter sees what does leave. The event was acknowledged by the relay, and is never sent again.
    scene.install_backend(&json!({})).await;
    scene.install_sender(&json!({})).await;
    scene.tenant(2, 2).await;
    scene.created([2]).await;
    assert!(traffic.left().await > 0, "it counts");
}
