//! Two agents, one Lease.

use super::figures;
use super::inject::kill;
use super::proxies::{Point, Target};
use super::scene::Scene;
use super::short::PACE;
use super::stream::Stream;
use crate::program::Agent;
use crate::servers::eventually;

/// How long the Lease lasts here: a leader that gets no processor time for a quarter of it, as among other tests, leads on.
const LEASE: &str = "--lease-duration=8s";

async fn replica(scene: &Scene, identity: &str) -> Agent {
    scene.agent(identity).argument("--leader-elect").argument(LEASE).start().await
}

/// A scene in which the first agent leads and the second waits.
async fn two() -> (Scene, Agent, Agent) {
    let mut scene = Scene::set().await;
    let first = replica(&scene, "first").await;
    first.leads().await;
    scene.baseline(&first).await;
    let second = replica(&scene, "second").await;
    second.ready().await;
    assert!(!second.is_leader().await);
    (scene, first, second)
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_frozen_leader_that_wakes_changes_nothing() {
    let (mut scene, mut leader, mut other) = two().await;
    let stream = Stream::start(&scene, PACE);
    for _ in 0..2 {
        scene.stores_more_than(scene.stored() + 10).await;
        // It sleeps with a write on its way.
        let mut late = scene.api.hold(Target::JournalWrite, Point::BeforeRequest);
        late.reached().await;
        leader.signal("STOP");
        let outage = scene.outage_begins();
        other.leads().await;
        scene.outage_ends(outage).await;

        // That arrives when another one leads, which crashes before it writes again: what it starts with is what it
        // had written.
        let mut next = scene.api.hold(Target::JournalWrite, Point::BeforeRequest);
        next.reached().await;
        let writes = scene.journal_writes();
        late.pass();
        eventually("the late write to arrive", async || (scene.journal_writes() > writes).then_some(())).await;
        other.kill();
        drop(next);
        let outage = scene.outage_begins();
        other.restart().await;
        scene.outage_ends(outage).await;

        leader.signal("CONT");
        eventually("the old leader to see that it is none", async || (!leader.is_leader().await).then_some(())).await;
        scene.passes().await;
        (leader, other) = (other, leader);
    }
    stream.stop().await;
    let outcome = scene.settles().await;
    figures::row("frozen-leader", "leader frozen, another takes over and crashes, the old one wakes, twice", &outcome);
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn versions_that_change_while_the_leader_is_frozen_become_one_change() {
    let (mut scene, first, second) = two().await;
    let number = scene.creates("tenant").await;
    scene.settles().await;
    let outage = scene.outage_begins();
    first.signal("STOP");
    scene.upgrades("tenant", number, &[1, 2]).await;
    second.leads().await;
    scene.outage_ends(outage).await;
    first.signal("CONT");
    scene.passes().await;
    let outcome = scene.settles().await;
    figures::row("frozen-leader-abc", "leader frozen, A→B→C, another takes over", &outcome);
    // Two mark the takeover's end, one its aftermath, and two that all has settled.
    assert_eq!((outcome.report.stored, outcome.report.coalesced), (1 + 5, 1));
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_leader_that_goes_in_order_or_crashes_hands_over() {
    let (mut scene, mut first, second) = two().await;
    let stream = Stream::start(&scene, PACE);
    // A crash of the same container: the Lease is still its own.
    kill(&mut scene, &mut first, None).await;
    assert!(!second.is_leader().await);
    // A rollout: the Lease is released.
    let outage = scene.outage_begins();
    assert_eq!(first.terminate().await, Some(0), "{}", first.log());
    second.leads().await;
    scene.outage_ends(outage).await;
    stream.stop().await;
    let outcome = scene.settles().await;
    figures::row("handover", "leader killed and back, then rolled out", &outcome);
}
