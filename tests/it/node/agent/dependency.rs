//! The agent's chart as a dependency of Kamaji's, installed as one release.

use serde_json::{Value, json};

use crate::chart::dependency::Parent;
use crate::node::scene::{Scene, Workload, merge};

/// The name of the release, and of the operator's Deployment in it.
const KAMAJI: &str = "kamaji";

/// Returns the values of the parent for the test, with those of its agent. The operator has no pod.
fn values(scene: &Scene, telemetry: &Value) -> Value {
    let mut values = json!({
        "replicaCount": 0,
        "telemetry": {"telemetry": {"endpoint": scene.endpoint(), "exportInterval": "1s"}},
    });
    merge(&mut values, telemetry);
    values
}

/// Returns whether Kamaji's operator runs with its built-in telemetry.
async fn operator_sends(scene: &Scene) -> bool {
    let operator = scene.object(&["deployment", KAMAJI]).await.unwrap();
    let arguments = operator["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
    !arguments.contains(&json!("--disable-telemetry"))
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn inside_kamajis_chart_each_switch_stops_the_operators_telemetry_and_the_agent() {
    let scene = Scene::new().await;
    scene.install_backend(&json!({})).await;
    // The release brings its own.
    scene.in_namespace(&["delete", "deployment", KAMAJI]).await.unwrap();
    let parent = Parent::of_kamaji();
    let install = async |telemetry| {
        scene.install(KAMAJI, parent.path(), &values(&scene, &telemetry)).await;
    };
    install(json!({})).await;
    let mut installations = vec![scene.installation().await];
    // The switch, and whether the operator's own telemetry goes on. The first are the words of Kamaji's documentation; with the
    // second, nobody follows the operator.
    let switches = [
        (json!({"telemetry": {"disabled": true}}), false),
        (json!({"telemetry": {"disabled": true, "telemetry": {"followKamajiOptOut": false}}}), false),
        (json!({"global": {"telemetry": {"disabled": true}}}), false),
        (json!({"telemetry": {"telemetry": {"disabled": true}}}), true),
        (json!({"telemetry": {"disabled": true, "keepWhenDisabled": true}}), false),
    ];
    for (patch, (switch, goes_on)) in (1..).step_by(2).zip(switches) {
        assert!(operator_sends(&scene).await);
        scene.tenant(patch, patch).await;
        scene.created((1..=patch).step_by(2)).await;
        install(switch.clone()).await;
        assert_eq!(operator_sends(&scene).await, goes_on, "{switch}");
        if switch["telemetry"]["keepWhenDisabled"] == true {
            let pod = scene.pod(Workload::Agent).await;
            scene.assert_enabled(&pod, false).await;
        } else {
            scene.no_agent().await;
        }
        scene.no_state(&["configmaps"]).await;
        // It is never reported.
        scene.tenant(patch + 1, patch + 1).await;
        install(json!({})).await;
        let installation = scene.installation().await;
        assert!(!installations.contains(&installation), "{switch}: a UUID of before is used again");
        installations.push(installation);
    }
}
