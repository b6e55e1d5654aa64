//! A volume that is full, and then grows while the backend runs.

use serde_json::json;

use super::fleet::Fleet;
use crate::faults::stored;
use crate::node::figures::Injury;
use crate::node::machine::PATIENCE;
use crate::node::scene::{Scene, Workload};

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
    let before = scene.pod(Workload::Backend).await;

    // It ends with an error, once there is no more space.
    let injury = Injury::begin("backend, its volume full and grown");
    let fill = format!("of={volume}/filler");
    drop(scene.inside(&["dd", "if=/dev/zero", &fill, "bs=4k"]).await);
    fleet.during(failed(&scene)).await;
    fleet.create().await;
    let pod = scene.pod(Workload::Backend).await;
    assert!(pod.is_ready(), "its pages are still read");

    scene.inside(&["mount", "-o", "remount,size=64m", &volume]).await.unwrap();
    accepted(&scene).await;
    stored_in_a_backup(&scene, &fleet, &volume).await;
    injury.observe(&fleet.events(), async || backed_up(&scene, &volume).await).await;
    let after = scene.pod(Workload::Backend).await;
    assert_eq!(after.container_id("backend"), before.container_id("backend"), "it was not started again");
    scene.clear_releases().await;
    scene.inside(&["umount", "--lazy", &volume]).await.unwrap();
}

/// Returns the sum of the samples of a metric whose lines begin with `prefix`.
async fn sample(scene: &Scene, workload: Workload, prefix: &str) -> u64 {
    let metrics = scene.metrics(&scene.pod(workload).await).await;
    let values = metrics.lines().filter(|line| line.starts_with(prefix)).filter_map(|line| line.rsplit(' ').next());
    values.map(|value| value.parse::<u64>().unwrap()).sum()
}

/// Waits until the backend has failed to write, and the agent keeps events.
async fn failed(scene: &Scene) {
    scene
        .until("a refused event", async || {
            let failure = "kamaji_telemetry_backend_commits_total{result=\"failure\"}";
            let failures = sample(scene, Workload::Backend, failure).await;
            let pending = sample(scene, Workload::Agent, "kamaji_telemetry_agent_events_pending").await;
            (failures > 0 && pending > 0).then_some(())
        })
        .await;
}

/// Waits until the agent has no event that is not acknowledged.
async fn accepted(scene: &Scene) {
    scene
        .until("all events to be acknowledged", async || {
            let pod = scene.pod(Workload::Agent).await;
            let metrics = scene.metrics(&pod).await;
            metrics.contains("kamaji_telemetry_agent_events_pending 0\n").then_some(())
        })
        .await;
}

/// Returns the events in a new backup, sorted. The store itself can't be read from outside of the node.
async fn backed_up(scene: &Scene, volume: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    scene.backend(&["backup", "/var/lib/kamaji-telemetry/copy.db"]).await.unwrap();
    std::fs::copy(scene.root(&format!("{volume}/copy.db")), &copy).unwrap();
    std::fs::remove_file(scene.root(&format!("{volume}/copy.db"))).unwrap();
    let mut events: Vec<_> = stored::read(&copy).iter().map(ToString::to_string).collect();
    events.sort();
    events
}

/// Waits until the event of each control plane is in a backup, once.
async fn stored_in_a_backup(scene: &Scene, fleet: &Fleet<'_>, volume: &str) {
    let mut expected = fleet.events();
    expected.sort();
    let mut found = Vec::new();
    let complete = async {
        while found.len() < expected.len() {
            found = backed_up(scene, volume).await;
        }
    };
    let complete = tokio::time::timeout(PATIENCE, complete).await;
    assert!(complete.is_ok() && found == expected, "stored: {found:?}\nexpected: {expected:?}");
}
