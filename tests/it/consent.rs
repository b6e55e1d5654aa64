//! Telemetry that is off: the requests to the API server and the connections to the collector, from the start of the
//! process.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;

use crate::program::{Agent, AgentOptions, NAMESPACE};
use crate::servers::{ApiServer, Collector, CountingProxy, Request, User, checkout, eventually, fixture};

/// Polls Kamaji's operator often, so that a test waits for polls and not for time.
const POLL_OFTEN: &str = "--operator-poll-interval=1s";

/// A cluster with a control plane, and a collector that counts connections.
struct Scene {
    cluster: ApiServer,
    collector: CountingProxy,
}

impl Scene {
    async fn set() -> Self {
        let cluster = ApiServer::start_with_kamaji().await;
        cluster.create(crate::servers::tcp("a").status("Ready")).await;
        Self { cluster, collector: CountingProxy::start(None).await }
    }

    fn agent(&self) -> AgentOptions<'_> {
        AgentOptions::new(&self.cluster, &self.collector.url()).argument(POLL_OFTEN).argument("--erase-interval=1s")
    }

    fn requests(&self) -> Vec<Request> {
        self.cluster.requests_of(User::Agent)
    }

    fn operator_polls(&self) -> usize {
        self.requests().iter().filter(|request| request.is_operator_read()).count()
    }

    /// Waits for `count` further polls of Kamaji's operator.
    async fn wait_for_polls(&self, count: usize) {
        let before = self.operator_polls();
        eventually("further polls", async || (self.operator_polls() >= before + count).then_some(())).await;
    }

    async fn run_kamaji_with(&self, arguments: &[&str]) {
        self.cluster.run_kamaji_with(arguments).await;
    }

    /// Asserts that an agent that is on reaches both sides. This is the control: it shows that a test which finds no
    /// request would have found one.
    async fn assert_reaches_both_sides(&self, agent: Agent) {
        agent.ready().await;
        eventually("a connection to the collector", async || (self.collector.connections() > 0).then_some(())).await;
        assert!(self.requests().iter().any(|request| request.resource == "tenantcontrolplanes"));
    }
}

