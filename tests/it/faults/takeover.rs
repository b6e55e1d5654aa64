//! Two agents with one Lease.

use super::figures;
use super::inject::kill;
use super::proxies::{Point, Target};
use super::scene::Scene;
use super::short::PACE;
use super::stream::Stream;
use crate::program::Agent;
use crate::servers::eventually;

/// The duration of the Lease: a leader stays leader if it gets no processor time for a quarter of it, as beside other
/// tests.
const LEASE: &str = "--lease-duration=8s";

async fn replica(scene: &Scene, identity: &str) -> Agent {
    scene.agent(identity).argument("--leader-elect").argument(LEASE).start().await
}

/// Starts a scene in which the first agent is the leader and the second waits.
async fn start_replicas() -> (Scene, Agent, Agent) {
    let mut scene = Scene::start().await;
    let first = replica(&scene, "first").await;
    first.wait_until_leader().await;
    scene.baseline(&first).await;
    let second = replica(&scene, "second").await;
    second.ready().await;
    assert!(!second.is_leader().await);
    (scene, first, second)
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_frozen_leader_that_wakes_changes_nothing() {
    let (mut scene, mut leader, mut other) = start_replicas().await;
    let stream = Stream::start(&scene, PACE);
    for _ in 0..2 {
        scene.wait_for_more_events_than(scene.event_count() + 10).await;
        // The leader is frozen with a write in flight.
        let mut late_write = scene.api.hold(Target::JournalWrite, Point::BeforeRequest);
        late_write.reached().await;
        leader.signal("STOP");
        let outage = scene.begin_outage();
        other.wait_until_leader().await;
        scene.end_outage(outage).await;

        // The write arrives when another replica is the leader. That one crashes before its next write, so that it
        // starts again with its own last state.
        let mut next = scene.api.hold(Target::JournalWrite, Point::BeforeRequest);
        next.reached().await;
        let writes = scene.journal_writes();
        late_write.pass();
        eventually("the late write to arrive", async || (scene.journal_writes() > writes).then_some(())).await;
        other.kill();
        drop(next);
        let outage = scene.begin_outage();
        other.restart().await;
        scene.end_outage(outage).await;

        leader.signal("CONT");
        eventually("the old leader to notice its loss", async || (!leader.is_leader().await).then_some(())).await;
        scene.wait_until_delivered().await;
        (leader, other) = (other, leader);
    }
    stream.stop().await;
    let outcome = scene.wait_until_complete().await;
    figures::row("frozen-leader", "leader frozen, another takes over and crashes, the old one wakes, twice", &outcome);
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn versions_that_change_while_the_leader_is_frozen_become_one_change() {
    let (mut scene, first, second) = start_replicas().await;
    let number = scene.create("tenant").await;
    scene.wait_until_complete().await;
    let outage = scene.begin_outage();
    first.signal("STOP");
    scene.upgrade("tenant", number, &[1, 2]).await;
    second.wait_until_leader().await;
    scene.end_outage(outage).await;
    first.signal("CONT");
    scene.wait_until_delivered().await;
    let outcome = scene.wait_until_complete().await;
    figures::row("frozen-leader-abc", "leader frozen, A→B→C, another takes over", &outcome);
    // The markers: two at the end of the takeover, one after it, and two of the final comparison.
    assert_eq!((outcome.report.stored, outcome.report.coalesced), (1 + 5, 1));
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_leader_that_ends_or_crashes_hands_over() {
    let (mut scene, mut first, second) = start_replicas().await;
    let stream = Stream::start(&scene, PACE);
    // A crash of the same container: the Lease is still its own.
    kill(&mut scene, &mut first, None).await;
    assert!(!second.is_leader().await);
    // A rollout: the Lease is released.
    let outage = scene.begin_outage();
    assert_eq!(first.terminate().await, Some(0), "{}", first.log());
    second.wait_until_leader().await;
    scene.end_outage(outage).await;
    stream.stop().await;
    let outcome = scene.wait_until_complete().await;
    figures::row("handover", "leader killed and back, then rolled out", &outcome);
}
