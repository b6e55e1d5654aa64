//! A namespace of the node for one test, with Kamaji's operator in it, and what a test does there.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::machine::{Node, NodeGuard, PATIENCE, kill, node};
use crate::faults::stored;
use crate::servers::{checkout, documents, fixture, web};

/// The interval at which a condition is checked. Each check runs kubectl, which takes 0.1 s of a processor.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The flags of a backend that keeps every version apart: by default it stores those of one sender beyond 32 an hour as other.
pub(super) const ALL_VALUES: [&str; 3] = ["--max-values=0", "--max-counted-events=0", "--max-bulk-events=0"];

/// The number of namespaces so far, which are named by it.
static SCENES: AtomicU32 = AtomicU32::new(0);

/// The Deployment or the `StatefulSet` of one of the charts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Workload {
    Agent,
    Backend,
}

/// A pod, as the API server had it.
#[derive(Debug, Clone)]
pub(super) struct Pod(pub(super) Value);

/// A namespace under the Pod Security Standard "restricted", and the node for as long as the test runs.
pub(super) struct Scene {
    pub(super) node: NodeGuard,
    pub(super) namespace: String,
}

impl std::ops::Deref for Scene {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl Scene {
    /// Creates a namespace in which both charts are installed, the agent's with `values`, and a first event is stored.
    pub(super) async fn running(values: &Value) -> Self {
        let scene = Self::new().await;
        scene.install_both(&json!({}), values).await;
        scene
    }

    /// Removes what an earlier test left, and creates the namespace.
    pub(super) async fn new() -> Self {
        let node = node().await;
        let namespace = format!("telemetry-{}", SCENES.fetch_add(1, Ordering::Relaxed));
        let scene = Self { node, namespace };
        scene.clear().await;
        let label = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        scene
            .apply(&json!({
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": scene.namespace, "labels": label},
            }))
            .await;
        for definition in ["tenantcontrolplanes.yaml", "datastores.yaml"] {
            for document in documents(&fixture(definition)) {
                scene.apply(&document).await;
            }
        }
        scene
            .kubectl(&["wait", "crd/tenantcontrolplanes.kamaji.clastix.io", "--for=condition=Established"])
            .await
            .unwrap();
        scene.operator(&[]).await;
        scene
    }

    /// Uninstalls every release, and deletes the namespaces and control planes of earlier tests.
    async fn clear(&self) {
        self.clear_releases().await;
        // What was applied without Helm. The rest of it is in the namespaces.
        let label = "--selector=app.kubernetes.io/part-of=kamaji";
        drop(self.kubectl(&["delete", "clusterroles,clusterrolebindings", label]).await);
        drop(self.kubectl(&["delete", "tenantcontrolplanes", "--all-namespaces", "--all"]).await);
        let namespaces = self.get(&["namespaces"]).await.unwrap();
        for namespace in namespaces["items"].as_array().unwrap() {
            let name = namespace["metadata"]["name"].as_str().unwrap();
            if name.starts_with("telemetry-") {
                drop(self.kubectl(&["delete", "namespace", name, "--wait=false"]).await);
            }
        }
    }

    /// Uninstalls every release.
    pub(super) async fn clear_releases(&self) {
        let releases = self.helm(&["list", "--all-namespaces", "--all", "--output=json"]).await.unwrap();
        let releases: Vec<Value> = serde_json::from_str(&releases).unwrap();
        for release in releases {
            let (name, namespace) = (&release["name"], &release["namespace"]);
            let [name, namespace] = [name, namespace].map(|value| value.as_str().unwrap());
            self.helm(&["uninstall", name, "--namespace", namespace, "--wait"]).await.unwrap();
        }
    }

    /// Applies an object by server-side apply.
    pub(super) async fn apply(&self, object: &Value) {
        // A name of its own, since several may be applied at once.
        let name = format!("{}-{}.json", object["kind"], object["metadata"]["name"]).replace('"', "");
        let file = self.file(&name, &object.to_string());
        let applied = self.kubectl(&["apply", "--server-side", "--force-conflicts", "--filename", &file]).await;
        applied.unwrap_or_else(|error| panic!("{object}: {error}"));
    }

    /// Applies Kamaji's operator with more arguments. It has no pod, since its image is not there.
    pub(super) async fn operator(&self, arguments: &[&str]) {
        for mut object in documents(&fixture("operator.yaml")) {
            if object["kind"] == "Deployment" {
                object["metadata"]["namespace"] = self.namespace.clone().into();
                object["spec"]["replicas"] = 0.into();
                let container = &mut object["spec"]["template"]["spec"]["containers"][0];
                let all = container["args"].as_array_mut().unwrap();
                all.extend(arguments.iter().map(|&argument| argument.into()));
                self.apply(&object).await;
            }
        }
    }

