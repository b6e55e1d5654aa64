//! TLS on both ports, from files that change.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use uuid::Uuid;

use super::harness::request;
use super::samples::{created, logs_request, now};
use crate::program::{Backend, PROGRAM};
use crate::servers::eventually;

/// An authority, and a folder in which certificates are replaced as a kubelet does: a link is swapped for another.
pub(crate) struct Authority {
    ca: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { ca, folder: tempfile::tempdir().unwrap() }
    }

    /// Issues a certificate that is valid until 1 January of `year`, and its key.
    pub(crate) fn issue(&self, year: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        (params.signed_by(&key, &self.ca).unwrap().pem(), key.serialize_pem())
    }

    /// Replaces the certificate and its key.
    pub(crate) fn put(&self, (certificate, key): (&str, &str)) {
        let data = self.folder.path().join(Uuid::new_v4().to_string());
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("tls.crt"), certificate).unwrap();
        std::fs::write(data.join("tls.key"), key).unwrap();
        let link = self.folder.path().join("new");
        symlink(&data, &link).unwrap();
        std::fs::rename(link, self.folder.path().join("data")).unwrap();
    }

    fn flags(&self) -> [String; 3] {
        let data = self.folder.path().join("data");
        [
            format!("--tls-cert={}", data.join("tls.crt").display()),
            format!("--tls-key={}", data.join("tls.key").display()),
            "--tls-reload-interval=1s".into(),
        ]
    }

    /// Starts a backend with the current certificate.
    pub(crate) async fn start(&self) -> Backend {
        let flags = self.flags();
        Backend::start_with(&flags.each_ref().map(String::as_str)).await
    }

    /// Connects a client of OTLP over gRPC that trusts this authority alone.
    pub(crate) async fn logs_client(&self, address: SocketAddr) -> LogsServiceClient<Channel> {
        let trust =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(self.ca.pem())).domain_name("localhost");
        let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(trust).unwrap();
        LogsServiceClient::new(endpoint.connect().await.unwrap())
    }

    /// Returns the response to `GET path` with a reader's token.
    pub(crate) async fn get(&self, address: SocketAddr, path: &str, token: &str) -> String {
        let mut stream = self.connect(address, b"http/1.1").await;
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    }

    /// Opens a connection that trusts this authority alone.
    async fn connect(&self, address: SocketAddr, protocol: &[u8]) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(address).await.unwrap();
        TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), stream).await.unwrap()
    }
}

/// Returns the certificate that the server presented.
fn presented(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// Returns whether a request on this connection is served.
async fn is_served(stream: &mut TlsStream<TcpStream>) -> bool {
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut response = [0; 15];
    stream.read_exact(&mut response).await.unwrap();
    let mut rest = Vec::new();
    while !rest.ends_with(b"\r\n\r\nok\n") {
        rest.push(stream.read_u8().await.unwrap());
    }
    &response == b"HTTP/1.1 200 OK"
}

#[tokio::test]
async fn both_ports_speak_tls_and_new_connections_get_the_new_certificate() {
    let authority = Authority::new();
    let (first, key) = authority.issue(2100);
    authority.put((&first, &key));
    let backend = authority.start().await;
    let mut old = authority.connect(backend.http(), b"http/1.1").await;
    assert_eq!(presented(&old), der(&first));
    assert!(is_served(&mut old).await);
    assert_eq!(authority.connect(backend.http(), b"h2").await.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));

    let mut client = authority.logs_client(backend.grpc()).await;
    let mut export = async || client.export(logs_request(vec![created(Uuid::new_v4(), now())])).await;
    export().await.unwrap();

    let (second, key) = authority.issue(2099);
    authority.put((&second, &key));
    let new = async || {
        Some(authority.connect(backend.http(), b"http/1.1").await).filter(|new| presented(new) == der(&second))
    };
    let mut new = eventually("the new certificate to be presented", new).await;
    assert_eq!(presented(&authority.connect(backend.grpc(), b"h2").await), der(&second));
    assert!(is_served(&mut old).await && is_served(&mut new).await);
    export().await.unwrap();
    let expiry = jiff::Timestamp::from_second(4_070_908_800).unwrap();
    assert_eq!(expiry.to_string(), "2099-01-01T00:00:00Z");
    let expected = format!("tls_certificate_expiry_timestamp_seconds {}\n", expiry.as_second());
    let metrics = backend.metrics().await;
    assert!(metrics.contains(&expected) && metrics.contains("tls_reloads_total{result=\"success\"} 1\n"), "{metrics}");
}

