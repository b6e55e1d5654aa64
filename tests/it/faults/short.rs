//! The common parts of the short tests.

use std::time::Duration;

use super::figures;
use super::scene::{Outcome, Scene};
use super::stream::Stream;
use crate::program::Agent;

/// The time between two changes: about as fast as an API server that shares two cores completes them.
pub(super) const PACE: Duration = Duration::from_millis(20);

/// Starts a scene with an agent.
pub(super) async fn start_scene() -> (Scene, Agent) {
    let mut scene = Scene::start().await;
    let agent = scene.start_agent().await;
    (scene, agent)
}

/// Injects `fault` under a stream of changes, prints its row, and returns the outcome.
pub(super) async fn run_under_load(
    (scene, agent): &mut (Scene, Agent),
    (file, title): (&str, &str),
    fault: impl AsyncFnOnce(&mut Scene, &mut Agent),
) -> Outcome {
    let stream = Stream::start(scene, PACE);
    fault(scene, agent).await;
    stream.stop().await;
    let outcome = scene.wait_until_complete().await;
    figures::row(file, title, &outcome);
    outcome
}