    /// Returns the URL at which the relay reaches the backend.
    pub(super) fn endpoint(&self) -> String {
        format!("http://kamaji-telemetry-backend.{}.svc:4318", self.namespace)
    }

    /// Installs or upgrades a release of the agent's chart with `values`, and waits for its pods.
    pub(super) async fn install_agent(&self, values: &Value) -> String {
        let mut all = json!({"telemetry": {"exportInterval": "1s"}});
        merge(&mut all, values);
        self.install("telemetry", &checkout("charts/kamaji-telemetry-agent"), &all).await
    }

    /// Installs or upgrades a release of the backend's chart with `values`, and waits for its pod.
    pub(super) async fn install_backend(&self, values: &Value) -> String {
        self.volume(&format!("{}-store", self.namespace), Workload::Backend.name()).await;
        self.install("backend", &checkout("charts/kamaji-telemetry-backend"), &backend_values(values)).await
    }

    /// Installs or upgrades the agent's chart to send to the backend of this namespace, without TLS by default.
    pub(super) async fn install_sender(&self, values: &Value) {
        let mut all = json!({"telemetry": {"endpoint": self.endpoint()}});
        merge(&mut all, values);
        self.install_agent(&all).await;
    }

    /// Installs both charts with these values, and stores a first event.
    pub(super) async fn install_both(&self, backend: &Value, agent: &Value) {
        self.install_backend(backend).await;
        self.install_sender(agent).await;
        self.tenant(1, 1).await;
        self.stored(&["created v1.30.1"]).await;
    }

    pub(super) async fn install(&self, release: &str, chart: &Path, values: &Value) -> String {
        let file = self.values(release, values);
        let chart = chart.display().to_string();
        let arguments = ["upgrade", "--install", release, &chart, "--namespace", &self.namespace, "--values", &file];
        let done = self.helm(&[&arguments[..], &["--reset-values", "--wait", "--timeout=4m"]].concat()).await;
        match done {
            Ok(notes) => notes,
            Err(error) => panic!("{error}\n{}", self.describe().await),
        }
    }

    /// Writes the values of a release into a file, and returns its path.
    pub(super) fn values(&self, release: &str, values: &Value) -> String {
        self.file(&format!("{release}.json"), &values.to_string())
    }

    /// Returns what is known about the pods, for a failed test.
    pub(super) async fn describe(&self) -> String {
        let pods = self.in_namespace(&["describe", "pods"]).await.unwrap_or_default();
        let events = self.in_namespace(&["get", "events"]).await.unwrap_or_default();
        let names = "--selector=app.kubernetes.io/name in (kamaji-telemetry-agent, kamaji-telemetry-backend)";
        let select = ["logs", names, "--all-containers", "--prefix", "--tail=20"];
        let logs = self.in_namespace(&select).await.unwrap_or_default();
        format!("{pods}\n{events}\n{logs}")
    }

