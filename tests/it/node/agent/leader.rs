//! Two replicas: one leads, and the other takes over from it.

use serde_json::json;

use super::{created, running};
use crate::node::figures::Injury;
use crate::node::scene::{Component, Pod, Scene};

/// What happens to the leader.
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
            Self::ContainerKilled => drop(scene.kill_container(leader, "agent")),
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

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn the_other_replica_takes_over_from_a_leader_that_is_killed_or_deleted() {
    let scene = running(&json!({"replicas": 2, "leaseDuration": "5s"})).await;
    let fates = [Fate::ContainerKilled, Fate::PodDeleted, Fate::PodLost];
    for (patch, fate) in (2..).step_by(2).zip(fates) {
        let leader = scene.named(&scene.leader_but(&[""]).await).await;
        scene.tenant(patch, patch).await;
        let injury = Injury::begin(fate.name());
        fate.inflict(&scene, &leader).await;
        scene.tenant(patch + 1, patch + 1).await;
        injury.lost_nothing(&scene, &created(1..=patch + 1)).await;
        if !matches!(fate, Fate::ContainerKilled) {
            scene.leader_but(&["", leader.name()]).await;
        }
        scene.ready(Component::Agent).await;
    }
    let mut leading = Vec::new();
    for pod in scene.pods(Component::Agent).await {
        leading.push(scene.metric(&pod, "kamaji_telemetry_agent_leader").await.unwrap());
    }
    leading.sort_by(f64::total_cmp);
    assert_eq!(leading, [0.0, 1.0], "one of two replicas leads");
}
