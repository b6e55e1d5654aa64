//! Between the agent and the backend: what is observed is kept until it is stored, so that nothing is coalesced.

use std::time::Duration;

use super::figures;
use super::proxies::Mode;
use super::scene::Scene;
use super::stream::Stream;

/// Time between two changes: about as fast as an API server that shares two cores makes them.
const PACE: Duration = Duration::from_millis(20);

/// How many events a fault is to meet.
const SOME: usize = 20;

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn without_a_fault_every_change_is_stored() {
    let mut scene = Scene::set().await;
    let _agent = scene.watched().await;
    let stream = Stream::start(&scene, PACE);
    scene.stores_more_than(200).await;
    stream.stop().await;
    let outcome = scene.settles().await;
    figures::row("none", "none", &outcome);
    assert_eq!(outcome.report.coalesced, 0);
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_relay_that_fails_loses_nothing() {
    let mut scene = Scene::set().await;
    let _agent = scene.watched().await;
    for (file, fault, mode) in [
        ("relay-refuses", "relay refuses connections", Mode::Refuse),
        ("relay-resets", "relay resets connections", Mode::Reset),
        ("relay-slow", "relay answers 300 ms late", Mode::Slow(Duration::from_millis(300))),
    ] {
        let stream = Stream::start(&scene, PACE);
        scene.stores_more_than(scene.stored() + SOME).await;
        scene.way_to_relay.set(mode);
        if matches!(mode, Mode::Slow(_)) {
            scene.stores_more_than(scene.stored() + SOME).await;
        } else {
            scene.way_to_relay.tried(3).await;
        }
        stream.stop().await;
        scene.mend();
        let outcome = scene.settles().await;
        figures::row(file, fault, &outcome);
        assert_eq!(outcome.report.coalesced, 0, "{fault}");
    }
}
