//! Killed, frozen and overloaded containers of the agent's pod: nothing is lost, and nothing is repeated.

use std::error::Error as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use futures::future::join_all;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use rustix::process::Signal;
use serde_json::json;
use tonic::Code;

use super::created;
use crate::node::figures::Injury;
use crate::node::machine::{enter_network, kill};
use crate::node::scene::{Pod, Scene, Workload};

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn a_killed_or_lost_pod_loses_no_event() {
    let scene = Scene::running(&json!({})).await;
    // Every process at once, the sandbox included: the kubelet makes another sandbox for the pod.
    let pod = scene.pod(Workload::Agent).await;
    scene.tenant(2, 2).await;
    let injury = Injury::begin("kill -9 of the agent's pod");
    scene.kill_pod(&pod);
    scene.tenant(3, 3).await;
    injury.lost_nothing(&scene, &created(1..=3)).await;
    scene.started_again(Workload::Agent, &pod, &["agent", "relay"]).await;
    // Two pods run for a moment: the next one starts before the kubelet has ended this one.
    scene.tenant(4, 4).await;
    let injury = Injury::begin("agent's pod deleted by force");
    scene.in_namespace(&["delete", "pod", pod.name(), "--force", "--grace-period=0"]).await.unwrap();
    scene.tenant(5, 5).await;
    injury.lost_nothing(&scene, &created(1..=5)).await;
    scene.ready(Workload::Agent).await;
    assert_ne!(scene.pod(Workload::Agent).await.name(), pod.name(), "another pod");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn frozen_processes_are_found_by_the_probes_and_started_again() {
    let scene = Scene::running(&json!({})).await;
    let pod = scene.pod(Workload::Agent).await;
    let injury = Injury::begin("agent and relay frozen");
    for container in ["agent", "relay"] {
        kill(&scene.processes(&pod.container_id(container)), Signal::STOP);
    }
    scene.tenant(2, 2).await;
    scene
        .until("both containers to be started again", async || {
            let after = scene.pod(Workload::Agent).await;
            let again = |container| after.restarts(container) > pod.restarts(container);
            (again("agent") && again("relay")).then_some(())
        })
        .await;
    scene.tenant(3, 3).await;
    injury.lost_nothing(&scene, &created(1..=3)).await;
    scene.ready(Workload::Agent).await;
}

/// Concurrent senders in the network of a pod, each of which sends full requests that the allow-list drops.
pub(super) struct Flood {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

/// As many as one process may have connections to a port: far more than the one agent.
const SENDERS: usize = 64;

/// The number of records in a full request: some 900 kB of the 1 MiB that the relay accepts.
const FULL: usize = 3_500;

/// The wait of a sender before it connects again.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(100);

impl Flood {
    pub(super) fn start(pod: &Pod, scene: &Scene) -> Self {
        let process = scene.processes(&pod.container_id("agent"))[0];
        let (stop, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (stopped, answered) = (Arc::clone(&stop), Arc::clone(&answers));
        let thread = std::thread::spawn(move || {
            enter_network(process);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let request = full_request();
            runtime.block_on(join_all((0..SENDERS).map(|_| send(&request, &stopped, &answered))));
        });
        Self { stop, answers, thread }
    }

    /// Returns the number of requests that the relay has answered, by an error too.
    pub(super) fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

fn full_request() -> ExportLogsServiceRequest {
    let record = LogRecord { event_name: "x".repeat(250), ..LogRecord::default() };
    let scope_logs = ScopeLogs { log_records: vec![record; FULL], ..ScopeLogs::default() };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { scope_logs: vec![scope_logs], ..ResourceLogs::default() }],
    }
}

/// Sends one request after another, whatever the answer is.
async fn send(request: &ExportLogsServiceRequest, stopped: &AtomicBool, answers: &AtomicUsize) {
    let relay = format!("http://{}", SocketAddr::from((Ipv4Addr::LOCALHOST, 4317)));
    while !stopped.load(Ordering::Relaxed) {
        let Ok(mut client) = LogsServiceClient::connect(relay.clone()).await else {
            // The relay starts again.
            tokio::time::sleep(RECONNECT_INTERVAL).await;
            continue;
        };
        while !stopped.load(Ordering::Relaxed) {
            let answer = client.export(request.clone()).await;
            // A relay that has no memory left rejects, and one that ends answers no more.
            if answer.is_err_and(|status| status.code() != Code::Unavailable || status.source().is_some()) {
                break;
            }
            answers.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn a_relay_that_is_killed_for_its_memory_is_started_again_and_loses_no_event() {
    // The limit of the container is lowered, and those that keep the relay below it are not.
    let relay = json!({
        "resources": {"requests": {"memory": "96Mi"}, "limits": {"memory": "96Mi"}},
        "extraEnv": [{"name": "RELAY_MEMORY_LIMIT_MIB", "value": "512"}, {"name": "GOMEMLIMIT", "value": "512MiB"}],
    });
    let scene = Scene::running(&json!({"relay": relay})).await;
    let pod = scene.pod(Workload::Agent).await;
    let injury = Injury::begin("relay killed at its memory limit");
    let flood = Flood::start(&pod, &scene);
    scene
        .until("the relay to be killed", async || {
            let after = scene.pod(Workload::Agent).await;
            let status = after.container("relay");
            let reason = |state: &str| status[state]["terminated"]["reason"] == "OOMKilled";
            (reason("state") || reason("lastState")).then_some(())
        })
        .await;
    scene.tenant(2, 2).await;
    flood.stop();
    scene.tenant(3, 3).await;
    injury.lost_nothing(&scene, &created(1..=3)).await;
    scene.ready(Workload::Agent).await;
    let after = scene.pod(Workload::Agent).await;
    assert_eq!(after.restarts("agent"), 0, "the agent goes on meanwhile");
}
