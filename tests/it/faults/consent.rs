//! Telemetry is turned off and on again. Changes made meanwhile are never reported.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;

use super::figures;
use super::proxies::{Point, Target};
use super::scene::Scene;
use super::short::PACE;
use super::stream::Stream;
use crate::servers::eventually;

/// Reads the journal as an administrator.
async fn journal(scene: &Scene) -> Option<ConfigMap> {
    let journals: Api<ConfigMap> = Api::namespaced(scene.cluster.admin().clone(), "kamaji-telemetry");
    journals.get_opt("kamaji-telemetry").await.unwrap()
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_rolling_opt_out_restores_nothing() {
    let mut scene = Scene::start().await;
    let mut on = scene.start_agent().await;
    let stream = Stream::start(&scene, PACE);
    scene.wait_for_more_events_than(50).await;
    stream.stop().await;
    scene.wait_until_complete().await;

    // A replica with telemetry off deletes the journal while one with telemetry on writes it.
    scene.end_span().await;
    let mut write = scene.api.hold(Target::JournalWrite, Point::BeforeRequest);
    let number = scene.create("while-rolling").await;
    write.reached().await;
    let off = scene.agent("off").argument("--disable-telemetry").argument("--erase-interval=1s").start().await;
    eventually("the journal to be deleted", async || journal(&scene).await.is_none().then_some(())).await;
    write.pass();
    // The replica that is on may create an empty journal again until it ends.
    assert_eq!(on.terminate().await, Some(0), "{}", on.log());
    eventually("the journal to be deleted", async || journal(&scene).await.is_none().then_some(())).await;

    let stream = Stream::start(&scene, PACE);
    scene.upgrade("while-rolling", number, &[1]).await;
    scene.wait_for_commits(100).await;
    stream.stop().await;
    drop(off);
    assert!(journal(&scene).await.is_none(), "no replica writes while telemetry is off");

    let back = scene.agent("back").start().await;
    scene.baseline(&back).await;
    let stream = Stream::start(&scene, PACE);
    scene.wait_for_more_events_than(scene.event_count() + 50).await;
    stream.stop().await;
    let outcome = scene.wait_until_complete().await;
    figures::row("opt-out", "rolling opt-out, and in again", &outcome);
    assert_eq!(outcome.report.coalesced, 0);
}
