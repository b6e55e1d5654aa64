//! The journal is copied into another cluster, whose agent reports to the same backend.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use super::scene::{Scene, version};
use super::short::run_under_load;
use super::stored;
use crate::program::{Agent, AgentOptions};
use crate::servers::{ApiServer, User, eventually, tcp};

fn journals(cluster: &ApiServer) -> Api<ConfigMap> {
    Api::namespaced(cluster.admin().clone(), "kamaji-telemetry")
}

/// Copies the journal as it is, with what waits in its outbox.
async fn copy_journal(from: &ApiServer, to: &ApiServer) {
    let journal = journals(from).get("kamaji-telemetry").await.unwrap();
    let metadata = ObjectMeta {
        name: journal.metadata.name,
        labels: journal.metadata.labels,
        annotations: journal.metadata.annotations,
        owner_references: journal.metadata.owner_references,
        ..ObjectMeta::default()
    };
    let copy = ConfigMap { metadata, ..journal };
    journals(to).create(&PostParams::default(), &copy).await.unwrap();
}

/// Starts another cluster with this number of control planes, none of which is in the first.
async fn another_cluster(scene: &Scene, count: usize) -> ApiServer {
    let cluster = ApiServer::start_with_kamaji().await;
    for number in 0..count {
        cluster.create(tcp(&format!("other-{number}")).version(&version(scene.numbers().next(), 0))).await;
    }
    cluster
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_copied_journal_invents_nothing() {
    let mut scene = Scene::start().await;
    for number in 0..5 {
        scene.create(&format!("before-{number}")).await;
    }
    let agent = scene.start_agent().await;
    let other = another_cluster(&scene, 8).await;
    let mut running = (scene, agent);
    let mut copied: Option<Agent> = None;
    let fault = async |scene: &mut Scene, _: &mut Agent| {
        scene.wait_for_more_events_than(scene.event_count() + 10).await;
        copy_journal(&scene.cluster, &other).await;
        let relay = format!("http://{}", scene.relay_connections.address());
        let agent = AgentOptions::with_kubeconfig(&other.kubeconfig(User::Agent), &relay).start().await;
        agent.wait_for_gauges().await;
        // Whatever it has made of its first list is delivered then.
        let delivered = async || (agent.metric("events_pending").await < 1.0).then_some(());
        eventually("the events of the other agent to be delivered", delivered).await;
        scene.wait_for_more_events_than(scene.event_count() + 10).await;
        copied = Some(agent);
    };
    let outcome = run_under_load(&mut running, ("journal-copied", "journal copied into another cluster"), fault).await;
    let (scene, _) = running;
    assert_eq!(outcome.report.coalesced, 0);
    let copied = copied.unwrap();
    assert!(copied.metric("events_sent_total").await < 1.0, "{}", copied.log());
    assert_eq!(stored::installations(scene.backend.file()), 2);
}