    /// Creates a volume of the class `node` on the node's disk, for a claim of the namespace.
    pub(super) async fn volume(&self, name: &str, claim: &str) {
        let folder = self.disk(&format!("volumes/{name}"));
        std::fs::create_dir_all(folder).unwrap();
        self.apply(&json!({
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "node"},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        }))
        .await;
        let hostname = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": ["node"]});
        self.apply(&json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": "10Gi"},
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "node",
                "claimRef": {"namespace": self.namespace, "name": claim},
                "local": {"path": format!("/var/lib/volumes/{name}")},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [hostname]}]}},
            },
        }))
        .await;
    }

    /// Applies the control plane `number` at version `v1.30.{patch}`: created if it is not there.
    pub(super) async fn tenant(&self, number: u32, patch: u32) {
        self.apply(&self.tenant_object(number, patch)).await;
    }

    /// Returns the control plane `number` at version `v1.30.{patch}`.
    pub(super) fn tenant_object(&self, number: u32, patch: u32) -> Value {
        json!({
            "apiVersion": "kamaji.clastix.io/v1alpha1",
            "kind": "TenantControlPlane",
            "metadata": {"name": format!("tenant-{number}"), "namespace": self.namespace},
            "spec": {"dataStore": "default", "kubernetes": {"version": format!("v1.30.{patch}")}},
        })
    }

    /// Deletes the control plane `number`.
    pub(super) async fn delete_tenant(&self, number: u32) {
        self.in_namespace(&["delete", "tenantcontrolplane", &format!("tenant-{number}")]).await.unwrap();
    }

    /// Runs kubectl in the namespace.
    pub(super) async fn in_namespace(&self, arguments: &[&str]) -> Result<String, String> {
        let namespace = format!("--namespace={}", self.namespace);
        // Before a command that a pod executes.
        let (verb, rest) = arguments.split_first().expect("kubectl has a command");
        self.kubectl(&[&[verb, &*namespace], rest].concat()).await
    }

    /// Returns an object, or the list of a kind, of the namespace as JSON, if it is there.
    pub(super) async fn object(&self, arguments: &[&str]) -> Option<Value> {
        let found = self.in_namespace(&[&["get", "--output=json"], arguments].concat()).await.ok()?;
        Some(serde_json::from_str(&found).unwrap())
    }

    /// Returns the pods of a workload that are not being deleted, without those of Jobs and of `helm test`.
    pub(super) async fn pods(&self, workload: Workload) -> Vec<Pod> {
        let label = format!("--selector=app.kubernetes.io/name={}", workload.name());
        let pods = self.object(&["pods", &label]).await.unwrap();
        let serves = |pod: &&Value| {
            let owner = pod["metadata"]["ownerReferences"][0]["kind"].as_str();
            pod["metadata"]["deletionTimestamp"].is_null() && matches!(owner, Some("ReplicaSet" | "StatefulSet"))
        };
        pods["items"].as_array().unwrap().iter().filter(serves).map(|pod| Pod(pod.clone())).collect()
    }

    /// Returns the one pod of a workload, once there is one.
    pub(super) async fn pod(&self, workload: Workload) -> Pod {
        self.until(&format!("one pod of {workload:?}"), async || {
            let mut pods = self.pods(workload).await;
            (pods.len() == 1).then(|| pods.remove(0))
        })
        .await
    }

    /// Waits for a condition, and tells what is known about the pods if it does not come.
    pub(super) async fn until<T>(&self, what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
        let probes = async {
            loop {
                if let Some(value) = probe().await {
                    return value;
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        let Ok(value) = tokio::time::timeout(PATIENCE, probes).await else {
            panic!("waited {PATIENCE:?} for {what}\n{}", self.describe().await)
        };
        value
    }

    /// Waits until all pods of a workload are ready, one at least.
    pub(super) async fn ready(&self, workload: Workload) {
        self.until(&format!("{workload:?} to be ready"), async || {
            let pods = self.pods(workload).await;
            (!pods.is_empty() && pods.iter().all(Pod::is_ready)).then_some(())
        })
        .await;
    }

    /// Waits until these containers of a pod are started once again, and all of it is ready. The kubelet tells of a killed container
    /// after a while, and of one after the other.
    pub(super) async fn started_again(&self, workload: Workload, before: &Pod, containers: &[&str]) {
        self.until(&format!("{containers:?} to be started once again"), async || {
            let after = self.pod(workload).await;
            assert_eq!(after.uid(), before.uid(), "the pod stays");
            let is_again = |container: &&str| after.restarts(container) == before.restarts(container) + 1;
            (containers.iter().all(is_again) && after.is_ready()).then_some(())
        })
        .await;
    }

    /// Kills every process of a container.
    pub(super) fn kill_container(&self, pod: &Pod, container: &str) {
        kill(&self.processes(&pod.container_id(container)), Signal::KILL);
    }

    /// Kills every process of a pod at once, its sandbox included, which keeps the pod's network.
    pub(super) fn kill_pod(&self, pod: &Pod) {
        kill(&self.pod_processes(pod.uid()), Signal::KILL);
    }

    /// Returns the metrics of a pod of the agent or of the backend. This thread is in the network of the node.
    pub(super) async fn metrics(&self, pod: &Pod) -> String {
        web::get(&format!("http://{}:8080", pod.address()), "/metrics").await
    }

    /// Runs a command of the program in the backend's pod.
    pub(super) async fn backend(&self, arguments: &[&str]) -> Result<String, String> {
        let exec = ["exec", "statefulset/kamaji-telemetry-backend", "--", "kamaji-telemetry", "backend"];
        self.in_namespace(&[&exec[..], arguments].concat()).await
    }

    /// Runs a command of the program in the agent's pod.
    pub(super) async fn agent(&self, arguments: &[&str]) -> Result<String, String> {
        let exec = ["exec", "deployment/kamaji-telemetry-agent", "--container=agent", "--", "kamaji-telemetry"];
        self.in_namespace(&[&exec[..], arguments].concat()).await
    }

    /// Returns the backend's file, on this machine.
    pub(super) fn store(&self) -> PathBuf {
        self.disk(&format!("volumes/{}-store", self.namespace)).join("telemetry.db")
    }

    /// Returns the stored events, sorted.
    pub(super) fn events(&self) -> Vec<String> {
        let mut events: Vec<_> = stored::read(&self.store()).iter().map(ToString::to_string).collect();
        events.sort();
        events
    }

    /// Waits until exactly these events are stored, each once, such as `created v1.30.1`.
    pub(super) async fn stored(&self, expected: &[&str]) {
        let mut expected: Vec<_> = expected.iter().map(|&event| event.to_owned()).collect();
        expected.sort();
        let mut last = Vec::new();
        let done = async {
            loop {
                last = self.events();
                // More would be a repeat, which no wait would mend.
                if last == expected || last.len() > expected.len() {
                    return;
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        let timeout = tokio::time::timeout(PATIENCE, done).await;
        let known = if timeout.is_err() { self.describe().await } else { String::new() };
        assert_eq!(last, expected, "{known}");
    }

    /// Returns the Warning events of the namespace: reason and message.
    pub(super) async fn warnings(&self) -> Vec<String> {
        let events = self.object(&["events", "--field-selector=type=Warning"]).await.unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let events = events["items"].as_array().unwrap().iter();
        events.map(|event| format!("{}: {}", text(&event["reason"]), text(&event["message"]))).collect()
    }
}

impl Workload {
    /// Returns the name of its Deployment or its `StatefulSet`, which is the label of its pods.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Agent => "kamaji-telemetry-agent",
            Self::Backend => "kamaji-telemetry-backend",
        }
    }
}

impl Pod {
    /// Returns the pod's name.
    pub(super) fn name(&self) -> &str {
        self.0["metadata"]["name"].as_str().unwrap()
    }

    /// Returns the pod's UID.
    pub(super) fn uid(&self) -> &str {
        self.0["metadata"]["uid"].as_str().unwrap()
    }

    /// Returns the pod's address.
    pub(super) fn address(&self) -> &str {
        self.0["status"]["podIP"].as_str().expect("it was started")
    }

    /// Returns whether its condition Ready is true.
    pub(super) fn is_ready(&self) -> bool {
        self.ready_condition().is_some()
    }

    fn ready_condition(&self) -> Option<&Value> {
        let mut conditions = self.0["status"]["conditions"].as_array()?.iter();
        conditions.find(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    }

    /// Returns the seconds from the creation of the pod until it was ready.
    pub(super) fn start_seconds(&self) -> i64 {
        let time = |text: &Value| text.as_str().unwrap().parse::<Timestamp>().unwrap().as_second();
        let condition = self.ready_condition().unwrap_or_else(|| panic!("{} is not ready", self.name()));
        time(&condition["lastTransitionTime"]) - time(&self.0["metadata"]["creationTimestamp"])
    }

    /// Returns the status of a container, of a sidecar too.
    pub(super) fn container(&self, name: &str) -> &Value {
        let of = |field: &str| self.0["status"][field].as_array().into_iter().flatten();
        let mut all = of("containerStatuses").chain(of("initContainerStatuses"));
        all.find(|container| container["name"] == name).unwrap_or_else(|| panic!("no container {name}: {}", self.0))
    }

    pub(super) fn container_id(&self, name: &str) -> String {
        self.container(name)["containerID"].as_str().expect("it was started").to_owned()
    }

    /// Returns the number of restarts of a container.
    pub(super) fn restarts(&self, name: &str) -> u64 {
        self.container(name)["restartCount"].as_u64().unwrap()
    }
}

/// Returns the values of the backend's chart that the node needs, with `values`.
pub(super) fn backend_values(values: &Value) -> Value {
    let mut all = json!({
        "store": {"sqlite": {"persistence": {"storageClass": "node"}}},
        "backup": {"persistence": {"storageClass": "node"}},
        // Each event of a test has a version of its own, of which one sender may add only 32 an hour by default.
        "maxValues": 0,
    });
    merge(&mut all, values);
    all
}

/// Replaces parts of `values` by those of `more`.
pub(super) fn merge(values: &mut Value, more: &Value) {
    match (values, more) {
        (Value::Object(values), Value::Object(more)) => {
            for (key, value) in more {
                merge(values.entry(key).or_insert(Value::Null), value);
            }
        }
        (value, more) => value.clone_from(more),
    }
}
