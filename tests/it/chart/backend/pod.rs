//! The backend's pod, and those that run to their end: what a kubelet would run of them, as processes.

use std::net::SocketAddr;
use std::path::Path;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{Container, PodSpec, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use tokio::process::Command;

use crate::chart::helm::NAMESPACE;
use crate::chart::kubelet::{Files, Variables, replace, variables};
use crate::program::PROGRAM;
use crate::servers::{ApiServer, Launch, Process, eventually, free_address, web};

/// What everything of the chart's is called.
pub(super) const NAME: &str = "kamaji-telemetry-backend";

/// A running pod of the `StatefulSet`, which is alive and ready.
pub(super) struct Pod {
    process: Process,
    place: Place,
    environment: Variables,
    _files: Files,
}

struct Place {
    grpc: SocketAddr,
    http: SocketAddr,
    health: SocketAddr,
}

impl Pod {
    /// Starts what `cluster` has of it, with the volumes of claims in `claims`, by their names.
    pub(super) async fn start(cluster: &ApiServer, claims: &Path) -> Self {
        let sets: Api<StatefulSet> = Api::namespaced(cluster.admin().clone(), NAMESPACE);
        let spec = sets.get(NAME).await.unwrap().spec.template.spec.unwrap();
        let files = Files::mount(cluster, &spec, Some(claims)).await;
        let container = only(&spec);
        let rendered = variables(cluster, container, &files).await;
        let launch = |_: &Path| {
            let place = Place { grpc: free_address(), http: free_address(), health: free_address() };
            let launch = Launch {
                program: PROGRAM.into(),
                arguments: container.args.clone().unwrap(),
                environment: place.put(container, rendered.clone()),
            };
            (launch, place)
        };
        let ready = path(container, container.readiness_probe.as_ref());
        let live = path(container, container.liveness_probe.as_ref());
        let answers =
            async |place: &Place, path: &str| web::answers_ok(&format!("http://{}", place.health), path).await;
        let (process, place) = Process::start(launch, async |place: &Place| answers(place, &ready).await).await;
        assert!(answers(&place, &live).await, "{live}");
        Self { process, place, environment: rendered, _files: files }
    }

    pub(super) fn grpc(&self) -> SocketAddr {
        self.place.grpc
    }

    pub(super) fn http(&self) -> SocketAddr {
        self.place.http
    }

    /// What a command of the program prints in its container.
    pub(super) async fn exec(&self, arguments: &[&str]) -> String {
        let arguments: Vec<_> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        run(&arguments, &self.environment).await.trim().to_owned()
    }

    /// Sends SIGTERM, and waits for its end.
    pub(super) async fn terminate(mut self) {
        self.process.signal("TERM");
        let status = eventually("the backend to end", async || self.process.exited()).await;
        assert!(status.success(), "{}", self.process.output());
    }
}

impl Place {
    /// Puts the ports of this machine in the place of the pod's, which are those that the container names.
    fn put(&self, container: &Container, mut environment: Variables) -> Variables {
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

/// The `CronJob`'s pod, as it is in `cluster`.
pub(super) async fn backup(cluster: &ApiServer) -> PodSpec {
    let jobs: Api<CronJob> = Api::namespaced(cluster.admin().clone(), NAMESPACE);
    let job = jobs.get(&format!("{NAME}-backup")).await.unwrap().spec.job_template.spec.unwrap();
    job.template.spec.unwrap()
}

/// Runs a pod to its end, and gives what it printed.
pub(super) async fn run_to_the_end(cluster: &ApiServer, spec: &PodSpec, claims: &Path) -> String {
    let files = Files::mount(cluster, spec, Some(claims)).await;
    let container = only(spec);
    let arguments: Vec<_> = container.args.iter().flatten().map(|argument| files.here(argument)).collect();
    run(&arguments, &variables(cluster, container, &files).await).await
}

async fn run(arguments: &[String], environment: &Variables) -> String {
    let mut program = Command::new(PROGRAM);
    program.args(arguments).env_clear().envs(environment.clone());
    let output = program.output().await.unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn only(spec: &PodSpec) -> &Container {
    let [container] = &spec.containers[..] else { panic!("one container: {:?}", spec.containers) };
    container
}

fn port(container: &Container, name: &str) -> i32 {
    let mut ports = container.ports.iter().flatten();
    ports.find(|port| port.name.as_deref() == Some(name)).unwrap_or_else(|| panic!("{name} is a port")).container_port
}

/// Where a probe asks, at the port of health.
fn path(container: &Container, probe: Option<&Probe>) -> String {
    let get = probe.and_then(|probe| probe.http_get.as_ref()).expect("it has the probe");
    assert_eq!(get.port, IntOrString::String("health".to_owned()));
    assert_eq!(port(container, "health"), 8080);
    get.path.clone().unwrap()
}
