//! The connection to the collector over TLS, with a private CA and a client certificate.

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

/// The time in which a delivery that must fail is given a chance: that of many handshakes on loopback.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(3);

struct AcceptAll;

#[tonic::async_trait]
impl LogsService for AcceptAll {
    async fn export(
        &self,
        _: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

/// A collector with a certificate of a private CA, which requires a client certificate of the same CA.
struct MutualTlsCollector {
    folder: TempDir,
    endpoint: String,
    task: JoinHandle<()>,
}

impl MutualTlsCollector {
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
        let service = LogsServiceServer::new(AcceptAll);
        let task = tokio::spawn(async move {
            serve(server, service, listener).await;
        });
        Self { folder, endpoint, task }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn exporter_config(&self) -> ExporterConfig {
        ExporterConfig {
            endpoint: self.endpoint.clone(),
            timeout: Duration::from_secs(10),
            gzip: false,
            headers: HeaderMap::new(),
            headers_file: None,
            ca: Some(self.file("ca.pem")),
            identity: Some((self.file("client.pem"), self.file("client.key"))),
        }
    }
}

impl Drop for MutualTlsCollector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut server: Server, service: LogsServiceServer<AcceptAll>, listener: TcpListener) {
    server.add_service(service).serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
}

/// Returns whether an event is acknowledged within [`DELIVERY_TIMEOUT`].
async fn is_delivered(config: &ExporterConfig) -> bool {
    let event = EventRecord {
        uid: Uuid::new_v4(),
        time: Timestamp::now(),
        kamaji_version: KamajiVersion::Unknown,
        kubernetes_version: KubernetesVersion::Unknown,
        event: Event::Created { tcp_version: KubernetesVersion::Unknown, extended: None },
    };
    let mut exporter = EventExporter::new(&config.connect().unwrap(), Duration::from_secs(1), Arc::default());
    tokio::time::timeout(DELIVERY_TIMEOUT, exporter.deliver(&[event]))
        .await
        .is_ok_and(|outcome| outcome.acknowledged.len() == 1)
}

#[tokio::test]
async fn a_private_ca_and_a_client_certificate_are_used() {
    let collector = MutualTlsCollector::start().await;
    assert!(is_delivered(&collector.exporter_config()).await);
}

#[tokio::test]
async fn a_server_of_an_unknown_ca_is_rejected() {
    let collector = MutualTlsCollector::start().await;
    assert!(!is_delivered(&ExporterConfig { ca: None, ..collector.exporter_config() }).await);
}

#[tokio::test]
async fn a_client_without_a_certificate_is_rejected() {
    let collector = MutualTlsCollector::start().await;
    assert!(!is_delivered(&ExporterConfig { identity: None, ..collector.exporter_config() }).await);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named() {
    let collector = MutualTlsCollector::start().await;
    let missing = Path::new("nowhere/ca.pem");
    let config = ExporterConfig { ca: Some(missing.to_owned()), ..collector.exporter_config() };
    let error = format!("{:#}", config.check().err().unwrap());
    assert!(error.contains("nowhere/ca.pem"), "{error}");
    let plain = ExporterConfig { endpoint: "http://localhost:1".to_owned(), ..collector.exporter_config() };
    let error = format!("{:#}", plain.check().err().unwrap());
    assert!(error.contains("plain HTTP") && error.contains("https://"), "{error}");
}
