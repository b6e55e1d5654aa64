//! Faults between the agent and the API server.

use http::StatusCode;

use super::figures;
use super::inject::{break_watch, expire_watch, restart_api_server};
use super::proxies::{Mode, Target};
use super::scene::Scene;
use super::short::{run_under_load, start_scene};
use crate::servers::eventually;

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_api_server_that_restarts_loses_nothing() {
    let mut scene = start_scene().await;
    let fault = async |scene: &mut _, _: &mut _| restart_api_server(scene).await;
    run_under_load(&mut scene, ("api-server-down", "API server killed"), fault).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_watch_that_breaks_is_resumed_where_it_broke() {
    let mut scene = start_scene().await;
    let lists = scene.0.lists();
    let fault = async |scene: &mut Scene, _: &mut _| {
        for _ in 0..3 {
            break_watch(scene).await;
        }
    };
    let outcome = run_under_load(&mut scene, ("watch-cut", "watch cut, three times"), fault).await;
    assert_eq!(outcome.report.coalesced, 0);
    assert_eq!(scene.0.lists(), lists, "it was not listed again");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_watch_whose_version_has_expired_lists_again() {
    let mut scene = start_scene().await;
    let fault = async |scene: &mut _, _: &mut _| expire_watch(scene).await;
    run_under_load(&mut scene, ("watch-expired", "resourceVersion expired by a compaction (410)"), fault).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn deletions_that_were_missed_show_in_the_next_list() {
    let (mut scene, _agent) = start_scene().await;
    let names: Vec<_> = (0..8).map(|number| format!("tenant-{number}")).collect();
    for name in &names {
        scene.create(name).await;
    }
    scene.wait_until_complete().await;
    let (lists, outage) = (scene.lists(), scene.begin_outage());
    scene.api_connections.set_mode(Mode::Refuse);
    for name in &names[..4] {
        scene.cluster.delete(name).await;
    }
    scene.create(&names[0]).await;
    scene.create("seen-by-nobody").await;
    scene.cluster.delete("seen-by-nobody").await;
    // The first watch receives the error of an expired version, as after a compaction.
    let watches = scene.api.requests(Target::Watch);
    scene.api.respond_with(Target::Watch, StatusCode::GONE);
    scene.repair_network();
    eventually("a watch", async || (scene.api.requests(Target::Watch) > watches).then_some(())).await;
    scene.api.pass(Target::Watch);
    scene.end_outage(outage).await;
    let outcome = scene.wait_until_complete().await;
    figures::row("relist", "relist with deletes missed", &outcome);
    assert!(scene.lists() > lists, "the watch was resumed");
    assert_eq!(outcome.report.coalesced, 2, "only what came and went unseen");
}
