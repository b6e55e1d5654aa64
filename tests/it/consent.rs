//! Telemetry that is off: the requests to the API server and the connections to the collector, from the start of the
//! process.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

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

    /// Runs Kamaji's operator with `$(ARGS)` among its arguments, and with that variable.
    async fn run_kamaji_with_variable(&self, variable: Value) {
        self.run_kamaji_with(&["manager", "--metrics-bind-address=$(POD_IP):8080", "$(ARGS)"]).await;
        let container = json!({"name": "manager", "env": [variable]});
        let change = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        let patch = Patch::Strategic(change);
        self.deployments().patch("kamaji", &PatchParams::default(), &patch).await.unwrap();
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.cluster.admin().clone(), "kamaji-system")
    }

    /// Creates another Deployment beside Kamaji's operator.
    async fn deploy(&self, name: &str, labels: &Value, container: &Value) {
        let of_pod = json!({"app": name});
        let deployment = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": "kamaji-system", "labels": labels},
            "spec": {
                "selector": {"matchLabels": of_pod},
                "template": {"metadata": {"labels": of_pod}, "spec": {"containers": [container]}},
            },
        });
        self.cluster.apply_one(&deployment).await;
    }

    /// Replaces what the agent may do in Kamaji's namespace by `get` of the Deployment `kamaji`.
    async fn allow_get_only(&self) {
        let get_kamaji =
            json!({"apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["kamaji"], "verbs": ["get"]});
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "kamaji-telemetry", "namespace": "kamaji-system"},
            "rules": [get_kamaji],
        });
        self.cluster.apply_one(&role).await;
    }

    /// Asserts that the agent is off because of Kamaji's operator, with one warning and without a connection to the
    /// collector, and returns its log.
    async fn assert_undecided(&self, agent: &Agent) -> String {
        agent.logged("telemetry is off").await;
        self.wait_for_polls(3).await;
        let log = agent.log();
        assert_eq!(log.matches("WARN").count(), 1, "one warning: {log}");
        for flag in ["--kamaji-namespace", "--kamaji-deployment", "--follow-kamaji-opt-out=false"] {
            assert!(log.contains(flag), "{flag}: {log}");
        }
        assert_eq!(self.collector.connections(), 0);
        log
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

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_opt_out_in_a_variable_of_the_operator_is_followed() {
    let scene = Scene::set().await;
    scene.run_kamaji_with_variable(json!({"name": "ARGS", "value": "--disable-telemetry"})).await;
    let agent = scene.agent().start().await;
    agent.logged("reason=Kamaji's operator runs with --disable-telemetry").await;
    scene.wait_for_polls(3).await;
    assert_eq!(scene.collector.connections(), 0);

    // The control: with the escaped reference, the operator gets the text itself.
    scene.run_kamaji_with(&["manager", "$$(ARGS)"]).await;
    scene.assert_reaches_both_sides(agent).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_variable_from_elsewhere_means_off_until_it_is_known() {
    let scene = Scene::set().await;
    let reference = json!({"configMapKeyRef": {"name": "arguments", "key": "telemetry"}});
    scene.run_kamaji_with_variable(json!({"name": "ARGS", "valueFrom": reference})).await;
    let agent = scene.agent().start().await;
    let log = scene.assert_undecided(&agent).await;
    assert!(log.contains("$(ARGS)") && !log.contains("POD_IP"), "the word is named: {log}");

    scene.run_kamaji_with(&["manager", "--metrics-bind-address=$(POD_IP):8080"]).await;
    scene.assert_reaches_both_sides(agent).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_shell_that_starts_the_operator_means_off() {
    let scene = Scene::set().await;
    let container = json!({"name": "manager", "command": ["sh", "-c", "exec kamaji manager --disable-telemetry"]});
    let change = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    scene.deployments().patch("kamaji", &PatchParams::default(), &Patch::Strategic(change)).await.unwrap();
    let agent = scene.agent().start().await;
    let log = scene.assert_undecided(&agent).await;
    assert!(log.contains("it is started by \"sh\"") || log.contains("it is started by \\\"sh\\\""), "{log}");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_kubeconfig_generator_beside_the_operator_is_not_read() {
    let scene = Scene::set().await;
    let labels = json!({"app.kubernetes.io/name": "kamaji", "app.kubernetes.io/version": "v9.9.9"});
    let generator = json!({
        "name": "controller",
        "image": "docker.io/clastix/kamaji:v9.9.9",
        "args": ["kubeconfig-generator", "--leader-elect=true"],
    });
    scene.deploy("a-kubeconfig-generator", &labels, &generator).await;
    scene.run_kamaji_with(&["manager", "--disable-telemetry"]).await;
    let agent = scene.agent().start().await;
    agent.logged("reason=Kamaji's operator runs with --disable-telemetry").await;
    scene.run_kamaji_with(&["manager"]).await;
    scene.assert_reaches_both_sides(agent).await;

    scene.deployments().delete("kamaji", &DeleteParams::default()).await.unwrap();
    let alone = scene.agent().start().await;
    let log = alone.logged("telemetry is off").await;
    assert!(log.contains("found a-kubeconfig-generator instead"), "{log}");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_operator_without_the_label_is_found_by_what_it_runs() {
    let scene = Scene::set().await;
    scene.deployments().delete("kamaji", &DeleteParams::default()).await.unwrap();
    let labels = json!({"control-plane": "controller-manager", "cluster.x-k8s.io/provider": "kamaji"});
    let container = |arguments: &[&str]| {
        let image = "docker.io/clastix/kamaji:latest";
        json!({"name": "manager", "image": image, "command": ["/kamaji"], "args": arguments})
    };
    // What Kamaji runs for a tenant is not read.
    let tenant = json!({"kamaji.clastix.io/name": "a", "app.kubernetes.io/name": "kamaji"});
    scene.deploy("a", &tenant, &container(&["$(ARGS)"])).await;
    scene.deploy("kamaji-controller-manager", &labels, &container(&["manager", "--disable-telemetry"])).await;
    let agent = scene.agent().start().await;
    agent.logged("reason=Kamaji's operator runs with --disable-telemetry").await;
    scene.deploy("kamaji-controller-manager", &labels, &container(&["manager", "--leader-elect"])).await;
    scene.assert_reaches_both_sides(agent).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn operators_that_disagree_mean_off_unless_one_is_named() {
    let scene = Scene::set().await;
    let image = "docker.io/clastix/kamaji:v1.0.0";
    let container = json!({"name": "manager", "image": image, "args": ["manager", "--disable-telemetry"]});
    scene.deploy("second", &json!({}), &container).await;
    let agent = scene.agent().start().await;
    let log = scene.assert_undecided(&agent).await;
    assert!(log.contains("kamaji, second"), "{log}");
    drop(agent);
    scene.allow_get_only().await;
    scene.assert_reaches_both_sides(scene.agent().argument("--kamaji-deployment=kamaji").start().await).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_named_deployment_needs_get_of_that_one_alone() {
    let scene = Scene::set().await;
    scene.allow_get_only().await;
    let named = |name: &'static str| scene.agent().argument("--kamaji-deployment").argument(name);
    let unnamed = scene.agent().start().await;
    let log = scene.assert_undecided(&unnamed).await;
    assert!(log.contains("refuses deployments.apps") && log.contains("verbs: [list]"), "{log}");
    drop(unnamed);
    let other = named("other").start().await;
    let log = scene.assert_undecided(&other).await;
    assert!(log.contains("refuses deployments.apps") && log.contains("verbs: [get]"), "{log}");
    drop(other);
    scene.assert_reaches_both_sides(named("kamaji").start().await).await;
}
