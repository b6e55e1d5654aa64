//! Secrets, certificates and CA bundles that are replaced while agent and relay run: what is sent meanwhile arrives, and
//! nothing is restarted but a relay whose CA bundle has changed.

mod terminator;

use std::path::PathBuf;

use kamaji_telemetry::backend::auth::AuthConfig;
use tempfile::TempDir;

use crate::backend::harness::Backend;
use crate::program::{Agent, AgentOptions};
use crate::servers::{ApiServer, Authority, Collector, MountedVolume, checkout, eventually, tcp};
use terminator::Terminator;

const FIRST: &str = "0123456789abcdef0123456789abcdef";
const SECOND: &str = "fedcba9876543210fedcba9876543210";

/// The counter of files that could not be used, followed by its value.
const FAILURES: &str = "kamaji_telemetry_agent_connection_reloads_total{result=\"failure\"} ";

/// A cluster and a backend whose senders need a token.
struct Scene {
    cluster: ApiServer,
    backend: Backend,
    folder: TempDir,
}

impl Scene {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tokens = folder.path().join("tokens");
        std::fs::write(&tokens, FIRST).unwrap();
        let auth = AuthConfig { ingest_token_file: Some(tokens), ..AuthConfig::default() };
        Self { cluster: ApiServer::start_with_kamaji().await, backend: Backend::with_auth(auth).await, folder }
    }

    /// Creates a CA of its own folder.
    fn authority(&self, name: &str) -> Authority {
        let folder = self.folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        Authority::new(&folder)
    }

    /// Accepts this token of senders and no other.
    fn require(&self, token: &str) {
        // A rename, so that no half-written file is read.
        let next = self.folder.path().join("next");
        std::fs::write(&next, token).unwrap();
        std::fs::rename(next, self.folder.path().join("tokens")).unwrap();
    }

    /// Starts an agent that tries again every second.
    async fn agent(&self, endpoint: &str, variables: &[(&str, &str)]) -> Agent {
        let options = AgentOptions::new(&self.cluster, endpoint).argument("--export-interval=1s");
        let options = options.argument("--retry-max-interval=1s");
        let options = variables.iter().fold(options, |options, (name, value)| options.variable(name, value));
        let agent = options.start().await;
        agent.ready().await;
        agent
    }

    /// Makes an event.
    async fn create(&self, name: &str) {
        self.cluster.create(tcp(name).status("Ready")).await;
    }

    /// Waits until the backend has this number of events.
    async fn received(&self, events: u64) {
        let received = async || (self.backend.count("events") == events).then_some(());
        eventually(&format!("event {events}"), received).await;
    }

    /// Waits until the backend refuses a new event, which thus waits in the journal. Of two more failures the first may be of an
    /// export that began before the call.
    async fn refused(&self, agent: &Agent, events: u64) {
        let exports = |metrics: &str| {
            let failed = metrics.lines().filter(|line| line.contains("exports_total{signal=\"logs\",result="));
            failed.filter(|line| !line.contains("\"success\"")).map(value).sum::<u64>()
        };
        let before = exports(&agent.metrics().await);
        let refused = async || (exports(&agent.metrics().await) >= before + 2).then_some(());
        eventually("two failed exports of events", refused).await;
        assert_eq!(self.backend.count("events"), events, "the new event is kept");
    }
}

