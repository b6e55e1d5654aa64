//! TLS with a private CA, closed ingest, and the replacement of tokens, certificates and CA bundles while events go on.

use std::sync::Arc;

use http::{Request, StatusCode};
use kube::client::Body;
use rcgen::CertificateParams;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::fleet::Fleet;
use crate::node::figures::Injury;
use crate::node::machine::root_of;
use crate::node::scene::{Pod, Scene, Workload};
use crate::servers::Authority;

const FIRST: &str = "0123456789abcdef0123456789abcdef";
const SECOND: &str = "fedcba9876543210fedcba9876543210";

/// A backend with TLS and closed ingest, and what its agents need.
struct Secured {
    scene: Scene,
    folder: TempDir,
}

/// The containers of both pods, and the number of their starts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Containers {
    backend: (String, u64),
    agent: (String, u64),
    relay: (String, u64),
}

impl Secured {
    async fn new() -> Self {
        Self { scene: Scene::new().await, folder: tempfile::tempdir().unwrap() }
    }

    fn authority(&self, name: &str) -> Authority {
        let folder = self.folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        Authority::new(&folder)
    }

    /// Returns the backend's name in the cluster, which its certificate has.
    fn host(&self) -> String {
        format!("kamaji-telemetry-backend.{}.svc", self.scene.namespace)
    }

