//! The agent against a real API server that lacks something, fails, or cannot stream.

use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use tokio::process::Command;

use crate::program::{Agent, AgentOptions, PROGRAM};
use crate::servers::{ApiServer, Collector, CountingProxy, Request, User, checkout, eventually, fixture, tcp};

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_missing_custom_resource_definition_is_logged_and_waited_for() {
    let cluster = ApiServer::start_with_kamaji().await;
    let collector = CountingProxy::start(None).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.admin().clone());
    let name = "tenantcontrolplanes.kamaji.clastix.io";
    definitions.delete(name, &DeleteParams::default()).await.unwrap();
    eventually("the definition to be gone", async || definitions.get_opt(name).await.unwrap().is_none().then_some(()))
        .await;
    let agent = AgentOptions::new(&cluster, &collector.url()).start().await;
    agent.logged("does not serve tenantcontrolplanes.kamaji.clastix.io: is Kamaji installed").await;
    assert!(!agent.is_ready().await);
    assert_eq!(collector.connections(), 0, "no gauge before the first complete sync");
    cluster.apply(&fixture("tenantcontrolplanes.yaml")).await;
    agent.ready().await;
    eventually("a connection", async || (collector.connections() > 0).then_some(())).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_missing_permission_is_logged_with_the_rule_that_grants_it() {
    let cluster = ApiServer::start_with_kamaji().await;
    let collector = CountingProxy::start(None).await;
    let bindings: Api<ClusterRoleBinding> = Api::all(cluster.admin().clone());
    bindings.delete("kamaji-telemetry", &DeleteParams::default()).await.unwrap();
    let agent = AgentOptions::new(&cluster, &collector.url()).start().await;
    let log = agent.logged("refuses tenantcontrolplanes").await;
    let rule = "{apiGroups: [kamaji.clastix.io], resources: [tenantcontrolplanes], verbs: [list, watch]}";
    assert!(log.contains(rule), "{log}");
    assert!(!agent.is_ready().await);
    assert_eq!(collector.connections(), 0);
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_initial_list_never_comes_from_the_past() {
    let cluster = ApiServer::start_with_kamaji().await;
    cluster.create(tcp("a")).await;
    let agent = AgentOptions::new(&cluster, "http://127.0.0.1:1").start().await;
    agent.ready().await;
    let requests = cluster.requests_of(User::Agent);
    let tcp_requests: Vec<_> = requests.iter().filter(|request| request.resource == "tenantcontrolplanes").collect();
    let [watch] = &tcp_requests[..] else { panic!("one watch: {tcp_requests:?}") };
    assert!(watch.uri.contains("sendInitialEvents=true"), "{watch:?}");
    assert!(watch.uri.ends_with("resourceVersion=") || watch.uri.contains("resourceVersion=&"), "{watch:?}");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_server_that_cannot_stream_is_listed_in_pages() {
    let cluster = ApiServer::start_without_streaming().await;
    for number in 0..101 {
        cluster.create(tcp(&format!("tenant-{number}"))).await;
    }
    let agent = AgentOptions::new(&cluster, "http://127.0.0.1:1").start().await;
    agent.ready().await;
    let requests = cluster.requests_of(User::Agent);
    let of_tcps = requests.iter().filter(|request| request.resource == "tenantcontrolplanes");
    // A list of one is a read of the server's position.
    let lists: Vec<_> = of_tcps.filter(|request| request.verb == "list" && !request.uri.ends_with("limit=1")).collect();
    assert_eq!(lists.len(), 2, "101 objects are two pages: {lists:?}");
    assert!(lists.iter().all(|list| !list.uri.contains("resourceVersion")), "{lists:?}");
    let watched = async || {
        let requests = cluster.requests_of(User::Agent);
        let is_watch = |request: &&Request| request.verb == "watch" && request.resource == "tenantcontrolplanes";
        requests.iter().filter(is_watch).any(|request| request.code == 200).then_some(())
    };
    eventually("a watch after the list", watched).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_api_server_that_restarts_is_watched_again() {
    let mut cluster = ApiServer::start_with_kamaji().await;
    let collector = CountingProxy::start(None).await;
    let agent = AgentOptions::new(&cluster, &collector.url()).argument("--export-interval=1s").start().await;
    agent.ready().await;
    cluster.stop();
    agent.logged("failed to watch TenantControlPlanes").await;
    cluster.resume().await;
    agent.logged("watching TenantControlPlanes again").await;
    assert!(agent.is_ready().await, "an outage does not make it unready");
    assert!(!agent.log().contains("panicked"), "{}", agent.log());
}

/// Gauges that are sent while nothing can be observed would be wrong without a sign.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn no_gauge_leaves_while_the_right_to_watch_is_missing() {
    let mut cluster = ApiServer::start_with_kamaji().await;
    cluster.create(tcp("a").status("Ready")).await;
    let collector = Collector::start(&checkout("otel-collector/debug.yaml"), &[], &[]).await;
    let options = AgentOptions::new(&cluster, &collector.endpoint()).argument("--export-interval=1s");
    let agent = options.argument("--operator-poll-interval=1s").start().await;
    let gauges = || collector.output().matches("Name: kamaji.tcp.running").count();
    eventually("gauges", async || (gauges() > 0).then_some(())).await;

    let bindings: Api<ClusterRoleBinding> = Api::all(cluster.admin().clone());
    let mut binding = bindings.get("kamaji-telemetry").await.unwrap();
    bindings.delete("kamaji-telemetry", &DeleteParams::default()).await.unwrap();
    // The running watch ends with the API server.
    cluster.stop();
    cluster.resume().await;
    let count = |is: &dyn Fn(&Request) -> bool| cluster.requests_of(User::Agent).iter().filter(|one| is(one)).count();
    let refused = || count(&|one| one.resource == "tenantcontrolplanes" && one.code == 403);
    let polls = || count(&|one| one.is_operator_read() && one.code == 200);
    let polled = async |times: usize| {
        let until = polls() + times;
        eventually("polls of the operator", async || (polls() >= until).then_some(())).await;
    };
    eventually("two refusals", async || (refused() >= 2).then_some(())).await;
    polled(2).await;
    let before = gauges();
    let bindings: Api<ClusterRoleBinding> = Api::all(cluster.admin().clone());
    // As many intervals of the gauges as of the polls.
    polled(4).await;
    assert_eq!(gauges(), before, "{}", agent.log());

    binding.metadata = ObjectMeta { name: binding.metadata.name, ..ObjectMeta::default() };
    bindings.create(&PostParams::default(), &binding).await.unwrap();
    eventually("gauges again", async || (gauges() > before).then_some(())).await;
}

async fn with_an_event_that_cannot_be_delivered() -> (Agent, ApiServer, CountingProxy) {
    let cluster = ApiServer::start_with_kamaji().await;
    // The proxy closes every connection at once, so nothing can be delivered.
    let collector = CountingProxy::start(None).await;
    let agent = AgentOptions::new(&cluster, &collector.url()).start().await;
    agent.ready().await;
    cluster.create(tcp("a")).await;
    let log = agent.logged("failed to export").await;
    assert!(log.contains("the port may be one of another protocol"), "the warning says why: {log}");
    (agent, cluster, collector)
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_shutdown_delivers_what_it_can_and_exits_with_success() {
    let (mut agent, _cluster, _collector) = with_an_event_that_cannot_be_delivered().await;
    assert_eq!(agent.terminate().await, Some(0), "{}", agent.log());
    let log = agent.log();
    assert!(log.contains("could not be delivered before the shutdown") && log.contains("pending=1"), "{log}");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_second_signal_ends_at_once() {
    let (mut agent, _cluster, _collector) = with_an_event_that_cannot_be_delivered().await;
    agent.signal("TERM");
    agent.logged("shutting down").await;
    assert_eq!(agent.terminate().await, Some(130));
    assert!(!agent.log().contains("could not be delivered"), "it did not wait: {}", agent.log());
}

#[tokio::test]
async fn a_variable_that_would_be_ignored_stops_the_start() {
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://collector.test:4317"),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://collector.test:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("KAMAJI_TELEMETRY_EXTENDED", "maybe"),
        ("KAMAJI_TELEMETRY_EXPORT_INTERVAL", "0s"),
    ] {
        let mut agent = Command::new(PROGRAM);
        let kubeconfig = "/nowhere";
        agent
            .args(["agent", "--follow-kamaji-opt-out=false"])
            .env_clear()
            .env("KUBECONFIG", kubeconfig)
            .env(name, value);
        let output = agent.output().await.unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{name}={value}");
        // The value of an endpoint may hold a password.
        let is_named = error.contains(name) || error.contains(value);
        assert!(is_named, "{name}={value}: {error}");
    }
}
