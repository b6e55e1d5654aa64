//! Evictions, as `kubectl drain` asks for them.

use serde_json::json;

use super::created;
use crate::node::figures::Injury;
use crate::node::scene::{Scene, Workload};

async fn evict(scene: &Scene, pod: &str) -> Result<String, String> {
    let metadata = json!({"name": pod, "namespace": scene.namespace});
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata});
    let file = scene.file("eviction.json", &eviction.to_string());
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/eviction", scene.namespace);
    scene.kubectl(&["create", "--raw", &path, "--filename", &file]).await
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn of_two_replicas_one_is_evicted_at_a_time_and_no_event_is_lost() {
    let scene = Scene::running(&json!({"replicas": 2, "leaseDuration": "5s"})).await;
    let leader = scene.leader_but(&[""]).await;
    let pods = scene.pods(Workload::Agent).await;
    let [one, two] = &pods[..] else { panic!("two replicas: {pods:?}") };
    let other = if one.name() == leader { two.name() } else { one.name() };
    scene
        .until("the budget to allow an eviction", async || {
            let budget = scene.object(&["poddisruptionbudget", Workload::Agent.name()]).await?;
            (budget["status"]["disruptionsAllowed"] == 1).then_some(())
        })
        .await;
    scene.tenant(2, 2).await;
    let injury = Injury::begin("both replicas evicted");
    evict(&scene, &leader).await.unwrap();
    let refused = evict(&scene, other).await.unwrap_err();
    assert!(refused.contains("violate the pod's disruption budget"), "{refused}");
    scene.tenant(3, 3).await;
    scene.created(1..=3).await;
    // Once the pod that replaces the first is ready, the second may go.
    scene.until("the second eviction", async || evict(&scene, other).await.ok()).await;
    scene.tenant(4, 4).await;
    injury.lost_nothing(&scene, &created(1..=4)).await;
    scene.leader_but(&["", &leader, other]).await;
}
