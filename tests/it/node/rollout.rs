//! The rollout from one release to the next, and back, while control planes change all the time.
//!
//! It begins from the release in the directory `KAMAJI_TELEMETRY_TEST_PREVIOUS`, as `make upgrade-test` runs it. Without that
//! variable both releases have the binaries and charts of this checkout.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::figures::Injury;
use super::machine::{NEXT, PREVIOUS, previous};
use super::scene::{ALL_VALUES, Scene, Workload, backend_values, merge};
use crate::servers::checkout;

/// A release of both charts.
struct Release {
    charts: PathBuf,
    /// The tag of all images, the relay's too.
    tag: &'static str,
}

impl Release {
    fn previous() -> Self {
        Self { charts: previous("charts"), tag: PREVIOUS }
    }

    fn next() -> Self {
        Self { charts: checkout("charts"), tag: NEXT }
    }

    fn values(&self, values: &Value) -> Value {
        let mut all = json!({"image": {"tag": self.tag}, "podAnnotations": {"example.com/release": self.tag}});
        merge(&mut all, values);
        all
    }

    async fn install_agent(&self, scene: &Scene, replicas: u32) {
        let telemetry = json!({"endpoint": scene.endpoint(), "exportInterval": "1s"});
        let relay = json!({"image": {"tag": self.tag}});
        let values =
            self.values(&json!({"telemetry": telemetry, "replicas": replicas, "leaseDuration": "5s", "relay": relay}));
        scene.install("telemetry", &self.charts.join("kamaji-telemetry-agent"), &values).await;
        self.assert_runs(scene, Workload::Agent).await;
    }

    async fn install_backend(&self, scene: &Scene) {
        let values = self.values(&backend_values(&json!({"extraArgs": ALL_VALUES})));
        scene.install("backend", &self.charts.join("kamaji-telemetry-backend"), &values).await;
        self.assert_runs(scene, Workload::Backend).await;
    }

    /// Asserts that every pod of a workload, those that end excepted, has the image of this release.
    async fn assert_runs(&self, scene: &Scene, workload: Workload) {
        let pods = scene.pods(workload).await;
        assert!(!pods.is_empty());
        for pod in pods {
            let image = pod.0["spec"]["containers"][0]["image"].as_str().unwrap();
            assert!(image.ends_with(&format!(":{}", self.tag)), "{image} instead of {}", self.tag);
        }
    }
}

/// The number of control planes that there are for upgrades, and the number of those for deletions.
const PREPARED: u32 = 40;
/// The numbers from which control planes are counted that are upgraded, that are deleted, and that are created meanwhile.
const UPGRADED: u32 = 1;
const DELETED: u32 = 101;
const CREATED: u32 = 201;

/// The interval between two rounds of changes.
const ROUND_INTERVAL: Duration = Duration::from_millis(100);

/// Creates the control planes that are changed later, and waits until that is stored.
async fn prepare(scene: &Scene) -> Vec<String> {
    let numbers = [UPGRADED, DELETED].into_iter().flat_map(|first| first..first + PREPARED);
    let planes: Vec<_> = numbers.clone().map(|number| scene.tenant_object(number, number)).collect();
    scene.apply(&json!({"apiVersion": "v1", "kind": "List", "items": planes})).await;
    let expected: Vec<_> = numbers.map(|number| format!("created v1.30.{number}")).collect();
    scene.stored(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
    expected
}

/// Changes control planes until `done`, each of them once, so that no two changes of one are merged while no agent runs.
/// Returns the events of them.
async fn change(scene: &Scene, done: &Cell<bool>) -> Vec<String> {
    let mut expected = Vec::new();
    for round in 0.. {
        if done.get() {
            break;
        }
        let created = CREATED + round;
        scene.tenant(created, created).await;
        expected.push(format!("created v1.30.{created}"));
        if round < PREPARED {
            let (upgraded, deleted) = (UPGRADED + round, DELETED + round);
            scene.tenant(upgraded, 1000 + upgraded).await;
            scene.delete_tenant(deleted).await;
            expected.push(format!("v1.30.{upgraded} to v1.30.{}", 1000 + upgraded));
            expected.push(format!("deleted v1.30.{deleted} Unknown"));
        }
        tokio::time::sleep(ROUND_INTERVAL).await;
    }
    expected
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn a_rollout_of_both_charts_and_a_rollback_lose_and_repeat_no_event() {
    let scene = Scene::new().await;
    scene.volume(&format!("{}-store", scene.namespace), Workload::Backend.name()).await;
    let [release, next] = [Release::previous(), Release::next()];
    release.install_backend(&scene).await;
    release.install_agent(&scene, 1).await;
    let mut expected = prepare(&scene).await;
    let injury = Injury::begin("rollout of both charts and rollback");
    let done = Cell::new(false);
    let rollouts = async {
        next.install_agent(&scene, 1).await;
        next.install_backend(&scene).await;
        for (name, workload) in [("telemetry", Workload::Agent), ("backend", Workload::Backend)] {
            let namespace = format!("--namespace={}", scene.namespace);
            scene.helm(&["rollback", name, "1", &namespace, "--wait", "--timeout=4m"]).await.unwrap();
            release.assert_runs(&scene, workload).await;
        }
        // From one replica without election to two with it, and from there to the next release.
        release.install_agent(&scene, 2).await;
        next.install_agent(&scene, 2).await;
        done.set(true);
    };
    let (changed, ()) = tokio::join!(change(&scene, &done), rollouts);
    expected.extend(changed);
    injury.lost_nothing(&scene, &expected).await;
}
