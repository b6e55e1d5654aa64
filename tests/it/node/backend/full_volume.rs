//! A volume that is full, and then grows while the backend runs.

use std::time::Instant;

use serde_json::json;

use super::fleet::Fleet;
use crate::faults::stored;
use crate::node::figures;
use crate::node::machine::PATIENCE;
use crate::node::scene::{Component, Scene};

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn a_full_volume_refuses_events_which_arrive_once_it_has_grown() {
    let scene = Scene::new().await;
    // A file system of its own, which only the node sees.
    let volume = format!("/var/lib/volumes/{}-store", scene.namespace);
    scene.disk(&format!("volumes/{}-store", scene.namespace));
    scene.inside(&["mount", "-t", "tmpfs", "-o", "size=8m", "store", &volume]).await.unwrap();
    scene.install_backend(&json!({})).await;
    scene.install_agent(&json!({"telemetry": {"endpoint": scene.endpoint()}})).await;
    let fleet = Fleet::new(&scene);
    fleet.create().await;
    accepted(&scene).await;
    let before = scene.pod(Component::Backend).await;

    // It ends with an error, once there is no more space.
    let begun = Instant::now();
    let fill = format!("of={volume}/filler");
    drop(scene.inside(&["dd", "if=/dev/zero", &fill, "bs=4k"]).await);
    fleet.during(failed(&scene)).await;
    fleet.create().await;
    let pod = scene.pod(Component::Backend).await;
    assert!(pod.is_ready(), "its pages are still read");

    scene.inside(&["mount", "-o", "remount,size=64m", &volume]).await.unwrap();
    accepted(&scene).await;
    stored_in_a_backup(&scene, &fleet, &volume).await;
    let (events, seconds) = (fleet.events().len(), begun.elapsed().as_secs_f64());
    figures::write(
        "full-volume",
        &format!("| backend, its volume full and grown | {events} | 0 | 0 | {seconds:.1} s |\n"),
    );
    let after = scene.pod(Component::Backend).await;
    assert_eq!(after.container_id("backend"), before.container_id("backend"), "it was not started again");
    scene.clear_releases().await;
    scene.inside(&["umount", "--lazy", &volume]).await.unwrap();
}

/// Returns the sum of the samples of a metric whose lines begin with `prefix`.
async fn sample(scene: &Scene, component: Component, prefix: &str) -> u64 {
    let metrics = scene.metrics(&scene.pod(component).await).await;
    let values = metrics.lines().filter(|line| line.starts_with(prefix)).filter_map(|line| line.rsplit(' ').next());
    values.map(|value| value.parse::<u64>().unwrap()).sum()
}

/// Waits until the backend has failed to write, and the agent keeps events.
async fn failed(scene: &Scene) {
    scene
        .until("a refused event", async || {
            let failure = "kamaji_telemetry_backend_commits_total{result=\"failure\"}";
            let failures = sample(scene, Component::Backend, failure).await;
            let pending = sample(scene, Component::Agent, "kamaji_telemetry_agent_events_pending").await;
            (failures > 0 && pending > 0).then_some(())
        })
        .await;
}

/// Waits until the agent has no event that is not acknowledged.
async fn accepted(scene: &Scene) {
    scene
        .until("all events to be acknowledged", async || {
            let pod = scene.pod(Component::Agent).await;
            let metrics = scene.metrics(&pod).await;
            metrics.contains("kamaji_telemetry_agent_events_pending 0\n").then_some(())
        })
        .await;
}

/// Waits until the event of each control plane is in a backup, once. The store itself can't be read from outside of the node.
async fn stored_in_a_backup(scene: &Scene, fleet: &Fleet<'_>, volume: &str) {
    let mut expected = fleet.events();
    expected.sort();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    let mut found = Vec::new();
    let complete = async {
        while found.len() < expected.len() {
            scene.backend(&["backup", "/var/lib/kamaji-telemetry/copy.db"]).await.unwrap();
            std::fs::copy(scene.root(&format!("{volume}/copy.db")), &copy).unwrap();
            std::fs::remove_file(scene.root(&format!("{volume}/copy.db"))).unwrap();
            found = stored::read(&copy).iter().map(ToString::to_string).collect();
            found.sort();
        }
    };
    let complete = tokio::time::timeout(PATIENCE, complete).await;
    assert!(complete.is_ok() && found == expected, "stored: {found:?}\nexpected: {expected:?}");
}
