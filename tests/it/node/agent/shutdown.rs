//! The order in which the containers of a pod start and end.

use serde_json::json;

use crate::node::scene::{Pod, Scene, Workload};
use crate::node::traffic::Traffic;

/// Keeps the pod's object, with the last states of its containers, after the kubelet has ended the pod.
const FINALIZER: &str = "kamaji-telemetry.test/keep";

impl Scene {
    /// Keeps the object of a pod after its end, or no longer.
    async fn keep_pod(&self, pod: &Pod, is_kept: bool) {
        let finalizers: &[&str] = if is_kept { &[FINALIZER] } else { &[] };
        let patch = json!({"metadata": {"finalizers": finalizers}}).to_string();
        self.in_namespace(&["patch", "pod", pod.name(), "--type=merge", "--patch", &patch]).await.unwrap();
    }
}

/// Returns the time of a state of a container, to the second.
fn time<'a>(pod: &'a Pod, container: &str, state: &str, field: &str) -> Option<&'a str> {
    pod.container(container)["state"][state][field].as_str()
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn the_relay_starts_before_the_agent_and_ends_after_it() {
    let scene = Scene::running(&json!({})).await;
    let pod = scene.pod(Workload::Agent).await;
    let [relay, agent] = ["relay", "agent"].map(|name| time(&pod, name, "running", "startedAt").unwrap());
    assert!(relay <= agent, "the relay started at {relay}, the agent at {agent}");
    let log = scene.logged(&pod, "agent").await;
    assert!(!log.contains("failed to export"), "the first export finds the relay: {log}");

    // With an event that nobody takes, the agent tries to its last second, 5 s after the signal.
    let traffic = Traffic::watch(&scene).await;
    traffic.refuse().await;
    scene.tenant(2, 2).await;
    let failed = r#"kamaji_telemetry_agent_exports_total{signal="logs",result="unavailable"}"#;
    scene.until("an export to fail", async || scene.metric(&pod, failed).await).await;
    scene.keep_pod(&pod, true).await;
    scene.in_namespace(&["scale", "deployment", Workload::Agent.name(), "--replicas=0"]).await.unwrap();
    let ended = scene
        .until("both containers to end", async || {
            let pod = scene.named(pod.name()).await;
            let ended = |name| time(&pod, name, "terminated", "finishedAt").is_some();
            (ended("agent") && ended("relay")).then_some(pod)
        })
        .await;
    let [agent, relay] = ["agent", "relay"].map(|name| time(&ended, name, "terminated", "finishedAt").unwrap());
    assert!(agent <= relay, "the agent ended at {agent}, the relay at {relay}");
    for name in ["agent", "relay"] {
        assert_eq!(ended.container(name)["state"]["terminated"]["exitCode"], 0, "{name}: {:#}", ended.0["status"]);
    }
    scene.keep_pod(&pod, false).await;
    scene.no_agent().await;
    traffic.restore().await;
    scene.in_namespace(&["scale", "deployment", Workload::Agent.name(), "--replicas=1"]).await.unwrap();
    scene.created([1, 2]).await;
}
