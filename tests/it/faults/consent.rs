//! Switched off, and on again: what happened meanwhile is never reported.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;

use super::figures;
use super::proxies::{Point, Target};
use super::scene::Scene;
use super::short::PACE;
use super::stream::Stream;
use crate::servers::eventually;

/// The journal, as an administrator sees it.
async fn journal(scene: &Scene) -> Option<ConfigMap> {
    let journals: Api<ConfigMap> = Api::namespaced(scene.cluster.admin().clone(), "kamaji-telemetry");
    journals.get_opt("kamaji-telemetry").await.unwrap()
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_rolling_opt_out_brings_nothing_back() {
    let mut scene = Scene::set().await;
    let mut on = scene.watched().await;
    let stream = Stream::start(&scene, PACE);
    scene.stores_more_than(50).await;
    stream.stop().await;
    scene.settles().await;

    // While the replica that is on writes its journal, one that is off has come and deleted it.
    scene.switched_off().await;
    let mut write = scene.api.hold(Target::JournalWrite, Point::BeforeRequest);
    let number = scene.creates("while-rolling").await;
    write.reached().await;
    let off = scene.agent("off").argument("--disable-telemetry").argument("--erase-interval=1s").start().await;
    eventually("the journal to be deleted", async || journal(&scene).await.is_none().then_some(())).await;
    write.pass();
    // It may bring the journal back, empty, until it goes.
    assert_eq!(on.terminate().await, Some(0), "{}", on.log());
    eventually("the journal to be deleted", async || journal(&scene).await.is_none().then_some(())).await;

    let stream = Stream::start(&scene, PACE);
    scene.upgrades("while-rolling", number, &[1]).await;
    scene.commits(100).await;
    stream.stop().await;
    drop(off);
    assert!(journal(&scene).await.is_none(), "nobody writes while it is off");

    let back = scene.agent("back").start().await;
    scene.baseline(&back).await;
    let stream = Stream::start(&scene, PACE);
    scene.stores_more_than(scene.stored() + 50).await;
    stream.stop().await;
    let outcome = scene.settles().await;
    figures::row("opt-out", "rolling opt-out, and in again", &outcome);
    assert_eq!(outcome.report.coalesced, 0);
}
