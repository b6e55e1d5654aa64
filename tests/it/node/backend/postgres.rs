//! The backend on PostgreSQL: a release that moves there from `SQLite` by the Job of the documentation, and pods that end while
//! senders send.

use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use kamaji_telemetry::backend::insights::parameters::QuestionName;
use kamaji_telemetry::backend::store::{SqliteStore, Store};
use rcgen::CertificateParams;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::backend::conformance::{of_snapshots, snapshot};
use crate::backend::postgres::balancer::Balancer;
use crate::backend::postgres::load::{Ledger, Load};
use crate::backend::postgres::stored;
use crate::chart::code_blocks;
use crate::image::root::USER;
use crate::node::figures::write;
use crate::node::scene::{Pod, Scene, Workload, backend_values, merge};
use crate::servers::postgres::{PostgresServers, USER as DATABASE_USER};
use crate::servers::{Authority, checkout, documents, web};

const BACKEND: Workload = Workload::Backend;

/// The namespace in the documentation's examples.
const DOCUMENTED_NAMESPACE: &str = "kamaji-system";

/// The name of the database's Service in the examples, and of the database.
const SERVICE: &str = "telemetry-database-rw";
const DATABASE: &str = "telemetry";

/// The address of the node, where the pods reach what listens in its network.
const NODE: &str = "10.244.255.1";

/// The password of the backends' user, which a URL would have to escape.
const PASSWORD: &str = "p@ss:word/%20";

/// The exit code of a move whose source is served.
const SERVED: i64 = 3;

/// Requests after which the senders have sent for a while.
const REQUESTS: usize = 50;

/// Installations that were received on some days before.
const INSTALLATIONS: u32 = 12;
const DAYS: i64 = 10;

/// A namespace of the node, and servers that its pods know by the names of the documentation.
struct PostgresScene {
    /// Ended before the node is another test's.
    servers: PostgresServers,
    scene: Scene,
}

impl PostgresScene {
    async fn new() -> Self {
        let scene = Scene::new().await;
        // In the network of the node, where this thread is.
        let mut servers = PostgresServers::start_pair().await;
        servers.empty_database(DATABASE).await;
        let folder = TempDir::new().unwrap();
        let authority = Authority::new(folder.path());
        let name = format!("{SERVICE}.{}.svc", scene.namespace);
        let (certificate, key) =
            authority.issue("database", |params| *params = CertificateParams::new(vec![name]).unwrap());
        servers.admit_others(PASSWORD, &certificate, &key).await;
        let own = Self { servers, scene };
        own.secret("telemetry-database-app", &json!({"username": DATABASE_USER, "password": PASSWORD})).await;
        let certificate = std::fs::read_to_string(authority.certificate()).unwrap();
        own.secret("telemetry-database-ca", &json!({"ca.crt": certificate})).await;
        own.service().await;
        own
    }

    async fn secret(&self, name: &str, content: &Value) {
        let metadata = json!({"name": name, "namespace": self.scene.namespace});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": content});
        self.scene.apply(&secret).await;
    }

