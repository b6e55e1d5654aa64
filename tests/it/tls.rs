//! The connection to the collector over TLS: a private CA, and a certificate of the client's own.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use kamaji_telemetry::agent::export::connection::ExporterConfig;
use kamaji_telemetry::agent::export::events::EventExporter;
use kamaji_telemetry::catalog::{Event, EventRecord, KamajiVersion, KubernetesVersion};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};
use uuid::Uuid;

/// How long a delivery that must not succeed is watched: many handshakes on loopback.
const WATCHED: Duration = Duration::from_secs(3);

struct TakesAll;

#[tonic::async_trait]
impl LogsService for TakesAll {
    async fn export(
        &self,
        _: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

/// A collector that shows a certificate of a private CA, and takes only clients that do too.
struct Guarded {
    folder: TempDir,
    endpoint: String,
    task: JoinHandle<()>,
}

impl Guarded {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        let issue = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
            (certificate.pem(), key.serialize_pem())
        };
        let (certificate, key) = issue("client");
        std::fs::write(folder.path().join("client.pem"), certificate).unwrap();
        std::fs::write(folder.path().join("client.key"), key).unwrap();

        let (certificate, key) = issue("localhost");
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(certificate, key))
            .client_ca_root(Certificate::from_pem(ca.pem()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let server = Server::builder().tls_config(tls).unwrap();
        let service = LogsServiceServer::new(TakesAll);
        let task = tokio::spawn(async move {
            server_of(server, service, listener).await;
        });
        Self { folder, endpoint, task }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn collector(&self) -> ExporterConfig {
        ExporterConfig {
            endpoint: self.endpoint.clone(),
            timeout: Duration::from_secs(10),
            gzip: false,
            headers: HeaderMap::new(),
            ca: Some(self.file("ca.pem")),
            identity: Some((self.file("client.pem"), self.file("client.key"))),
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn server_of(mut server: Server, service: LogsServiceServer<TakesAll>, listener: TcpListener) {
    server.add_service(service).serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
}

/// Whether an event is acknowledged within [`WATCHED`].
async fn is_delivered(collector: &ExporterConfig) -> bool {
    let event = EventRecord {
        uid: Uuid::new_v4(),
        time: Timestamp::now(),
        kamaji_version: KamajiVersion::Unknown,
        kubernetes_version: KubernetesVersion::Unknown,
        event: Event::Created { tcp_version: KubernetesVersion::Unknown, with: None },
    };
    let mut events = EventExporter::new(&collector.connect().unwrap(), Duration::from_secs(1), Arc::default());
    tokio::time::timeout(WATCHED, events.deliver(&[event])).await.is_ok_and(|settled| settled.acknowledged.len() == 1)
}

#[tokio::test]
async fn a_private_ca_and_a_client_certificate_are_used() {
    let guarded = Guarded::start().await;
    assert!(is_delivered(&guarded.collector()).await);
}

#[tokio::test]
async fn a_server_of_an_unknown_ca_is_not_talked_to() {
    let guarded = Guarded::start().await;
    assert!(!is_delivered(&ExporterConfig { ca: None, ..guarded.collector() }).await);
}

#[tokio::test]
async fn without_its_certificate_a_client_is_not_served() {
    let guarded = Guarded::start().await;
    assert!(!is_delivered(&ExporterConfig { identity: None, ..guarded.collector() }).await);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named() {
    let guarded = Guarded::start().await;
    let missing = Path::new("nowhere/ca.pem");
    let collector = ExporterConfig { ca: Some(missing.to_owned()), ..guarded.collector() };
    let error = format!("{:#}", collector.check().err().unwrap());
    assert!(error.contains("nowhere/ca.pem"), "{error}");
    let plain = ExporterConfig { endpoint: "http://localhost:1".to_owned(), ..guarded.collector() };
    let error = format!("{:#}", plain.check().err().unwrap());
    assert!(error.contains("plain HTTP") && error.contains("https://"), "{error}");
}
