//! The images, without a container engine: each component's binary in a root directory with the files of the base image alone.

mod binary;
mod files;
mod names;
mod previous;
pub(crate) mod root;
mod updates;
mod workflows;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use uuid::Uuid;

use self::names::{NAME, Names};
use self::root::{Component, Root};
use crate::backend::samples::{created, logs_request, now};
use crate::program::NAMESPACE;
use crate::servers::{ApiServer, Process, User, checkout, eventually, free_address, tcp, web};

/// The directory in which a pod finds its token and the API server's CA bundle.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A private certificate authority, with a certificate for the backend.
struct Authority {
    certificate: String,
    issued: (String, String),
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([NAME.to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        Self { certificate: ca.pem(), issued: (certificate.pem(), key.serialize_pem()) }
    }
}

/// A program in its root, whose probes are on `health`.
struct Running {
    process: Process,
    health: SocketAddr,
    otlp: SocketAddr,
}

impl Running {
    async fn start(root: &Root, command: &[&str], environment: &[(&str, &str)]) -> Self {
        let launch = |_: &Path| {
            let (health, otlp, http) = (free_address(), free_address(), free_address());
            let (grpc, http) = (otlp.to_string(), http.to_string());
            let mut variables = vec![("KAMAJI_TELEMETRY_GRPC_ADDR", &*grpc), ("KAMAJI_TELEMETRY_HTTP_ADDR", &*http)];
            let at = health.to_string();
            variables.push(("KAMAJI_TELEMETRY_HEALTH_ADDR", &*at));
            variables.extend(environment);
            (root.launch(command, &variables), (health, otlp))
        };
        let ready = async |(health, _): &_| web::answers_ok(&format!("http://{health}"), "/readyz").await;
        let (process, (health, otlp)) = Process::start(launch, ready).await;
        Self { process, health, otlp }
    }

    /// The backend, with the certificate of `authority`.
    async fn backend(root: &Root, authority: &Authority) -> Self {
        let (certificate, key) = &authority.issued;
        root.write("/etc/kamaji-telemetry/tls.crt", certificate);
        root.write("/etc/kamaji-telemetry/tls.key", key);
        root.volume("/data");
        let tls = ["--tls-cert=/etc/kamaji-telemetry/tls.crt", "--tls-key=/etc/kamaji-telemetry/tls.key"];
        let command = ["backend", "serve", "--store=sqlite:/data/telemetry.db"];
        Self::start(root, &[&command[..], &tls].concat(), &[]).await
    }

    /// The agent, in a pod of `cluster`.
    async fn agent(root: &Root, cluster: &ApiServer, collector: SocketAddr) -> Self {
        let endpoint = format!("https://{NAME}:{}", collector.port());
        let server = cluster.mount_account(User::Agent, &root.path(ACCOUNT));
        let (host, port) = (server.ip().to_string(), server.port().to_string());
        let environment = [
            ("KUBERNETES_SERVICE_HOST", &*host),
            ("KUBERNETES_SERVICE_PORT", &*port),
            ("POD_NAMESPACE", NAMESPACE),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
            ("KAMAJI_TELEMETRY_EXPORT_INTERVAL", "1s"),
        ];
        Self::start(root, &["agent"], &environment).await
    }

    async fn metrics(&self) -> String {
        web::get(&format!("http://{}", self.health), "/metrics").await
    }

    /// Waits until `count` records of a kind were stored.
    async fn stored(&self, kind: &str, count: u32) {
        let name = format!("kamaji_telemetry_backend_records_accepted_total{{kind=\"{kind}\"}} ");
        eventually(&format!("{count} of {kind}"), async || {
            let metrics = self.metrics().await;
            let value = metrics.lines().find_map(|line| line.strip_prefix(&name)).expect("the backend counts them");
            (value.parse::<u32>().unwrap() >= count).then_some(())
        })
        .await;
    }

    async fn terminate(mut self) {
        self.process.signal("TERM");
        let status = eventually("its end", async || self.process.exited()).await;
        assert!(status.success(), "{status}: {}", self.process.output());
    }
}

#[test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs the images' binaries: run `make test`")]
fn what_needs_no_server_runs_on_the_base_image_alone() {
    for component in Component::ALL {
        let root = Root::new(component);
        assert_eq!(root.run(&["--version"]), concat!("kamaji-telemetry ", env!("CARGO_PKG_VERSION"), "\n"));
        assert_eq!(root.run(&["catalog"]), fs::read_to_string(checkout("docs/signals.md")).unwrap());
        assert!(root.run(&["completion", "bash"]).contains("complete -F "));
    }
}

#[test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs the images' binaries: run `make test`")]
fn each_image_has_the_commands_of_its_component_alone() {
    let agent = ["agent", "preview", "status", "forget"];
    let backend = ["backend"];
    for (component, own, foreign) in
        [(Component::Agent, &agent[..], &backend[..]), (Component::Backend, &backend, &agent)]
    {
        let root = Root::new(component);
        for command in own {
            root.run(&[command, "--help"]);
        }
        for command in foreign.iter().chain(&["demo"]) {
            let Output { status, stderr, .. } = root.output(&[command, "--help"]);
            let error = String::from_utf8(stderr).unwrap();
            assert!(!status.success() && error.contains("unrecognized subcommand"), "{command}: {status}: {error}");
        }
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_agent_delivers_to_the_backend_on_the_base_image_alone() {
    let authority = Authority::new();
    let root = Root::new(Component::Backend);
    let backend = Running::backend(&root, &authority).await;
    let trust = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&authority.certificate)).domain_name(NAME);
    let endpoint = Endpoint::from_shared(format!("https://{}", backend.otlp)).unwrap().tls_config(trust).unwrap();
    let mut client = LogsServiceClient::new(endpoint.connect().await.unwrap());
    client.export(logs_request(vec![created(Uuid::new_v4(), now())])).await.unwrap();
    backend.stored("event", 1).await;

    let (cluster, names) = (ApiServer::start_with_kamaji().await, Names::start().await);
    let pod = Root::new(Component::Agent);
    pod.write("/etc/resolv.conf", names.resolv_conf());
    let system = fs::read_to_string(pod.path("/etc/ssl/certs/ca-certificates.crt")).unwrap();
    pod.write("/etc/ssl/certs/ca-certificates.crt", format!("{system}\n{}", authority.certificate));
    let agent = Running::agent(&pod, &cluster, backend.otlp).await;
    backend.stored("snapshot", 1).await;
    cluster.create(tcp("one")).await;
    backend.stored("event", 2).await;
    assert!(names.answered() > 0, "the backend's name was not asked for");
    agent.terminate().await;
    backend.terminate().await;
}
