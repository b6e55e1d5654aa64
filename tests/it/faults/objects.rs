//! Control planes that come and go, and change, in ways that are easily mistaken.

use futures::{StreamExt, stream};
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;

use super::figures;
use super::proxies::Mode;
use super::scene::{Scene, version};
use super::short::scene;
use crate::servers::{eventually, fixture, tcp};

/// How many requests an administrator has under way at once: enough to keep the API server busy.
const AT_ONCE: usize = 16;

/// What the agent's outbox holds at the most.
const OUTBOX: u16 = 5_000;

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn versions_that_go_there_and_back_are_all_reported() {
    let (mut scene, mut agent) = scene().await;
    let number = scene.creates("tenant").await;
    scene.upgrades("tenant", number, &[1, 0, 1]).await;
    let outcome = scene.settles().await;
    figures::row("there-and-back", "A→B, B→A, A→B", &outcome);
    assert_eq!((outcome.report.stored, outcome.report.coalesced), (4 + 2, 0));

    let outage = scene.outage_begins();
    agent.kill();
    scene.upgrades("tenant", number, &[0, 1]).await;
    agent.restart().await;
    scene.outage_ends(outage).await;
    let outcome = scene.settles().await;
    figures::row("there-and-back-unseen", "B→A, A→B while the agent is down", &outcome);
    assert_eq!((outcome.report.stored, outcome.report.coalesced), (4, 2), "four marks, and nothing else");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_name_that_is_used_again_is_another_control_plane() {
    let (mut scene, mut agent) = scene().await;
    for _ in 0..20 {
        scene.creates("tenant").await;
        scene.cluster.delete("tenant").await;
    }
    scene.creates("tenant").await;
    let outcome = scene.settles().await;
    figures::row("recreated", "deleted and recreated under the same name, 20 times", &outcome);
    assert_eq!((outcome.report.stored, outcome.report.coalesced), (41 + 2, 0));

    let outage = scene.outage_begins();
    agent.kill();
    scene.cluster.delete("tenant").await;
    scene.creates("tenant").await;
    agent.restart().await;
    scene.outage_ends(outage).await;
    let outcome = scene.settles().await;
    figures::row("recreated-unseen", "deleted and recreated while the agent is down", &outcome);
    assert_eq!((outcome.report.stored, outcome.report.coalesced), (2 + 4, 0));
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn one_that_cannot_be_read_does_not_hide_the_others() {
    let mut scene = Scene::set_with(&lenient_definition()).await;
    create_many(&scene, 500).await;
    create_unreadable(&scene, "unreadable-before").await;
    let agent = scene.watched().await;
    create_unreadable(&scene, "unreadable-after").await;
    create_many(&scene, 500).await;
    let readable = scene.numbers().next();
    scene.upgrades("unreadable-after", readable, &[0, 1]).await;
    scene.cluster.delete("unreadable-before").await;
    let outcome = scene.settles().await;
    figures::row("unreadable", "one that can't be decoded among 1,000", &outcome);
    // One that could not be read at the baseline was there, at a version that is not known.
    assert_eq!((outcome.report.stored, outcome.report.coalesced), (500 + 2 + 1 + 2, 0));
    assert_eq!(agent.log().matches("can't be read").count(), 2, "each is named once: {}", agent.log());
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_burst_beyond_the_outbox_coalesces_and_loses_nothing() {
    let (mut scene, agent) = scene().await;
    let outage = scene.outage_begins();
    // Nothing is acknowledged, so that the outbox fills up whatever the pace.
    scene.way_to_relay.set(Mode::HoldAnswers);
    create_many(&scene, OUTBOX + 500).await;
    let of_tenants = ListParams::default();
    scene.cluster.tcps().delete_collection(&DeleteParams::default(), &of_tenants).await.unwrap();
    eventually("the outbox to be full", async || {
        (agent.account("events_pending").await >= f64::from(OUTBOX)).then_some(())
    })
    .await;
    scene.mend();
    scene.outage_ends(outage).await;
    let outcome = scene.settles().await;
    figures::row("burst", "5,500 made and deleted at once, beyond the outbox", &outcome);
    assert!(outcome.report.stored >= usize::from(OUTBOX), "what was in the outbox was sent: {}", outcome.report);
}

/// The definition with any content.
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
    creations.buffer_unordered(AT_ONCE).collect::<()>().await;
}

async fn create_unreadable(scene: &Scene, name: &str) {
    let mut object = tcp(name).object();
    object.data["spec"]["kubernetes"]["version"] = json!({"major": 1});
    scene.cluster.tcps().create(&PostParams::default(), &object).await.unwrap();
}
