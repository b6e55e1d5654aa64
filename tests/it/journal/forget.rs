//! An installation that is forgotten while its agent runs.

use k8s_openapi::api::rbac::v1::Role;

use super::*;

/// An interval that no test waits for.
const NEVER: &str = "24h";

fn gauges_of(collector: &Collector, installation: &str) -> usize {
    collector.output().matches(&format!("service.instance.id: Str({installation})")).count()
}

async fn installation(cluster: &ApiServer) -> Option<String> {
    Some(data(&config_maps(cluster).get_opt(NAME).await.unwrap()?, "installation"))
}

/// Forgets the installation, and waits until gauges of another are printed. Returns how many of the old one were printed
/// when the command returned, and how many in all.
async fn forget(cluster: &ApiServer, collector: &Collector) -> (usize, usize) {
    let old = installation(cluster).await.unwrap();
    eventually("gauges", async || (gauges_of(collector, &old) > 0).then_some(())).await;
    assert!(run(cluster, &["forget"]).await.contains(&old));
    let before = gauges_of(collector, &old);
    let renewed = async || installation(cluster).await.filter(|new| *new != old && gauges_of(collector, new) > 0);
    eventually("gauges of another installation", renewed).await;
    (before, gauges_of(collector, &old))
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_running_agent_begins_a_new_installation_without_waiting_for_a_poll() {
    let cluster = ApiServer::start_with_kamaji().await;
    let collector = collector().await;
    let options = AgentOptions::new(&cluster, &collector.endpoint());
    let waits = [("--operator-poll-interval", NEVER), ("--export-interval", NEVER)];
    let waits = waits.map(|(flag, value)| format!("{flag}={value}"));
    let agent = waits.iter().fold(options, |options, wait| options.argument(wait)).start().await;
    agent.ready().await;
    assert_eq!(forget(&cluster, &collector).await, (1, 1));
    assert!(agent.log().contains("the journal was deleted"), "{}", agent.log());
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn without_the_right_to_watch_no_gauge_leaves_under_a_forgotten_identity() {
    let cluster = ApiServer::start_with_kamaji().await;
    let roles: Api<Role> = Api::namespaced(cluster.admin().clone(), NAMESPACE);
    let mut role = roles.get("kamaji-telemetry").await.unwrap();
    role.metadata.managed_fields = None;
    role.rules.iter_mut().flatten().for_each(|rule| rule.verbs.retain(|verb| verb != "watch"));
    roles.replace("kamaji-telemetry", &PostParams::default(), &role).await.unwrap();
    let collector = collector().await;
    // The first gauges are printed long before the next are due, so that none are under way when the command returns.
    let options = AgentOptions::new(&cluster, &collector.endpoint()).argument("--export-interval=10s");
    let agent = options.argument("--operator-poll-interval=24h").start().await;
    agent.ready().await;
    let log = agent.logged("failed to watch the journal; its deletion is noticed at the next poll").await;
    assert!(log.contains("verbs: [create, get, watch, update, delete]"), "{log}");
    let (before, after) = forget(&cluster, &collector).await;
    assert_eq!(before, after, "{}", agent.log());
    assert_eq!(agent.log().matches("failed to watch the journal").count(), 1, "{}", agent.log());
    assert!(!agent.log().contains("failed to read the journal"), "{}", agent.log());
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_agents_own_writes_cause_no_reads() {
    let cluster = ApiServer::start_with_kamaji().await;
    cluster.create(tcp("a")).await;
    let collector = collector().await;
    let options = AgentOptions::new(&cluster, &collector.endpoint());
    let agent = options.argument("--operator-poll-interval=24h").start().await;
    agent.ready().await;
    let of_journal = |verb: &str| {
        let requests = cluster.requests_of(User::Agent);
        requests.iter().filter(|request| request.resource == "configmaps" && request.verb == verb).count()
    };
    eventually("a watch", async || (of_journal("watch") == 1).then_some(())).await;
    let mut reads = Vec::new();
    for events in 1..=4 {
        cluster.upgrade("a", &format!("v1.{}.0", 35 + events)).await;
        printed(&collector, events).await;
        reads.push(of_journal("get"));
    }
    // Until the second event, the check that follows the beginning of the watch may be under way.
    assert!(reads[1..].iter().all(|count| *count == reads[1]), "{reads:?}");
    assert!(
        of_journal("update") > 4 && reads[1] <= 4,
        "both ConfigMaps to open it, as the watch began, before the gauges: {reads:?}"
    );
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_acknowledgement_shows_in_the_status_soon() {
    let cluster = ApiServer::start_with_kamaji().await;
    let collector = collector().await;
    let options = AgentOptions::new(&cluster, &collector.endpoint()).argument("--export-interval=25s");
    let agent = options.argument("--operator-poll-interval=24h").start().await;
    agent.ready().await;
    let status =
        async || -> Value { serde_json::from_str(&run(&cluster, &["status", "--output=json"]).await).unwrap() };
    cluster.create(tcp("a")).await;
    printed(&collector, 1).await;
    let acknowledged = async || Some(status().await).filter(|status| status["pending"] == 0);
    let status = eventually("the acknowledgement to be written", acknowledged).await;
    assert!(status["last_acknowledgement"].is_string(), "{status}");
    assert_eq!(status["acknowledgement_delay_seconds"], 2, "{status}");
    let exports = "kamaji_telemetry_agent_exports_total{signal=\"metrics\",result=\"success\"} 1";
    let metrics = agent.metrics().await;
    assert!(metrics.lines().any(|line| line == exports), "long before the next gauges: {metrics}");
}
