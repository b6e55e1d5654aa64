//! Faults between the agent and the API server.

use http::StatusCode;

use super::figures;
use super::inject::{api_server_goes, watch_breaks, watch_expires};
use super::proxies::{Mode, Target};
use super::scene::Scene;
use super::short::{scene, under_a_stream};
use crate::servers::eventually;

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_api_server_that_restarts_loses_nothing() {
    let mut scene = scene().await;
    let fault = async |scene: &mut _, _: &mut _| api_server_goes(scene).await;
    under_a_stream(&mut scene, ("api-server-down", "API server killed"), fault).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_watch_that_breaks_is_resumed_where_it_broke() {
    let mut scene = scene().await;
    let lists = scene.0.lists();
    let fault = async |scene: &mut Scene, _: &mut _| {
        for _ in 0..3 {
            watch_breaks(scene).await;
        }
    };
    let outcome = under_a_stream(&mut scene, ("watch-cut", "watch cut, three times"), fault).await;
    assert_eq!(outcome.report.coalesced, 0);
    assert_eq!(scene.0.lists(), lists, "it was not listed again");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_watch_whose_place_has_expired_lists_again() {
    let mut scene = scene().await;
    let fault = async |scene: &mut _, _: &mut _| watch_expires(scene).await;
    under_a_stream(&mut scene, ("watch-expired", "resourceVersion expired by a compaction (410)"), fault).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn deletions_that_were_missed_show_in_the_next_list() {
    let (mut scene, _agent) = scene().await;
    let names: Vec<_> = (0..8).map(|number| format!("tenant-{number}")).collect();
    for name in &names {
        scene.creates(name).await;
    }
    scene.settles().await;
    let (lists, outage) = (scene.lists(), scene.outage_begins());
    scene.way_to_api.set(Mode::Refuse);
    for name in &names[..4] {
        scene.cluster.delete(name).await;
    }
    scene.creates(&names[0]).await;
    scene.creates("seen-by-nobody").await;
    scene.cluster.delete("seen-by-nobody").await;
    // The first watch is told that its place has expired, as after a compaction.
    let watches = scene.api.requests(Target::Watch);
    scene.api.answer(Target::Watch, StatusCode::GONE);
    scene.mend();
    eventually("a watch", async || (scene.api.requests(Target::Watch) > watches).then_some(())).await;
    scene.api.pass(Target::Watch);
    scene.outage_ends(outage).await;
    let outcome = scene.settles().await;
    figures::row("relist", "relist with deletes missed", &outcome);
    assert!(scene.lists() > lists, "the watch was resumed");
    assert_eq!(outcome.report.coalesced, 2, "only what came and went unseen");
}
