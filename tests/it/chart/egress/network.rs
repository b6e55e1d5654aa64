//! Network between the relay and the backend: a TLS terminator that requires client certificates, and an HTTP proxy.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// Host name of the backend, which is not resolvable.
const HOST: &str = "backend.test";

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// A TLS terminator with a certificate of a private CA, which requires client certificates of the same CA.
pub(super) struct TlsTerminator {
    address: SocketAddr,
    ca: Issuer,
    task: JoinHandle<()>,
}

impl TlsTerminator {
    /// Starts a terminator in front of a server without TLS.
    pub(super) async fn start(server: SocketAddr) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server_config(&ca)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut joined = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                joined.spawn(forward(acceptor.clone(), client, server));
            }
        });
        Self { address, ca, task }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the CA's certificate in PEM.
    pub(super) fn ca_certificate(&self) -> String {
        self.ca.pem()
    }

    /// Issues a client certificate, and returns it and its key in PEM.
    pub(super) fn issue_client_certificate(&self) -> (String, String) {
        issue(&self.ca, "relay")
    }
}

fn issue(ca: &Issuer, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, ca).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn server_config(ca: &Issuer) -> ServerConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let (certificate, key) = issue(ca, HOST);
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap()
}

async fn forward(acceptor: TlsAcceptor, client: TcpStream, server: SocketAddr) -> std::io::Result<()> {
    let mut client = acceptor.accept(client).await?;
    copy_bidirectional(&mut client, &mut TcpStream::connect(server).await?).await?;
    Ok(())
}

/// An HTTP proxy that connects every CONNECT request to one server, and records the requested targets.
pub(super) struct ConnectProxy {
    address: SocketAddr,
    targets: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl ConnectProxy {
    pub(super) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let targets = Arc::<Mutex<Vec<String>>>::default();
        let recorded = Arc::clone(&targets);
        let task = tokio::spawn(async move {
            let mut joined = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                joined.spawn(connect(client, server, Arc::clone(&recorded)));
            }
        });
        Self { address, targets, task }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the targets of all CONNECT requests.
    pub(super) fn targets(&self) -> Vec<String> {
        self.targets.lock().unwrap().clone()
    }
}

async fn connect(client: TcpStream, server: SocketAddr, targets: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && client.read_line(&mut head).await? > 0 {}
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
    targets.lock().unwrap().push(target.unwrap_or(&head).to_owned());
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut TcpStream::connect(server).await?).await?;
    Ok(())
}

impl Drop for TlsTerminator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
