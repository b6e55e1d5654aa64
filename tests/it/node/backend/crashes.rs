//! A backend whose pod is killed, frozen, or deleted by force: no acknowledged event is lost, and none is repeated.

use rustix::process::Signal;
use serde_json::json;

use super::fleet::Fleet;
use crate::node::figures::Injury;
use crate::node::machine::kill;
use crate::node::scene::{Pod, Scene, Workload};

const BACKEND: Workload = Workload::Backend;

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn a_backend_whose_pod_is_killed_or_deleted_by_force_loses_and_repeats_no_event() {
    let scene = Scene::new().await;
    let fleet = Fleet::with(&scene, &json!({}), &json!({})).await;

    let pod = scene.pod(BACKEND).await;
    let injury = Injury::begin("backend, its pod killed");
    fleet
        .during(async {
            scene.kill_pod(&pod);
            scene.started_again(BACKEND, &pod, &["backend"]).await;
        })
        .await;
    fleet.lost_nothing(injury).await;

    // The StatefulSet makes another pod at once, while the kubelet still ends the first one.
    let pod = scene.pod(BACKEND).await;
    let delete = ["delete", "pod", pod.name(), "--grace-period=0", "--force"];
    let injury = Injury::begin("backend, its pod deleted by force");
    fleet
        .during(async {
            scene.in_namespace(&delete).await.unwrap();
            another(&scene, &pod).await;
        })
        .await;
    fleet.lost_nothing(injury).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn a_frozen_backend_is_found_by_its_probe_and_loses_no_event() {
    let scene = Scene::new().await;
    // A frozen process ignores the request to end, so that the kubelet waits for all of this, which is the shortest.
    let backend = json!({"terminationGracePeriodSeconds": 11});
    let fleet = Fleet::with(&scene, &backend, &json!({})).await;
    let pod = scene.pod(BACKEND).await;
    let injury = Injury::begin("backend, frozen");
    kill(&scene.processes(&pod.container_id("backend")), Signal::STOP);
    fleet.during(scene.started_again(BACKEND, &pod, &["backend"])).await;
    fleet.lost_nothing(injury).await;
    let after = scene.pod(BACKEND).await;
    assert_eq!((after.uid(), after.restarts("backend")), (pod.uid(), pod.restarts("backend") + 1));
    let killed = scene.warnings().await;
    assert!(killed.iter().any(|warning| warning.starts_with("Unhealthy: Liveness probe failed")), "{killed:#?}");
}

/// Waits until another pod is ready.
async fn another(scene: &Scene, before: &Pod) {
    scene
        .until("another pod of the backend", async || {
            let pod = scene.pod(BACKEND).await;
            (pod.uid() != before.uid() && pod.is_ready()).then_some(())
        })
        .await;
}
