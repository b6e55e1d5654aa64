//! The backend's pod, and pods of Jobs, run as local processes.

use std::net::SocketAddr;
use std::path::Path;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Container, PodSpec, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use kube::api::ListParams;
use tokio::process::Command;

use crate::chart::helm::NAMESPACE;
use crate::chart::kubelet::{Files, Variables, replace, variables};
use crate::program::PROGRAM;
use crate::servers::{ApiServer, Launch, Process, eventually, free_address, web};

/// Name of the objects of the backend's chart.
pub(super) const NAME: &str = "kamaji-telemetry-backend";

/// A running pod of the `StatefulSet`, live and ready.
pub(super) struct Pod {
    process: Process,
    addresses: Addresses,
    environment: Variables,
    _files: Files,
}

/// Local addresses of the pod's ports.
struct Addresses {
    grpc: SocketAddr,
    http: SocketAddr,
    health: SocketAddr,
}

impl Pod {
    /// Starts the pod of the `StatefulSet` in `cluster`, with the volumes of claims in `claims`, by name.
    pub(super) async fn start(cluster: &ApiServer, claims: &Path) -> Self {
        let sets: Api<StatefulSet> = Api::namespaced(cluster.admin().clone(), NAMESPACE);
        let spec = sets.get(NAME).await.unwrap().spec.template.spec.unwrap();
        let files = Files::mount(cluster, &spec, Some(claims)).await;
        let container = only_container(&spec);
        let rendered = variables(cluster, container, &files).await;
        let launch = |_: &Path| {
            let addresses = Addresses { grpc: free_address(), http: free_address(), health: free_address() };
            let launch = Launch {
                program: PROGRAM.into(),
                arguments: container.args.clone().unwrap(),
                environment: addresses.apply_to(container, rendered.clone()),
            };
            (launch, addresses)
        };
        let ready = probe_path(container, container.readiness_probe.as_ref());
        let live = probe_path(container, container.liveness_probe.as_ref());
        assert_eq!(probe_path(container, container.startup_probe.as_ref()), live);
        let answers = async |addresses: &Addresses, path: &str| {
            web::answers_ok(&format!("http://{}", addresses.health), path).await
        };
        let (process, addresses) =
            Process::start(launch, async |addresses: &Addresses| answers(addresses, &ready).await).await;
        assert!(answers(&addresses, &live).await, "{live}");
        Self { process, addresses, environment: rendered, _files: files }
    }

    pub(super) fn grpc(&self) -> SocketAddr {
        self.addresses.grpc
    }

    pub(super) fn http(&self) -> SocketAddr {
        self.addresses.http
    }

    /// Runs a command in the backend's container, and returns its standard output.
    pub(super) async fn exec(&self, arguments: &[&str]) -> String {
        let arguments: Vec<_> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        run(&arguments, &self.environment).await.trim().to_owned()
    }

    /// Sends SIGTERM, and waits for the exit.
    pub(super) async fn terminate(mut self) {
        self.process.signal("TERM");
        let status = eventually("the backend to end", async || self.process.exited()).await;
        assert!(status.success(), "{}", self.process.output());
    }
}

impl Addresses {
    /// Replaces the pod's addresses in the environment, after checking them against the container's ports.
    fn apply_to(&self, container: &Container, mut environment: Variables) -> Variables {
        for (variable, name, address) in [
            ("KAMAJI_TELEMETRY_GRPC_ADDR", "grpc", self.grpc),
            ("KAMAJI_TELEMETRY_HTTP_ADDR", "http", self.http),
            ("KAMAJI_TELEMETRY_HEALTH_ADDR", "health", self.health),
        ] {
            let rendered = replace(&mut environment, variable, address.to_string());
            assert_eq!(rendered, format!("0.0.0.0:{}", port(container, name)));
        }
        environment
    }
}

/// Returns the pod of the `CronJob` in `cluster`.
pub(super) async fn backup_pod(cluster: &ApiServer) -> PodSpec {
    let jobs: Api<CronJob> = Api::namespaced(cluster.admin().clone(), NAMESPACE);
    let job = jobs.get(&format!("{NAME}-backup")).await.unwrap().spec.job_template.spec.unwrap();
    job.template.spec.unwrap()
}

/// Returns the pod of the Job in `cluster` whose name begins with that of the chart and `part`.
pub(super) async fn job_pod(cluster: &ApiServer, part: &str) -> PodSpec {
    let jobs: Api<Job> = Api::namespaced(cluster.admin().clone(), NAMESPACE);
    let listed = jobs.list(&ListParams::default()).await.unwrap().items;
    let prefix = format!("{NAME}-{part}-");
    let mut found = listed.into_iter().filter(|job| job.metadata.name.as_ref().unwrap().starts_with(&prefix));
    let job = found.next().unwrap_or_else(|| panic!("no Job {prefix}…"));
    assert!(found.next().is_none(), "one Job {prefix}…");
    job.spec.unwrap().template.spec.unwrap()
}

/// Runs a pod to completion, and returns its standard output.
pub(super) async fn run_to_completion(cluster: &ApiServer, spec: &PodSpec, claims: &Path) -> String {
    try_to_completion(cluster, spec, claims, str::to_owned).await.unwrap()
}

/// Runs a pod to completion, with each argument replaced by `change`, and returns its standard output, or its standard error if
/// it fails.
pub(super) async fn try_to_completion(
    cluster: &ApiServer,
    spec: &PodSpec,
    claims: &Path,
    change: impl Fn(&str) -> String,
) -> Result<String, String> {
    let files = Files::mount(cluster, spec, Some(claims)).await;
    let container = only_container(spec);
    let arguments = container.args.iter().flatten().map(|argument| files.localize(&change(argument)));
    try_run(&arguments.collect::<Vec<_>>(), &variables(cluster, container, &files).await).await
}

async fn run(arguments: &[String], environment: &Variables) -> String {
    try_run(arguments, environment).await.unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

async fn try_run(arguments: &[String], environment: &Variables) -> Result<String, String> {
    let mut program = Command::new(PROGRAM);
    program.args(arguments).env_clear().envs(environment.clone());
    let output = program.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn only_container(spec: &PodSpec) -> &Container {
    let [container] = &spec.containers[..] else { panic!("not one container: {:?}", spec.containers) };
    container
}

fn port(container: &Container, name: &str) -> i32 {
    let mut ports = container.ports.iter().flatten();
    ports.find(|port| port.name.as_deref() == Some(name)).unwrap_or_else(|| panic!("no port {name}")).container_port
}

/// Returns the path of a probe, after checking that it uses the health port.
fn probe_path(container: &Container, probe: Option<&Probe>) -> String {
    let get = probe.and_then(|probe| probe.http_get.as_ref()).expect("an HTTP probe");
    assert_eq!(get.port, IntOrString::String("health".to_owned()));
    assert_eq!(port(container, "health"), 8080);
    get.path.clone().unwrap()
}