    /// Creates the Service of the primary.
    async fn service(&self) {
        let port = self.servers.primary().address().port();
        let metadata = json!({"name": SERVICE, "namespace": self.scene.namespace});
        let ports = json!([{"name": "postgres", "port": 5432, "targetPort": port}]);
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}});
        self.scene.apply(&service).await;
        let mut metadata = metadata;
        metadata["labels"] = json!({"kubernetes.io/service-name": SERVICE});
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": metadata,
            "addressType": "IPv4",
            "ports": [{"name": "postgres", "port": port}],
            "endpoints": [{"addresses": [NODE], "conditions": {"ready": true}}],
        });
        self.scene.apply(&slice).await;
    }

    /// Returns the example of the documentation with a line, for the namespace of this scene.
    fn documented(&self, line: &str) -> String {
        let text = std::fs::read_to_string(checkout("docs/backend.md")).unwrap();
        let mut found = code_blocks(&text, "yaml");
        found.retain(|example| example.lines().any(|of_example| of_example.trim_start() == line));
        let [example] = &found[..] else { panic!("{} examples with {line}", found.len()) };
        example.replace(DOCUMENTED_NAMESPACE, &self.scene.namespace)
    }

    /// Installs or upgrades the backend's chart, for senders of one address.
    async fn install(&self, values: &Value) {
        let mut all = json!({
            "rateLimit": {"requests": 0, "items": 0, "bytesPerDay": 0, "snapshots": 0},
            "maxCountedInstallations": 0,
            "maxCountedEvents": 0,
            "maxNewInstallations": 0,
            "maxBulkEvents": 0,
        });
        merge(&mut all, values);
        self.scene.install("backend", &checkout("charts/kamaji-telemetry-backend"), &backend_values(&all)).await;
    }

    /// Returns the address of the backend's Service.
    async fn backend(&self) -> SocketAddr {
        let service = self.scene.object(&["service", BACKEND.name()]).await.unwrap();
        let address = service["spec"]["clusterIP"].as_str().unwrap();
        format!("{address}:4318").parse().unwrap()
    }

    /// Starts senders to the backend's Service.
    async fn load(&self) -> Load {
        Load::start(Balancer::start(vec![self.backend().await]).await)
    }

    /// Returns the API's answers to all questions, without their times.
    async fn answers(&self, token: &str) -> Vec<Value> {
        let url = format!("http://{}", self.backend().await);
        // The node learns of a pod's readiness a moment after the pod has it.
        let reached = async || web::answers_ok(&url, "/api/v1/openapi.json").await.then_some(());
        self.scene.until("the Service to lead to a pod", reached).await;
        let mut answers = Vec::new();
        for question in QuestionName::ALL {
            let answer = web::get_as(token, &url, &format!("/api/v1/insights/{}", question.as_str())).await;
            let mut answer: Value = serde_json::from_str(&answer).unwrap();
            answer["generated_at"] = Value::Null;
            answers.push(answer);
        }
        answers
    }

    /// Waits until two pods are ready, none of which is `without`.
    async fn two_ready(&self, without: Option<&Pod>) -> Vec<Pod> {
        self.scene
            .until("two ready pods", async || {
                let pods = self.scene.pods(BACKEND).await;
                let is_it = |pod: &Pod| pod.is_ready() && without.is_none_or(|other| other.uid() != pod.uid());
                (pods.len() == 2 && pods.iter().all(is_it)).then_some(pods)
            })
            .await
    }

    /// Makes the Job of the documentation, and waits until a pod of it has ended because a backend serves the old store.
    async fn begin_move(&self) {
        let file = self.scene.file("telemetry-migrate.yaml", &self.documented("name: telemetry-migrate"));
        self.scene.in_namespace(&["apply", "--filename", &file]).await.unwrap();
        let ended = async || (self.move_exit_codes().await.first()? == &SERVED).then_some(());
        self.scene.until("a pod that has found a backend", ended).await;
    }

    /// Waits until the Job is complete: after pods that have found a backend, one has found none.
    async fn end_move(&self) {
        let job = ["job", "telemetry-migrate"];
        let complete = async || {
            let job = self.scene.object(&job).await?;
            assert_eq!(job["status"]["failed"], Value::Null, "{}", self.scene.describe().await);
            (job["status"]["succeeded"] == 1).then_some(())
        };
        self.scene.until("the Job of the move", complete).await;
        let mut codes = self.move_exit_codes().await;
        codes.sort_unstable();
        assert_eq!(
            (codes.first(), codes.iter().find(|code| ![0, SERVED].contains(code))),
            (Some(&0), None),
            "{codes:?}"
        );
    }

    /// Returns the exit codes of the Job's pods that have ended.
    async fn move_exit_codes(&self) -> Vec<i64> {
        let pods = self.scene.object(&["pods", "--selector=batch.kubernetes.io/job-name=telemetry-migrate"]).await;
        let pods = pods.unwrap()["items"].take();
        let states = pods.as_array().unwrap().iter().map(|pod| &pod["status"]["containerStatuses"][0]["state"]);
        states.filter_map(|state| state["terminated"]["exitCode"].as_i64()).collect()
    }

    /// Checks that exactly what was acknowledged is in the database.
    async fn check(&self, ledger: &Ledger) -> usize {
        stored::check(&self.servers.address(DATABASE), ledger).await
    }
}

/// Writes a file with installations that are confirmed, as an earlier release would have, and adds them to a ledger.
async fn write_file(scene: &Scene, ledger: &mut Ledger) {
    scene.volume(&format!("{}-store", scene.namespace), BACKEND.name()).await;
    let path = scene.store();
    let store = SqliteStore::open(&path).unwrap();
    let installations: Vec<_> = (1..=INSTALLATIONS).map(|running| (Uuid::new_v4(), running)).collect();
    for day in (1..=DAYS).rev() {
        let time = Timestamp::now() - SignedDuration::from_hours(24 * day);
        let snapshots = installations.iter().map(|&(installation, running)| snapshot(installation, time, running));
        store.write(of_snapshots(snapshots.collect())).await.unwrap();
    }
    drop(store);
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        chown(entry.unwrap().path(), Some(USER), Some(USER)).unwrap();
    }
    ledger.running.extend(installations.iter().map(|&(installation, running)| (installation, i64::from(running))));
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn a_release_moves_to_postgresql_as_documented_and_no_pod_that_ends_there_loses_anything() {
    let mut ledger = Ledger::default();
    let own = PostgresScene::new().await;
    let start = Instant::now();
    write_file(&own.scene, &mut ledger).await;
    own.install(&json!({})).await;
    let load = own.load().await;
    load.goes_on(REQUESTS).await;
    load.end(&mut ledger).await;
    let token = own.scene.backend(&["token", "create", "--name=reader"]).await.unwrap();
    let before = own.answers(token.trim()).await;
    let mut rows = before.iter().flat_map(|answer| answer["rows"].as_array().unwrap());
    assert!(rows.any(|row| row["count"] == INSTALLATIONS), "they tell of what is stored: {before:?}");

    own.begin_move().await;
    own.install(&json!({"maintenance": true})).await;
    own.end_move().await;
    own.install(&documents(&own.documented("existingSecret: telemetry-database-app")).remove(0)).await;
    let [first, second] = &own.two_ready(None).await[..] else { panic!("two pods") };
    assert_eq!(own.answers(token.trim()).await, before);
    own.check(&ledger).await;

    let load = own.load().await;
    load.goes_on(REQUESTS).await;
    own.scene.in_namespace(&["delete", "pod", first.name(), "--wait=false"]).await.unwrap();
    load.goes_on(REQUESTS).await;
    own.two_ready(Some(first)).await;
    own.scene.kill_pod(second);
    load.goes_on(REQUESTS).await;
    own.two_ready(Some(first)).await;
    load.goes_on(REQUESTS).await;
    load.end(&mut ledger).await;
    own.check(&ledger).await;
    let (events, seconds) = (ledger.events.len(), start.elapsed().as_secs_f64());
    let row = format!(
        "| backend, moved to PostgreSQL, a pod deleted, another killed | {events} | 0 | 0 | {seconds:.1} s |\n"
    );
    write("backend-moved-to-postgresql", &row);
}