#[tokio::test]
async fn a_pair_that_cannot_be_used_changes_nothing_and_is_logged_once() {
    let authority = Authority::new();
    let (first, key) = authority.issue(2100);
    authority.put((&first, &key));
    let backend = authority.start().await;
    // Of another certificate.
    let (_, foreign) = authority.issue(2100);
    authority.put((&first, &foreign));
    backend.logged("it is not the key of the certificate").await;
    assert_eq!(presented(&authority.connect(backend.http(), b"h2").await), der(&first));
    // By the time that the next one is taken, the last was looked at several times.
    let (second, key) = authority.issue(2100);
    authority.put(("nothing", &key));
    backend.logged("there is none in it").await;
    authority.put((&second, &key));
    backend.logged("new connections get the new certificate").await;
    assert_eq!(presented(&authority.connect(backend.http(), b"h2").await), der(&second));
    let logged = backend.log().matches("the old one stays in use").count();
    assert_eq!(logged, 2, "{}", backend.log());
    assert!(backend.metrics().await.contains("tls_reloads_total{result=\"failure\"} 2\n"));
}

#[tokio::test]
async fn a_sign_in_over_tls_gets_a_secure_cookie() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue(2100);
    authority.put((&certificate, &key));
    let backend = authority.start().await;
    let body = format!("token={}", backend.token("alice"));
    let head = format!(
        "POST /sign-in HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\norigin: https://localhost\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = authority.connect(backend.http(), b"http/1.1").await;
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let cookie = response.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.starts_with("__Host-ktt_session=") && cookie.ends_with("; Secure"), "{response}");
}

/// Runs the program until it exits with an error, and returns its stderr.
fn exit_of(flags: &[String]) -> String {
    let output = Command::new(PROGRAM).args(["backend", "serve"]).args(flags).env_clear().output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn files_that_cannot_be_used_are_named_at_the_start() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue(2100);
    let (_, foreign) = authority.issue(2100);
    let [cert_flag, key_flag, _] = authority.flags();
    for (pair, expected) in [
        (("", key.as_str()), ["--tls-cert", "tls.crt", "expected PEM certificates"]),
        ((key.as_str(), key.as_str()), ["--tls-cert", "tls.crt", "expected PEM certificates"]),
        ((certificate.as_str(), certificate.as_str()), ["--tls-key", "tls.key", "expected a PEM private key"]),
        (
            (certificate.as_str(), foreign.as_str()),
            ["--tls-key", "tls.key", "not the key of the certificate in --tls-cert"],
        ),
    ] {
        authority.put(pair);
        let error = exit_of(&[cert_flag.clone(), key_flag.clone()]);
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
    }
    let missing = exit_of(&["--tls-cert=/nowhere/tls.crt".into(), key_flag.clone()]);
    assert!(missing.contains("--tls-cert /nowhere/tls.crt: expected a PEM file"), "{missing}");
    assert!(exit_of(&[cert_flag]).contains("--tls-key"));
    assert!(!Path::new("kamaji-telemetry.db").exists());
}

#[tokio::test]
async fn browsers_are_told_to_come_over_tls_alone_where_they_do() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue(2100);
    authority.put((&certificate, &key));
    let backend = authority.start().await;
    let hsts = "strict-transport-security: max-age=31536000\r\n";
    for path in ["/", "/livez", "/v1/logs", "/nowhere"] {
        let response = authority.get(backend.http(), path, "none").await;
        assert!(response.contains(hsts), "{path}: {response}");
    }
    for (flags, is_told) in [
        (&["--public-url=https://telemetry.example.org"][..], true),
        (&["--public-url=http://telemetry.example.org"], false),
        (&[], false),
    ] {
        let backend = Backend::start_with(flags).await;
        let reply = request(backend.http(), "GET", "/style.css", &[("x-forwarded-proto", "https")], &[]).await;
        assert_eq!(reply.header("strict-transport-security").is_some(), is_told, "{flags:?}");
    }
}
