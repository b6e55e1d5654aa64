//! A proxy between the agent and the API server that holds responses back until they are complete.

use http::StatusCode;

use super::inject::reject_journal_writes;
use super::proxies::Target;
use super::scene::Scene;
use super::short::run_under_load;

/// The line about a list or watch that brought nothing.
const LINE: &str = "a watch brought nothing in time";

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_streamed_list_that_is_held_back_is_listed_in_pages() {
    let mut scene = Scene::start().await;
    scene.api.buffer(Target::StreamedList);
    scene.create("before").await;
    let agent = scene.start_agent().await;
    let mut scene = (scene, agent);
    // A new term lists again.
    let fault = async |scene: &mut Scene, _: &mut _| reject_journal_writes(scene, StatusCode::CONFLICT).await;
    run_under_load(&mut scene, ("list-held-back", "list held back by a proxy"), fault).await;
    let (scene, agent) = scene;
    assert_eq!(scene.api.requests(Target::StreamedList), 1, "it was not tried again");
    assert_eq!(agent.log().matches(LINE).count(), 1, "{}", agent.log());
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn watches_that_are_held_back_are_made_in_short_requests() {
    let mut scene = Scene::start().await;
    for target in [Target::StreamedList, Target::Watch] {
        scene.api.buffer(target);
    }
    scene.create("before").await;
    let agent = scene.start_agent().await;
    let mut scene = (scene, agent);
    let fault = async |scene: &mut Scene, _: &mut _| scene.wait_for_more_events_than(50).await;
    let outcome = run_under_load(&mut scene, ("watches-held-back", "every watch held back by a proxy"), fault).await;
    assert_eq!(outcome.report.coalesced, 0, "each change is watched");
}
