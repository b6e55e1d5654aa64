//! etcd is restored from a backup. The history is then the one up to the backup, and what follows the restore.

use super::figures;
use super::proxies::Target;
use super::scene::{EtcdBackup, Outcome, Scene};
use crate::program::Agent;
use crate::servers::eventually;

/// The line about a watch whose position the API server has not reached.
const LINE: &str = "the API server is behind what was watched";

/// Starts a scene with three control planes and an agent that has reported everything.
async fn start(arguments: &[&'static str]) -> (Scene, Agent) {
    let mut scene = Scene::start().await;
    for name in ["a", "b", "c"] {
        create(&scene, name).await;
    }
    // An API server that has just started may deny the agent what it allows, which turns telemetry off for good after two
    // polls of the operator.
    let intervals = ["--export-interval=2s", "--operator-poll-interval=5s"];
    let options = scene.agent("a");
    let agent = intervals.iter().chain(arguments).fold(options, |options, argument| options.argument(argument));
    let agent = agent.start().await;
    scene.baseline(&agent).await;
    scene.wait_until_complete().await;
    (scene, agent)
}

async fn create(scene: &Scene, name: &str) -> u16 {
    let number = scene.create(name).await;
    scene.cluster.report(name, "Ready").await;
    number
}

/// Makes 60 changes, none of which is written to the journal, and waits until they are counted. After a restore, it takes
/// the API server some time to reach the position of the watch again.
async fn change_statuses(scene: &Scene) {
    for status in ["NotReady", "Sleeping"].repeat(10) {
        for name in ["a", "b", "c"] {
            scene.cluster.report(name, status).await;
        }
    }
    scene.wait_until_counted().await;
}

/// Creates two, deletes one and sets one to not ready, and waits until that is counted and stored.
async fn change_and_compare(scene: &mut Scene) -> Outcome {
    create(scene, "d").await;
    create(scene, "e").await;
    scene.cluster.delete("b").await;
    scene.cluster.report("c", "NotReady").await;
    let outcome = scene.wait_until_complete().await;
    scene.wait_until_counted().await;
    outcome
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_watch_begins_again_where_etcd_was_restored() {
    let (mut scene, agent) = start(&[]).await;
    let backup = scene.back_up("backup").await;
    change_statuses(&scene).await;
    scene.restore(&backup, 0).await;
    let outcome = change_and_compare(&mut scene).await;
    figures::row("etcd-restored", "etcd restored under the agent, after changes of status only", &outcome);
    assert_eq!((outcome.report.stored, outcome.report.coalesced), (3 + 2, 0), "and two marks");
    assert_eq!(agent.log().matches(LINE).count(), 1, "{}", agent.log());
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_server_that_answers_from_behind_for_a_moment_changes_nothing() {
    let (mut scene, agent) = start(&[]).await;
    let lists = scene.lists();
    let reads = scene.api.requests(Target::Position);
    scene.api.answer_from_behind();
    eventually("reads of the position", async || (scene.api.requests(Target::Position) > reads + 1).then_some(()))
        .await;
    let outcome = change_and_compare(&mut scene).await;
    assert_eq!((outcome.report.stored, outcome.report.coalesced), (3 + 2, 0), "and two marks");
    assert_eq!(scene.lists(), lists, "it was not listed again");
    assert_eq!(agent.log().matches(LINE).count(), 0, "{}", agent.log());
}

/// Backs up etcd, and makes changes that are reported and that the restored cluster will not have.
async fn change_after_backup(scene: &mut Scene) -> EtcdBackup {
    let number = create(scene, "upgraded").await;
    create(scene, "deleted").await;
    scene.wait_until_complete().await;
    let backup = scene.back_up("backup").await;
    // The watch has expired with the API server's cache, so that an agent that lists later could miss a change.
    scene.wait_until_delivered().await;
    change_statuses(scene).await;
    create(scene, "undone").await;
    scene.upgrade("upgraded", number, &[1, 2]).await;
    for name in ["deleted", "b"] {
        scene.cluster.delete(name).await;
    }
    scene.wait_until_complete().await;
    scene.wait_until_counted().await;
    backup
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_journal_that_was_restored_with_etcd_is_what_was_reported() {
    // What was acknowledged within 2 s before the backup is in the restored journal, and is sent again.
    let (mut scene, agent) = start(&[]).await;
    let backup = change_after_backup(&mut scene).await;
    scene.restore(&backup, 0).await;
    let outcome = change_and_compare(&mut scene).await;
    figures::row(
        "etcd-and-journal-restored",
        "etcd restored under the agent, after changes that were reported",
        &outcome,
    );
    assert_eq!((outcome.report.stored, outcome.report.coalesced), (3 + 2, 0), "and two marks");
    assert_eq!(agent.log().matches(LINE).count(), 1, "{}", agent.log());
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_restore_with_a_revision_bump_is_noticed_by_the_watch_that_expires() {
    let (mut scene, agent) = start(&[]).await;
    let backup = change_after_backup(&mut scene).await;
    scene.restore(&backup, 500).await;
    let outcome = change_and_compare(&mut scene).await;
    figures::row("etcd-restored-and-bumped", "etcd restored under the agent with a revision bump", &outcome);
    assert_eq!((outcome.report.stored, outcome.report.coalesced), (3 + 2, 0), "and two marks");
    assert_eq!(agent.log().matches(LINE).count(), 0, "{}", agent.log());
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_agent_that_is_down_during_a_restore_continues_from_the_restored_journal() {
    let (mut scene, mut agent) = start(&[]).await;
    let backup = change_after_backup(&mut scene).await;
    agent.kill();
    scene.restore(&backup, 0).await;
    agent.restart().await;
    let outcome = change_and_compare(&mut scene).await;
    figures::row("etcd-restored-while-down", "etcd restored while the agent is down", &outcome);
    assert_eq!((outcome.report.stored, outcome.report.coalesced), (3 + 2, 0), "and two marks");
    assert_eq!(agent.log().matches(LINE).count(), 0, "{}", agent.log());
}