/// Asserts that an agent with this switch is off, and returns its log.
async fn assert_switched_off_by(switch: impl FnOnce(AgentOptions<'_>) -> AgentOptions<'_>) -> String {
    let scene = Scene::set().await;
    let agent = switch(scene.agent()).start().await;
    agent.logged("telemetry is off").await;
    agent.ready().await;
    eventually("further deletions", async || (scene.requests().len() >= 4).then_some(())).await;
    let others = scene.requests().into_iter().filter(|request| !request.is_erasure());
    assert_eq!(others.collect::<Vec<_>>(), [], "the API server got other requests");
    assert_eq!(scene.collector.connections(), 0, "there was a connection to the collector");
    let log = agent.log();
    assert!(log.lines().count() == 1, "the reason is logged once: {log}");
    drop(agent);
    scene.assert_reaches_both_sides(scene.agent().start().await).await;
    log
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn disable_telemetry_switches_it_off() {
    assert_switched_off_by(|agent| agent.argument("--disable-telemetry")).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn disable_telemetry_true_switches_it_off_whatever_kamajis_flag_means() {
    assert_switched_off_by(|agent| {
        agent.argument("--disable-telemetry=true").argument("--follow-kamaji-opt-out=false")
    })
    .await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn do_not_track_switches_it_off_whatever_the_flag_is() {
    assert_switched_off_by(|agent| agent.argument("--disable-telemetry=false").variable("DO_NOT_TRACK", "1")).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_variable_of_the_flag_switches_it_off_whatever_the_flag_is() {
    let variable = "KAMAJI_TELEMETRY_DISABLE_TELEMETRY";
    let log =
        assert_switched_off_by(|agent| agent.argument("--disable-telemetry=false").variable(variable, "true")).await;
    assert!(log.contains("reason=KAMAJI_TELEMETRY_DISABLE_TELEMETRY is set"), "{log}");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn otel_sdk_disabled_switches_it_off() {
    assert_switched_off_by(|agent| agent.variable("OTEL_SDK_DISABLED", "true")).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn kamajis_own_switch_is_followed_and_noticed_while_it_runs() {
    let scene = Scene::set().await;
    scene.run_kamaji_with(&["manager", "--disable-telemetry"]).await;
    let agent = scene.agent().start().await;
    agent.logged("reason=Kamaji's operator runs with --disable-telemetry").await;
    agent.ready().await;
    scene.wait_for_polls(3).await;
    let others = scene.requests().into_iter().filter(|request| !request.is_operator_read() && !request.is_erasure());
    assert_eq!(others.collect::<Vec<_>>(), [], "only the operator is polled, and the journal deleted");
    assert_eq!(scene.collector.connections(), 0);

    // The control: telemetry is switched on while the agent runs.
    scene.run_kamaji_with(&["manager", "--disable-telemetry", "--disable-telemetry=false"]).await;
    agent.logged("telemetry is on").await;
    scene.assert_reaches_both_sides(agent).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn switching_kamajis_telemetry_off_ends_what_runs() {
    let scene = Scene::set().await;
    let agent = scene.agent().start().await;
    agent.ready().await;
    eventually("a connection", async || (scene.collector.connections() > 0).then_some(())).await;
    scene.run_kamaji_with(&["manager", "--disable-telemetry=true"]).await;
    agent.logged("reason=Kamaji's operator").await;
    scene.wait_for_polls(1).await;
    let (connections, requests) = (scene.collector.connections(), scene.requests().len());
    scene.cluster.create(crate::servers::tcp("b")).await;
    scene.wait_for_polls(3).await;
    let since = scene.requests().split_off(requests);
    assert!(since.iter().all(|request| request.is_operator_read() || request.is_erasure()), "{since:?}");
    assert_eq!(scene.collector.connections(), connections);
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_operator_that_is_not_found_means_off_until_it_is() {
    let scene = Scene::set().await;
    let deployments: Api<Deployment> = Api::namespaced(scene.cluster.admin().clone(), "kamaji-system");
    let kamaji = deployments.get("kamaji").await.unwrap();
    deployments.delete("kamaji", &DeleteParams::default()).await.unwrap();
    let agent = scene.agent().start().await;
    let log = agent.logged("telemetry is off").await;
    assert!(log.contains("kamaji-system") && log.contains("--kamaji-namespace"), "{log}");
    assert!(log.contains("--follow-kamaji-opt-out=false"), "{log}");
    scene.wait_for_polls(3).await;
    assert_eq!(agent.log().matches("WARN").count(), 1, "one warning: {}", agent.log());
    assert_eq!(scene.collector.connections(), 0);

    let spec = json!({"metadata": {"name": "kamaji", "labels": kamaji.metadata.labels}, "spec": kamaji.spec});
    deployments.create(&kube::api::PostParams::default(), &serde_json::from_value(spec).unwrap()).await.unwrap();
    scene.assert_reaches_both_sides(agent).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_operator_that_may_not_be_read_means_off() {
    let scene = Scene::set().await;
    let agent = scene.agent().argument("--kamaji-namespace=elsewhere").start().await;
    let log = agent.logged("telemetry is off").await;
    assert!(log.contains("refuses deployments.apps") && log.contains("elsewhere"), "{log}");
    let polled = async || {
        let is_poll = |request: &&Request| request.resource == "deployments" && request.namespace == "elsewhere";
        (scene.requests().iter().filter(is_poll).count() >= 3).then_some(())
    };
    eventually("further polls", polled).await;
    assert_eq!(scene.collector.connections(), 0);
    drop(agent);
    scene.assert_reaches_both_sides(scene.agent().start().await).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_api_server_that_is_not_reached_means_off() {
    let scene = Scene::set().await;
    let nobody = CountingProxy::start(None).await;
    let kubeconfig = scene.cluster.kubeconfig_at(User::Agent, nobody.address());
    let agent = AgentOptions::with_kubeconfig(&kubeconfig, &scene.collector.url()).argument(POLL_OFTEN).start().await;
    let log = agent.logged("telemetry is off").await;
    assert!(log.contains("can't be reached"), "{log}");
    let before = nobody.connections();
    eventually("further polls", async || (nobody.connections() > before + 2).then_some(())).await;
    assert!(nobody.connections() > 0);
    assert_eq!(scene.collector.connections(), 0);
    drop(agent);
    scene.assert_reaches_both_sides(scene.agent().start().await).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn kamajis_switch_has_no_effect_if_it_is_not_followed() {
    let scene = Scene::set().await;
    scene.run_kamaji_with(&["manager", "--disable-telemetry"]).await;
    let agent = scene.agent().argument("--follow-kamaji-opt-out=false").start().await;
    scene.assert_reaches_both_sides(agent).await;
}

/// Returns the identity of the installation, if there is one.
async fn installation(cluster: &ApiServer) -> Option<String> {
    let journals: Api<ConfigMap> = Api::namespaced(cluster.admin().clone(), NAMESPACE);
    let journal = journals.get_opt("kamaji-telemetry").await.unwrap()?;
    Some(journal.data?.remove("installation").unwrap())
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn changes_while_kamajis_telemetry_is_off_are_never_reported() {
    let scene = Scene::set().await;
    let collector = Collector::start(&checkout("otel-collector/debug.yaml"), &[], &[]).await;
    let agent = AgentOptions::new(&scene.cluster, &collector.endpoint()).argument(POLL_OFTEN).start().await;
    agent.ready().await;
    let first = eventually("the journal", async || installation(&scene.cluster).await).await;

    scene.run_kamaji_with(&["manager", "--disable-telemetry"]).await;
    agent.logged("the journal is deleted, and the installation's UUID with it").await;
    assert_eq!(installation(&scene.cluster).await, None);
    scene.cluster.upgrade("a", "v1.36.0").await;
    scene.cluster.create(crate::servers::tcp("b").status("Ready")).await;
    scene.cluster.create(crate::servers::tcp("c")).await;
    scene.cluster.delete("c").await;

    scene.run_kamaji_with(&["manager"]).await;
    let second = eventually("a new journal", async || installation(&scene.cluster).await).await;
    assert_ne!(first, second, "it is another installation");
    let has_gauges = async || collector.output().contains(&second).then_some(());
    eventually("gauges of the new installation", has_gauges).await;
    scene.cluster.upgrade("b", "v1.37.0").await;
    let output = eventually("the upgrade since", async || {
        Some(collector.output()).filter(|output| output.contains("new_tcp_version: Str(v1.37.0)"))
    })
    .await;
    assert_eq!(output.matches("EventName").count(), 1, "{output}");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_permission_that_is_missing_for_a_moment_switches_it_off_and_deletes_nothing() {
    let scene = Scene::set().await;
    let poll_interval = "--operator-poll-interval=5s";
    let agent = AgentOptions::new(&scene.cluster, &scene.collector.url()).argument(poll_interval).start().await;
    agent.ready().await;
    let before = eventually("the journal", async || installation(&scene.cluster).await).await;
    let bindings: Api<RoleBinding> = Api::namespaced(scene.cluster.admin().clone(), "kamaji-system");
    bindings.delete("kamaji-telemetry", &DeleteParams::default()).await.unwrap();
    agent.logged("telemetry is off").await;
    // A permission that is missing for less than two polls is no opt-out.
    scene.cluster.apply(&fixture("agent.yaml")).await;
    let on_again = async || (agent.log().matches("telemetry is on; gauges").count() == 2).then_some(());
    eventually("it to be on again", on_again).await;
    assert_eq!(installation(&scene.cluster).await, Some(before));
    assert!(!scene.requests().iter().any(Request::is_erasure), "nothing was deleted");

    bindings.delete("kamaji-telemetry", &DeleteParams::default()).await.unwrap();
    agent.logged("the journal is deleted").await;
}
