//! Leader election among several replicas, against a real API server.

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;

use crate::program::{Agent, AgentOptions, NAMESPACE};
use crate::servers::{ApiServer, Collector, User, checkout, eventually, tcp};

/// Returns the options of a replica in the pod `pod`.
fn replica<'a>(cluster: &ApiServer, endpoint: &str, pod: &'a str) -> AgentOptions<'a> {
    AgentOptions::new(cluster, endpoint).argument("--leader-elect").variable("POD_NAME", pod)
}

async fn holder(cluster: &ApiServer) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(cluster.admin().clone(), NAMESPACE);
    leases.get_opt("kamaji-telemetry").await.unwrap()?.spec?.holder_identity
}

async fn leads(agent: &Agent) -> bool {
    agent.metrics().await.lines().any(|line| line == "kamaji_telemetry_agent_leader 1")
}

fn watches(cluster: &ApiServer, resource: &str) -> usize {
    let requests = cluster.requests_of(User::Agent);
    requests.iter().filter(|request| request.verb == "watch" && request.resource == resource).count()
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn one_replica_leads_the_other_is_ready_and_a_rollout_hands_over_at_once() {
    let cluster = ApiServer::start_with_kamaji().await;
    cluster.create(tcp("a")).await;
    let collector = Collector::start(&checkout("otel-collector/debug.yaml"), &[], &[]).await;
    // A replica takes over a Lease that is unchanged for 80 s, which is longer than this test waits for anything.
    let duration = "--lease-duration=100s";
    let mut first = replica(&cluster, &collector.endpoint(), "one").argument(duration).start().await;
    first.ready().await;
    let second = replica(&cluster, &collector.endpoint(), "two").argument(duration).start().await;
    second.ready().await;
    assert!(leads(&first).await && !leads(&second).await);
    assert_eq!(holder(&cluster).await.as_deref(), Some("one"));
    eventually("a watch of the journal", async || (watches(&cluster, "configmaps") > 0).then_some(())).await;
    let watches = ["tenantcontrolplanes", "configmaps"].map(|resource| watches(&cluster, resource));
    assert_eq!(watches, [1, 1], "the other holds no watch");

    assert_eq!(first.terminate().await, Some(0), "{}", first.log());
    eventually("the other to lead", async || leads(&second).await.then_some(())).await;
    cluster.upgrade("a", "v1.36.0").await;
    let shown = async || (collector.output().matches("EventName: kamaji.tcp.updated").count() == 1).then_some(());
    eventually("the upgrade", shown).await;
    assert_eq!(collector.output().matches("EventName").count(), 1, "the takeover repeats and invents nothing");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_container_that_crashed_leads_again_at_once() {
    let cluster = ApiServer::start_with_kamaji().await;
    let options = || replica(&cluster, "http://127.0.0.1:1", "one").argument("--lease-duration=1h");
    let agent = options().start().await;
    agent.ready().await;
    // Killed, so that it does not release the Lease, which would last for an hour.
    drop(agent);
    assert_eq!(holder(&cluster).await.as_deref(), Some("one"));
    let agent = options().start().await;
    eventually("it to lead again", async || leads(&agent).await.then_some(())).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_leader_that_died_is_followed_by_another_replica() {
    let cluster = ApiServer::start_with_kamaji().await;
    let duration = "--lease-duration=3s";
    let first = replica(&cluster, "http://127.0.0.1:1", "one").argument(duration).start().await;
    first.ready().await;
    let second = replica(&cluster, "http://127.0.0.1:1", "two").argument(duration).start().await;
    second.ready().await;
    drop(first);
    eventually("the other to lead", async || leads(&second).await.then_some(())).await;
    assert_eq!(holder(&cluster).await.as_deref(), Some("two"));
}
