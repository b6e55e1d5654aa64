//! Two replicas: one leads, and the other takes over from it.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::created;
use crate::node::figures::Injury;
use crate::node::scene::{Pod, Scene, Workload};

/// A failure of the leader.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// Its container is killed. The pod keeps the Lease if it is back before that expires.
    ContainerKilled,
    /// It is deleted, and releases the Lease.
    PodDeleted,
    /// It is killed in one instant with its sandbox, and deleted without waiting for the kubelet. The Lease expires.
    PodLost,
}

impl Fate {
    fn name(self) -> &'static str {
        match self {
            Self::ContainerKilled => "kill -9 of the leader's container",
            Self::PodDeleted => "leader's pod deleted",
            Self::PodLost => "leader's pod killed and deleted by force",
        }
    }

    async fn inflict(self, scene: &Scene, leader: &Pod) {
        match self {
            Self::ContainerKilled => scene.kill_container(leader, "agent"),
            Self::PodDeleted => {
                scene.in_namespace(&["delete", "pod", leader.name(), "--wait=false"]).await.unwrap();
            }
            Self::PodLost => {
                scene.kill_pod(leader);
                let force = ["delete", "pod", leader.name(), "--force", "--grace-period=0"];
                scene.in_namespace(&force).await.unwrap();
            }
        }
    }
}

/// The part of the Lease's duration after which another replica may take it, if it was not renewed, in tenths.
const EXPIRY_TENTHS: i32 = 8;

/// Returns the spec of the Lease.
async fn lease(scene: &Scene) -> Option<Value> {
    Some(scene.object(&["lease", "kamaji-telemetry"]).await?["spec"].clone())
}

/// Waits until another pod than `leader` holds the Lease, whose spec was `last`, and returns whether the leader released it: then
/// it had no holder for a moment, or was acquired before it could expire.
async fn released(scene: &Scene, last: &Value, leader: &str) -> bool {
    let (mut last, mut had_no_holder) = (last.clone(), false);
    let next = scene
        .until("another leader", async || {
            let spec = lease(scene).await?;
            match spec["holderIdentity"].as_str().unwrap_or_default() {
                "" => had_no_holder = true,
                holder if holder == leader => last = spec,
                _ => return Some(spec),
            }
            None
        })
        .await;
    let time = |time: &Value| time.as_str().unwrap().parse::<Timestamp>().unwrap();
    let expiry = SignedDuration::from_secs(last["leaseDurationSeconds"].as_i64().unwrap()) * EXPIRY_TENTHS / 10;
    had_no_holder || time(&next["acquireTime"]) < time(&last["renewTime"]) + expiry
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn the_other_replica_takes_over_from_a_leader_that_is_killed_or_deleted() {
    let scene = Scene::running(&json!({"replicas": 2, "leaseDuration": "5s"})).await;
    let fates = [Fate::ContainerKilled, Fate::PodDeleted, Fate::PodLost];
    for (patch, fate) in (2..).step_by(2).zip(fates) {
        let leader = scene.named(&scene.leader_but(&[""]).await).await;
        scene.tenant(patch, patch).await;
        let injury = Injury::begin(fate.name());
        let before = lease(&scene).await.unwrap();
        fate.inflict(&scene, &leader).await;
        let tenant = scene.tenant(patch + 1, patch + 1);
        if matches!(fate, Fate::ContainerKilled) {
            tenant.await;
        } else {
            let (was_released, ()) = tokio::join!(released(&scene, &before, leader.name()), tenant);
            assert_eq!(was_released, matches!(fate, Fate::PodDeleted), "{fate:?}: the Lease was released");
        }
        injury.lost_nothing(&scene, &created(1..=patch + 1)).await;
        scene.ready(Workload::Agent).await;
    }
    let mut leading = Vec::new();
    for pod in scene.pods(Workload::Agent).await {
        leading.push(scene.metric(&pod, "kamaji_telemetry_agent_leader").await.unwrap());
    }
    leading.sort_by(f64::total_cmp);
    assert_eq!(leading, [0.0, 1.0], "one of two replicas leads");
}