    /// Replaces a Secret as a whole, as cert-manager and External Secrets do.
    async fn secret(&self, name: &str, kind: &str, files: &Value) {
        self.scene
            .apply(&json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": self.scene.namespace},
                "type": kind,
                "stringData": files,
            }))
            .await;
    }

    /// Lets the backend present a new certificate of `authority`, and returns that.
    async fn certificate(&self, authority: &Authority) -> CertificateDer<'static> {
        let (certificate, key) = authority.issue("backend", |params| {
            *params = CertificateParams::new(vec![self.host()]).unwrap();
        });
        let issued = CertificateDer::from_pem_file(&certificate).unwrap();
        let [certificate, key] = [certificate, key].map(|path| std::fs::read_to_string(path).unwrap());
        self.secret("backend-tls", "kubernetes.io/tls", &json!({"tls.crt": certificate, "tls.key": key})).await;
        issued
    }

    /// Lets the relay trust these CAs.
    async fn bundle(&self, authorities: &[&Authority]) {
        let bundle = authorities.iter().map(|authority| std::fs::read_to_string(authority.certificate()).unwrap());
        self.secret("backend-ca", "Opaque", &json!({"ca.crt": bundle.collect::<String>()})).await;
    }

    /// Lets the backend accept these tokens of senders.
    async fn accept(&self, tokens: &[&str]) {
        self.secret("ingest", "Opaque", &json!({"tokens": tokens.join("\n")})).await;
    }

    /// Lets the relay send this token.
    async fn send(&self, token: &str) {
        self.secret("relay", "Opaque", &json!({"token": token})).await;
    }

    async fn install_backend(&self) {
        let values = json!({
            "tls": {"existingSecret": "backend-tls"},
            "auth": {"ingestTokensSecret": {"name": "ingest"}},
        });
        self.scene.install_backend(&values).await;
    }

    /// Installs the agent, whose relay knows the Secrets.
    async fn install_agent(&self) {
        let values = json!({
            "telemetry": {"endpoint": format!("https://{}:4318", self.host())},
            "relay": {"caBundle": {"secret": "backend-ca"}, "tokenSecret": {"name": "relay"}},
        });
        self.scene.install_agent(&values).await;
    }

    /// Waits until the backend answers an empty request with `token` by `status`, over TLS with a certificate of `authority`.
    async fn answered(&self, authority: &Authority, token: &str, status: StatusCode) {
        let pod = self.scene.pod(Workload::Backend).await;
        let certificate = CertificateDer::from_pem_file(authority.certificate()).unwrap().to_vec();
        self.scene
            .until(&format!("the backend to answer {status}"), async || {
                let url = format!("https://{}:4318", pod.address());
                let mut config = kube::Config::new(url.parse().unwrap());
                config.root_cert = Some(vec![certificate.clone()]);
                config.tls_server_name = Some(self.host());
                config.default_retry = false;
                let client = kube::Client::try_from(config).unwrap();
                let request = Request::post("/v1/logs")
                    .header("authorization", format!("Bearer {token}"))
                    .header("content-type", "application/json")
                    .body(Body::from(b"{}".to_vec()))
                    .unwrap();
                let response = client.send(request).await.ok()?;
                (response.status() == status).then_some(())
            })
            .await;
    }

    /// Waits until the backend presents this certificate of `authority`.
    async fn presented(&self, authority: &Authority, expected: &CertificateDer<'_>) {
        let pod = self.scene.pod(Workload::Backend).await;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority.certificate()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let connector = TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()));
        self.scene
            .until("the backend to present the new certificate", async || {
                let stream = TcpStream::connect((pod.address(), 4318)).await.ok()?;
                let stream = connector.connect(ServerName::try_from(self.host()).unwrap(), stream).await.ok()?;
                (stream.get_ref().1.peer_certificates()?.first()? == expected).then_some(())
            })
            .await;
    }

    /// Waits until the relay sends this token: it has read the file when two exports have succeeded after the file has changed.
    async fn sent(&self, token: &str) {
        let relay = self.scene.pod(Workload::Agent).await.container_id("relay");
        let process = self.scene.processes(&relay)[0];
        let file = root_of(process).join("etc/kamaji-telemetry/token/token");
        let read = async || std::fs::read(&file).is_ok_and(|content| content == token.as_bytes()).then_some(());
        self.scene.until("the token in the relay's container", read).await;
        let before = self.exports("", true).await;
        let sent = async || (self.exports("", true).await >= before + 2).then_some(());
        self.scene.until("two exports with the token", sent).await;
    }

    /// Returns the number of the agent's exports that have succeeded, or that have failed: of one signal, or of all if it is empty.
    async fn exports(&self, signal: &str, is_success: bool) -> u64 {
        let metrics = self.scene.metrics(&self.scene.pod(Workload::Agent).await).await;
        let lines = metrics
            .lines()
            .filter(|line| line.contains(&format!("_exports_total{{signal=\"{signal}")))
            .filter(|line| line.contains("result=\"success\"") == is_success);
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    async fn containers(&self) -> Containers {
        let of = |pod: &Pod, name: &str| (pod.container_id(name), pod.restarts(name));
        let agent = self.scene.pod(Workload::Agent).await;
        let backend = self.scene.pod(Workload::Backend).await;
        Containers { backend: of(&backend, "backend"), agent: of(&agent, "agent"), relay: of(&agent, "relay") }
    }

    /// Waits until the agent's events were refused, as its metrics count it.
    async fn refused(&self) {
        let refused = async || (self.exports("logs", false).await > 0).then_some(());
        self.scene.until("a refused event", refused).await;
    }

    /// Installs both charts: a backend with a certificate of `authority` that accepts [`FIRST`], and a relay that sends `token`.
    async fn install(&self, authority: &Authority, token: &str) {
        self.certificate(authority).await;
        self.bundle(&[authority]).await;
        self.accept(&[FIRST]).await;
        self.send(token).await;
        self.install_backend().await;
        self.install_agent().await;
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn an_event_arrives_over_tls_of_a_private_ca_once_its_token_is_right() {
    let secured = Secured::new().await;
    let authority = secured.authority("first");
    secured.install(&authority, SECOND).await;
    let fleet = Fleet::new(&secured.scene);
    fleet.create().await;
    secured.refused().await;
    secured.scene.stored(&[]).await;
    let before = secured.containers().await;
    secured.send(FIRST).await;
    fleet.stored().await;
    assert_eq!(secured.containers().await, before, "no container was started again");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn tokens_certificates_and_cas_are_replaced_without_a_lost_event() {
    let secured = Secured::new().await;
    let [first, second] = ["first", "second"].map(|name| secured.authority(name));
    secured.install(&first, FIRST).await;
    probe_often(&secured.scene).await;
    let fleet = Fleet::new(&secured.scene);
    fleet.create().await;
    fleet.stored().await;
    let (before, failures) = (secured.containers().await, secured.exports("", false).await);

    let injury = Injury::begin("backend and relay, token replaced");
    fleet.during(replace_token(&secured, &first)).await;
    fleet.lost_nothing(injury).await;
    // By the same CA. The relay's next connection gets the new certificate.
    let injury = Injury::begin("backend, its certificate renewed");
    let renewed = secured.certificate(&first).await;
    fleet.during(secured.presented(&first, &renewed)).await;
    fleet.lost_nothing(injury).await;
    assert_eq!(secured.exports("", false).await, failures, "no export has failed meanwhile");
    assert_eq!(secured.containers().await, before, "no container was started again");

    let injury = Injury::begin("backend and relay, CA replaced");
    fleet.during(replace_authority(&secured, &first, &second)).await;
    fleet.lost_nothing(injury).await;
    let after = secured.containers().await;
    assert_eq!((after.backend, after.agent), (before.backend, before.agent), "neither was started again");
    assert_eq!(after.relay.1, before.relay.1 + 2, "the relay reads a bundle at its start");
}

/// Replaces the token at both ends: the backend accepts both of them until the relay sends the new one.
async fn replace_token(secured: &Secured, authority: &Authority) {
    secured.accept(&[FIRST, SECOND]).await;
    secured.answered(authority, SECOND, StatusCode::OK).await;
    secured.send(SECOND).await;
    secured.sent(SECOND).await;
    secured.accept(&[SECOND]).await;
    secured.answered(authority, FIRST, StatusCode::UNAUTHORIZED).await;
}

/// Replaces the CA of the backend's certificate, as cert-manager does: before the old one expires, and with both of them in the
/// bundle meanwhile.
async fn replace_authority(secured: &Secured, first: &Authority, second: &Authority) {
    let relay = secured.containers().await.relay;
    secured.bundle(&[first, second]).await;
    restarted(secured, &relay).await;
    secured.certificate(second).await;
    secured.answered(second, SECOND, StatusCode::OK).await;
    let relay = secured.containers().await.relay;
    secured.bundle(&[second]).await;
    restarted(secured, &relay).await;
}

/// Waits until another container of the relay answers its probes.
async fn restarted(secured: &Secured, before: &(String, u64)) {
    secured
        .scene
        .until("another container of the relay", async || {
            let pod = secured.scene.pod(Workload::Agent).await;
            let is_started = pod.container("relay")["started"] == true;
            (is_started && pod.is_ready() && pod.container_id("relay") != before.0).then_some(())
        })
        .await;
}

/// Lets the kubelet probe the relay each second, so that it is found sooner that its bundle has changed.
async fn probe_often(scene: &Scene) {
    let relay = json!({"name": "relay", "livenessProbe": {"periodSeconds": 1}});
    let patch = json!({"spec": {"template": {"spec": {"initContainers": [relay]}}}}).to_string();
    let deployment = "deployment/kamaji-telemetry-agent";
    scene.in_namespace(&["patch", deployment, "--patch", &patch]).await.unwrap();
    scene.in_namespace(&["rollout", "status", deployment]).await.unwrap();
}
