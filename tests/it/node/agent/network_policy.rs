//! The network policies of both charts, as a network plugin enforces them.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::json;

use crate::node::machine::enter_network;
use crate::node::scene::{Pod, Scene, Workload};

/// The timeout of a connection. Those that a policy forbids are refused at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

impl Scene {
    /// Installs the backend's chart with its network policy, which lets pods with this name in.
    async fn install_backend_for(&self, name: &str) {
        let selector = json!({"matchLabels": {"app.kubernetes.io/name": name}});
        let policy = json!({"enabled": true, "from": [{"podSelector": selector}]});
        self.install_backend(&json!({"networkPolicy": policy})).await;
    }

    /// Waits until a connection from one pod to a port of another is accepted, or is not.
    async fn until_connects(&self, from: &Pod, to: &Pod, port: u16, is_accepted: bool) {
        let verb = if is_accepted { "reach" } else { "not reach" };
        self.until(&format!("{} to {verb} port {port} of {}", from.name(), to.name()), async || {
            let process = *self.processes(&from.container_id("agent")).first()?;
            (connects(process, to, port) == is_accepted).then_some(())
        })
        .await;
    }
}

/// Returns whether a connection from the network of a process is accepted.
fn connects(process: u32, to: &Pod, port: u16) -> bool {
    let address = SocketAddr::from((to.address().parse::<IpAddr>().unwrap(), port));
    let connect = move || {
        enter_network(process);
        TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).is_ok()
    };
    std::thread::spawn(connect).join().unwrap()
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn with_both_network_policies_events_pass_and_nothing_that_they_do_not_name_does() {
    let mut scene = Scene::new().await;
    scene.node.enforce_network_policies();
    scene.install_backend_for(Workload::Agent.name()).await;
    scene.install_sender(&json!({"networkPolicy": {"enabled": true}})).await;
    let (agent, backend) = (scene.pod(Workload::Agent).await, scene.pod(Workload::Backend).await);
    // The agent may reach DNS, the API server and the endpoint, and not the port of the backend's metrics.
    scene.until_connects(&agent, &backend, 8080, false).await;
    scene.until_connects(&agent, &backend, 4318, true).await;
    scene.tenant(1, 1).await;
    scene.created([1]).await;
    assert!(scene.metric(&agent, "kamaji_telemetry_agent_enabled").await.is_some(), "whoever scrapes is let in");

    // The backend may be reached by the named senders only. A connection that is open stays open.
    scene.install_backend_for("nobody").await;
    scene.until_connects(&agent, &backend, 4318, false).await;
    for (workload, containers) in [(Workload::Agent, &["agent", "relay"][..]), (Workload::Backend, &["backend"])] {
        let pod = scene.pod(workload).await;
        for container in containers {
            assert_eq!(pod.restarts(container), 0, "{container}: the probes pass");
        }
    }
}
