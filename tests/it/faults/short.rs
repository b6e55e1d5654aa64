//! What the short tests have in common.

use std::time::Duration;

use super::figures;
use super::scene::{Outcome, Scene};
use super::stream::Stream;
use crate::program::Agent;

/// Time between two changes: about as fast as an API server that shares two cores makes them.
pub(super) const PACE: Duration = Duration::from_millis(20);

/// Sets a scene, and begins to watch it.
pub(super) async fn scene() -> (Scene, Agent) {
    let mut scene = Scene::set().await;
    let agent = scene.watched().await;
    (scene, agent)
}

/// Has `fault` happen under a stream of changes, prints its row, and gives what came of it.
pub(super) async fn under_a_stream(
    (scene, agent): &mut (Scene, Agent),
    (file, title): (&str, &str),
    fault: impl AsyncFnOnce(&mut Scene, &mut Agent),
) -> Outcome {
    let stream = Stream::start(scene, PACE);
    fault(scene, agent).await;
    stream.stop().await;
    let outcome = scene.settles().await;
    figures::row(file, title, &outcome);
    outcome
}
