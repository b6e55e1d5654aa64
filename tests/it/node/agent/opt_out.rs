//! Each switch that turns telemetry off: nothing is sent, and the state is deleted.

use serde_json::{Value, json};

use crate::node::scene::{Scene, Workload};
use crate::node::traffic::Traffic;

/// The names of the objects that the agent creates itself.
const STATE: [&str; 4] =
    ["kamaji-telemetry", "kamaji-telemetry-base", "kamaji-telemetry-quarantine", "kamaji-telemetry-base-quarantine"];

impl Scene {
    /// Waits until the agent of this namespace has a state, and returns the installation's UUID in it.
    pub(in crate::node) async fn installation(&self) -> String {
        self.until("the agent to have a state", async || {
            let status = self.agent(&["status", "--output=json"]).await.ok()?;
            let status: Value = serde_json::from_str(&status).unwrap();
            status["installation"].as_str().map(str::to_owned)
        })
        .await
    }

    /// Waits until there is no object of these kinds that the agent creates itself.
    pub(in crate::node) async fn no_state(&self, kinds: &[&str]) {
        self.until("the state to be deleted", async || {
            for kind in kinds {
                let objects = self.object(&[kind]).await?;
                let own = |object: &Value| STATE.iter().any(|name| object["metadata"]["name"] == *name);
                if objects["items"].as_array()?.iter().any(own) {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn each_switch_of_the_chart_removes_the_pods_and_the_garbage_collector_the_state() {
    let on = json!({"replicas": 2});
    let scene = Scene::running(&on).await;
    let switches = [
        json!({"telemetry": {"disabled": true}}),
        json!({"global": {"telemetry": {"disabled": true}}}),
        json!({"disabled": true}),
    ];
    let mut installations = vec![scene.installation().await];
    for (patch, switch) in (2..).step_by(2).zip(switches) {
        scene.install_sender(&switch).await;
        scene.no_agent().await;
        scene.no_state(&["configmaps", "leases"]).await;
        // It is never reported.
        scene.tenant(patch, patch).await;
        scene.install_sender(&on).await;
        let installation = scene.installation().await;
        assert!(!installations.contains(&installation), "{switch}: a UUID of before is used again");
        installations.push(installation);
        scene.tenant(patch + 1, patch + 1).await;
        scene.created([1].into_iter().chain((3..=patch + 1).step_by(2))).await;
    }
}

/// A switch in the pod, or in Kamaji's operator.
struct Switch {
    values: Value,
    operator: &'static [&'static str],
    /// A part of the reason in the agent's status.
    reason: &'static str,
}

impl Switch {
    fn all() -> [Self; 4] {
        let variable = |name: &str| json!({"extraEnv": [{"name": name, "value": "true"}]});
        let of = |values, reason| Self { values, operator: &[], reason };
        [
            of(json!({"extraArgs": ["--disable-telemetry"]}), "--disable-telemetry"),
            of(variable("DO_NOT_TRACK"), "DO_NOT_TRACK"),
            of(variable("OTEL_SDK_DISABLED"), "OTEL_SDK_DISABLED"),
            Self { values: json!({}), operator: &["--disable-telemetry"], reason: "Kamaji" },
        ]
    }
}

/// The relay's address, and the state of a connection that was closed in the last minute, as the kernel lists them.
const RELAY: &str = "0100007F:10DD";
const CLOSED: &str = "06";

/// Asserts that the agent is off: it answers its probes, sends nothing, and has no connection to the relay. One that was switched
/// off at its start has had none either.
async fn assert_off(scene: &Scene, switch: &Switch) {
    let (reason, from_its_start) = (switch.reason, switch.operator.is_empty());
    let pod = scene.pod(Workload::Agent).await;
    scene.assert_enabled(&pod, false).await;
    let status: Value = serde_json::from_str(&scene.agent(&["status", "--output=json"]).await.unwrap()).unwrap();
    assert_eq!(status["enabled"], false, "{status}");
    assert!(status["reason"].as_str().unwrap().contains(reason), "{status}");
    assert_eq!(status["installation"], Value::Null, "{status}");
    let traffic = Traffic::watch(scene).await;
    traffic.count_probes(&pod).await;
    // The kubelet has two probes of the agent, so two of three answers are to one of them. Its period is two seconds or more, and
    // the interval of the exports is one.
    scene.until("three probes", async || (traffic.probed().await >= 3).then_some(())).await;
    assert_eq!(traffic.left().await, 0, "{reason}: packets that left a pod");
    let process = scene.processes(&pod.container_id("agent"))[0];
    let connections = std::fs::read_to_string(format!("/proc/{process}/net/tcp")).unwrap();
    let is_to_relay = |line: &str| {
        let mut fields = line.split_whitespace().skip(2);
        fields.next() == Some(RELAY) && (from_its_start || fields.next() != Some(CLOSED))
    };
    assert!(!connections.lines().any(is_to_relay), "{reason}: {connections}");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn each_switch_in_the_pod_deletes_the_state_and_sends_nothing() {
    let poll = json!({"name": "KAMAJI_TELEMETRY_OPERATOR_POLL_INTERVAL", "value": "1s"});
    let on = json!({"extraEnv": [poll]});
    let scene = Scene::running(&on).await;
    let mut installations = vec![scene.installation().await];
    for (patch, switch) in (2..).step_by(2).zip(Switch::all()) {
        if switch.operator.is_empty() {
            scene.install_sender(&switch.values).await;
        } else {
            scene.operator(switch.operator).await;
        }
        scene.no_state(&["configmaps"]).await;
        scene.tenant(patch, patch).await;
        assert_off(&scene, &switch).await;
        if switch.operator.is_empty() {
            scene.install_sender(&on).await;
        } else {
            scene.operator(&[]).await;
        }
        let installation = scene.installation().await;
        assert!(!installations.contains(&installation), "{}: a UUID of before is used again", switch.reason);
        installations.push(installation);
        scene.tenant(patch + 1, patch + 1).await;
        scene.created([1].into_iter().chain((3..=patch + 1).step_by(2))).await;
    }
}
