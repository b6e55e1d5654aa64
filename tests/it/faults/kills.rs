//! The agent is killed repeatedly, at every point in the delivery of an event.

use std::collections::BTreeMap;

use super::figures;
use super::inject::{KillPoint, kill, kill_twice, restart_and_kill};
use super::proxies::{Point, Target};
use super::scene::Scene;
use super::short::{PACE, start_scene};
use super::stream::Stream;

/// The number of kills, as documented: a quarter at each point, and a quarter at random.
const KILLS: usize = 20;

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_agent_that_is_killed_loses_and_repeats_nothing() {
    let (mut scene, mut agent) = start_scene().await;
    let mut falls = BTreeMap::<KillPoint, usize>::new();
    let stream = Stream::start(&scene, PACE);
    for number in 0..KILLS {
        let fell = kill(&mut scene, &mut agent, KillPoint::ALL.get(number % 4).copied()).await;
        *falls.entry(fell).or_default() += 1;
    }
    stream.stop().await;
    let outcome = scene.wait_until_complete().await;
    let [before, between, after] = KillPoint::ALL.map(|fell| falls.get(&fell).copied().unwrap_or_default());
    let title = format!(
        "agent killed {KILLS} times: {before} before the write, {between} between write and send, {after} between send \
         and acknowledgement"
    );
    figures::row("kills", &title, &outcome);
    assert!([before, between, after].iter().all(|kills| *kills >= KILLS / 10), "{falls:?}");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_agent_that_is_killed_as_its_term_begins_loses_and_repeats_nothing() {
    let (mut scene, mut agent) = start_scene().await;
    let stream = Stream::start(&scene, PACE);
    for _ in 0..3 {
        kill_twice(&mut scene, &mut agent).await;
    }
    stream.stop().await;
    let outcome = scene.wait_until_complete().await;
    figures::row("kills-at-start", "agent killed, and again as its term begins, 3 times", &outcome);
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_baseline_that_is_interrupted_is_taken_again() {
    let mut scene = Scene::start().await;
    for number in 0..3 {
        scene.create(&format!("before-{number}")).await;
    }
    // Its first write creates the journal, the second opens it, and the third holds the baseline.
    let mut first = scene.api.hold(Target::JournalWrite, Point::BeforeResponse);
    let mut agent = scene.agent("a").start().await;
    first.reached().await;
    agent.kill();
    drop(first);
    for point in [Point::BeforeRequest, Point::BeforeResponse] {
        restart_and_kill(&scene, &mut agent, point).await;
        let mut opening = scene.api.hold(Target::JournalWrite, Point::BeforeResponse);
        agent.restart().await;
        opening.reached().await;
        let mut baseline = scene.api.hold(Target::JournalWrite, point);
        opening.pass();
        baseline.reached().await;
        agent.kill();
    }
    agent.restart().await;
    scene.baseline(&agent).await;
    scene.cluster.delete("before-0").await;
    scene.create("after").await;
    let outcome = scene.wait_until_complete().await;
    figures::row("kills-at-baseline", "agent killed before and after each write of its first baseline", &outcome);
    assert_eq!((outcome.report.stored, outcome.report.coalesced), (2 + 2, 0));
}