fn value(line: &str) -> u64 {
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Returns the content of a certificate's file and of its key's.
fn read((certificate, key): &(PathBuf, PathBuf)) -> [String; 2] {
    [certificate, key].map(|path| std::fs::read_to_string(path).unwrap())
}

fn read_ca(authority: &Authority) -> String {
    std::fs::read_to_string(authority.certificate()).unwrap()
}

/// Returns a volume with a client certificate of `authority`, and its key.
fn mounted_client(authority: &Authority) -> (MountedVolume, String) {
    let [certificate, key] = read(&authority.issue("client", |_| ()));
    (MountedVolume::new(&[("tls.crt", &certificate), ("tls.key", &key)]), key)
}

async fn start_relay(configs: &[&str], variables: &[(&str, &str)]) -> Collector {
    let configs: Vec<_> = configs.iter().map(|name| checkout("otel-collector").join(name)).collect();
    let configs: Vec<_> = configs.iter().map(PathBuf::as_path).collect();
    // The relay's own interval is for files that change a few times a year.
    Collector::start_merged(&configs, variables, &["exporters::otlp_http::tls::reload_interval=100ms"]).await
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_relay_sends_a_replaced_token_and_keeps_the_last_one_while_the_file_is_empty() {
    let scene = Scene::start().await;
    let mut token = MountedVolume::new(&[("token", FIRST)]);
    let (url, file) = (format!("http://{}", scene.backend.http), token.file("token"));
    let variables = [("RELAY_ENDPOINT", &*url), ("RELAY_TOKEN_FILE", &*file)];
    let relay = start_relay(&["relay.yaml", "token.yaml"], &variables).await;
    let agent = scene.agent(&relay.endpoint(), &[]).await;
    scene.create("one").await;
    scene.received(1).await;

    token.update(&[("token", "")]);
    let kept = async || relay.output().contains("keeping last value").then_some(());
    eventually("the relay to find the empty file", kept).await;
    scene.create("two").await;
    scene.received(2).await;

    scene.require(SECOND);
    // The backend reads its tokens every 5 s; until then it takes the first.
    agent.logged("failed to export gauges").await;
    scene.create("three").await;
    scene.refused(&agent, 2).await;
    token.update(&[("token", SECOND)]);
    scene.received(3).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_relay_presents_a_replaced_client_certificate_and_trusts_a_replaced_ca_bundle_once_it_is_restarted() {
    let scene = Scene::start().await;
    let (old, new) = (scene.authority("old"), scene.authority("new"));
    let terminator = Terminator::start(scene.backend.http, b"http/1.1", &old, &old).await;
    let (mut client, key) = mounted_client(&old);
    let mut ca = MountedVolume::new(&[("ca.crt", &read_ca(&old))]);
    let token = MountedVolume::new(&[("token", FIRST)]);
    let url = terminator.url();
    let files = [client.file("tls.crt"), client.file("tls.key"), ca.file("ca.crt"), token.file("token")];
    let names = ["RELAY_CERT_FILE", "RELAY_KEY_FILE", "RELAY_CA_FILE", "RELAY_TOKEN_FILE"];
    let mut variables: Vec<_> = names.into_iter().zip(files.iter().map(String::as_str)).collect();
    variables.push(("RELAY_ENDPOINT", &url));
    let mut relay = start_relay(&["relay.yaml", "token.yaml"], &variables).await;
    let (health, ca_file) = (relay.health_url(), ca.file("ca.crt"));
    let variables = [("KAMAJI_TELEMETRY_RELAY_CA_FILE", &*ca_file), ("KAMAJI_TELEMETRY_RELAY_HEALTH_URL", &*health)];
    let agent = scene.agent(&relay.endpoint(), &variables).await;
    scene.create("one").await;
    scene.received(1).await;

    terminator.replace(&old, &new);
    scene.create("two").await;
    scene.refused(&agent, 1).await;
    let [new_certificate, new_key] = read(&new.issue("client", |_| ()));
    // A pair that does not belong together, as between two writes of one who does not use a Secret.
    client.update(&[("tls.crt", &new_certificate), ("tls.key", &key)]);
    scene.refused(&agent, 1).await;
    client.update(&[("tls.crt", &new_certificate), ("tls.key", &new_key)]);
    scene.received(2).await;

    terminator.replace(&new, &new);
    scene.create("three").await;
    scene.refused(&agent, 2).await;
    // The relay could not start with it.
    ca.update(&[("ca.crt", "no certificate")]);
    assert!(agent.answers_ok("/livez/relay").await);
    ca.update(&[("ca.crt", &(read_ca(&old) + &read_ca(&new)))]);
    assert!(!agent.answers_ok("/livez/relay").await, "the kubelet restarts the relay");
    // If this fails, the collector reloads its CA bundle by itself, and the agent need not answer for the relay.
    scene.refused(&agent, 2).await;
    relay.stop();
    assert!(!agent.answers_ok("/livez/relay").await, "the relay is down");
    relay.resume().await;
    assert!(agent.answers_ok("/livez/relay").await);
    scene.received(3).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_agent_without_a_relay_takes_replaced_headers_certificates_and_cas_and_keeps_the_last_that_can_be_used() {
    let scene = Scene::start().await;
    let (old, new) = (scene.authority("old"), scene.authority("new"));
    let terminator = Terminator::start(scene.backend.grpc, b"h2", &old, &old).await;
    let header = |token| format!("authorization=Bearer%20{token}\n");
    let (mut client, key) = mounted_client(&old);
    let mut ca = MountedVolume::new(&[("ca.crt", &read_ca(&old))]);
    let mut headers = MountedVolume::new(&[("headers", &header(FIRST))]);
    let files = [client.file("tls.crt"), client.file("tls.key"), ca.file("ca.crt"), headers.file("headers")];
    let names = [
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY",
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        "KAMAJI_TELEMETRY_HEADERS_FILE",
    ];
    let variables: Vec<_> = names.into_iter().zip(files.iter().map(String::as_str)).collect();
    let agent = scene.agent(&terminator.url(), &variables).await;
    let failures = async || agent.metrics().await.lines().find(|line| line.starts_with(FAILURES)).map_or(0, value);
    scene.create("one").await;
    scene.received(1).await;

    scene.require(SECOND);
    agent.logged("failed to export gauges").await;
    scene.create("two").await;
    scene.refused(&agent, 1).await;
    headers.update(&[("headers", &format!("authorization: {SECOND}"))]);
    let log = agent.logged("failed to reload the files of the connection").await;
    assert!(log.contains(&files[3]) && !log.contains(SECOND), "{log}");
    headers.update(&[("headers", &header(SECOND))]);
    scene.received(2).await;
    agent.logged("the files of the connection to the collector can be used again").await;

    terminator.replace(&old, &new);
    let [new_certificate, new_key] = read(&new.issue("client", |_| ()));
    client.update(&[("tls.crt", &new_certificate), ("tls.key", &key)]);
    eventually("the pair to be refused", async || (failures().await == 2).then_some(())).await;
    scene.create("three").await;
    scene.refused(&agent, 2).await;
    client.update(&[("tls.crt", &new_certificate), ("tls.key", &new_key)]);
    scene.received(3).await;

    ca.update(&[("ca.crt", "no certificate")]);
    eventually("the bundle to be refused", async || (failures().await == 3).then_some(())).await;
    scene.create("four").await;
    scene.received(4).await;
    terminator.replace(&new, &new);
    scene.create("five").await;
    scene.refused(&agent, 4).await;
    ca.update(&[("ca.crt", &read_ca(&new))]);
    scene.received(5).await;
    assert_eq!(agent.log().matches("failed to reload the files").count(), 3, "one line a failure: {}", agent.log());
}
