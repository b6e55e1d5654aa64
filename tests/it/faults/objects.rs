//! Changes of control planes that are easily misread.

use futures::{StreamExt, stream};
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;

use super::figures;
use super::proxies::Mode;
use super::scene::{Scene, version};
use super::short::start_scene;
use crate::servers::{eventually, fixture, tcp};

/// The number of concurrent requests of the administrator: enough to keep the API server busy.
const CONCURRENT_REQUESTS: usize = 16;

/// The capacity of the agent's outbox.
const OUTBOX_CAPACITY: u16 = 5_000;

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn repeated_upgrades_and_downgrades_are_all_reported() {
    let (mut scene, mut agent) = start_scene().await;
    let number = scene.create("tenant").await;
    scene.upgrade("tenant", number, &[1, 0, 1]).await;
    let outcome = scene.wait_until_complete().await;
    figures::row("there-and-back", "A→B, B→A, A→B", &outcome);
    assert_eq!((outcome.report.stored, outcome.report.coalesced), (4 + 2, 0));

    let outage = scene.begin_outage();
    agent.kill();
    scene.upgrade("tenant", number, &[0, 1]).await;
    agent.restart().await;
    scene.end_outage(outage).await;
    let outcome = scene.wait_until_complete().await;
    figures::row("there-and-back-unseen", "B→A, A→B while the agent is down", &outcome);
    assert_eq!((outcome.report.stored, outcome.report.coalesced), (4, 2), "four marks, and nothing else");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_name_that_is_used_again_is_another_control_plane() {
    let (mut scene, mut agent) = start_scene().await;
    for _ in 0..20 {
        scene.create("tenant").await;
        scene.cluster.delete("tenant").await;
    }
    scene.create("tenant").await;
    let outcome = scene.wait_until_complete().await;
    figures::row("recreated", "deleted and recreated under the same name, 20 times", &outcome);
    assert_eq!((outcome.report.stored, outcome.report.coalesced), (41 + 2, 0));

    let outage = scene.begin_outage();
    agent.kill();
    scene.cluster.delete("tenant").await;
    scene.create("tenant").await;
    agent.restart().await;
    scene.end_outage(outage).await;
    let outcome = scene.wait_until_complete().await;
    figures::row("recreated-unseen", "deleted and recreated while the agent is down", &outcome);
    assert_eq!((outcome.report.stored, outcome.report.coalesced), (2 + 4, 0));
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_unreadable_control_plane_does_not_hide_the_others() {
    let mut scene = Scene::start_with(&lenient_definition()).await;
    create_many(&scene, 500).await;
    create_unreadable(&scene, "unreadable-before").await;
    let agent = scene.start_agent().await;
    create_unreadable(&scene, "unreadable-after").await;
    create_many(&scene, 500).await;
    let readable = scene.numbers().next();
    scene.upgrade("unreadable-after", readable, &[0, 1]).await;
    scene.cluster.delete("unreadable-before").await;
    let outcome = scene.wait_until_complete().await;
    figures::row("unreadable", "one that can't be decoded among 1,000", &outcome);
    // One that could not be read at the baseline was there, at a version that is not known.
    assert_eq!((outcome.report.stored, outcome.report.coalesced), (500 + 2 + 1 + 2, 0));
    assert_eq!(agent.log().matches("failed to read a control plane").count(), 2, "each is named once: {}", agent.log());
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_burst_beyond_the_outbox_coalesces_and_loses_nothing() {
    let (mut scene, agent) = start_scene().await;
    let outage = scene.begin_outage();
    // Nothing is acknowledged, so that the outbox fills up whatever the pace.
    scene.relay_connections.set_mode(Mode::HoldResponses);
    create_many(&scene, OUTBOX_CAPACITY + 500).await;
    let of_tenants = ListParams::default();
    scene.cluster.tcps().delete_collection(&DeleteParams::default(), &of_tenants).await.unwrap();
    eventually("the outbox to be full", async || {
        (agent.metric("events_pending").await >= f64::from(OUTBOX_CAPACITY)).then_some(())
    })
    .await;
    scene.repair_network();
    scene.end_outage(outage).await;
    let outcome = scene.wait_until_complete().await;
    figures::row("burst", "5,500 made and deleted at once, beyond the outbox", &outcome);
    assert!(
        outcome.report.stored >= usize::from(OUTBOX_CAPACITY),
        "what was in the outbox was sent: {}",
        outcome.report
    );
}

/// Returns the definition of a control plane that allows any content.
fn lenient_definition() -> String {
    let mut definition: serde_json::Value = serde_yaml_ng::from_str(&fixture("tenantcontrolplanes.yaml")).unwrap();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] =
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    definition.to_string()
}

async fn create_many(scene: &Scene, count: u16) {
    let creations = stream::iter(0..count).map(|_| async {
        let number = scene.numbers().next();
        let tcp = tcp(&format!("tenant-{number}")).version(&version(number, 0)).object();
        scene.cluster.tcps().create(&PostParams::default(), &tcp).await.unwrap();
    });
    creations.buffer_unordered(CONCURRENT_REQUESTS).collect::<()>().await;
}

async fn create_unreadable(scene: &Scene, name: &str) {
    let mut object = tcp(name).object();
    object.data["spec"]["kubernetes"]["version"] = json!({"major": 1});
    scene.cluster.tcps().create(&PostParams::default(), &object).await.unwrap();
}
