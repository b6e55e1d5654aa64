//! TLS of the tests' own servers, and certificates of every kind.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Returns an acceptor with a certificate and a key from PEM files.
pub(crate) fn acceptor(certificate: &Path, key: &Path) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    TlsAcceptor::from(Arc::new(config.expect("the key is the certificate's")))
}

/// A CA with its certificate in a file, and the certificates that it issues.
pub(crate) struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A server's certificate that a client has to refuse.
pub(crate) struct RefusedCertificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// The file that the client trusts.
    pub(crate) trusted: PathBuf,
    /// A part of the client's error, with TRUSTED for the setting that names the trusted file.
    pub(crate) expected: &'static str,
}

impl Authority {
    /// Creates a CA whose files are in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
        std::fs::write(folder.join("ca.pem"), issuer.pem()).expect("the folder is writable");
        Self { folder: folder.to_owned(), issuer }
    }

    /// Returns the path of the CA's certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Issues a certificate named `file`, changed by `change`, and returns the paths of the certificate and its key.
    pub(crate) fn issue(&self, file: &str, change: impl FnOnce(&mut CertificateParams)) -> (PathBuf, PathBuf) {
        let (params, key) = params(change);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        write(&self.folder, file, &certificate.pem(), &key)
    }

    /// Returns the paths of a self-signed certificate, changed by `change`, and of its key.
    pub(crate) fn self_signed(&self, file: &str, change: impl FnOnce(&mut CertificateParams)) -> (PathBuf, PathBuf) {
        let (params, key) = params(change);
        write(&self.folder, file, &params.self_signed(&key).expect("a certificate").pem(), &key)
    }
}

impl Authority {
    /// Returns certificates that a client has to refuse. Clients written in Go take the last two.
    pub(crate) fn refused_certificates(&self) -> Vec<RefusedCertificate> {
        let ca = self.certificate();
        let refused = |(certificate, key): (PathBuf, PathBuf), trusted: Option<&PathBuf>, expected| {
            RefusedCertificate { trusted: trusted.unwrap_or(&certificate).clone(), certificate, key, expected }
        };
        let expired = self.issue("expired", |params| params.not_after = date_time_ymd(2020, 2, 29));
        let future = self.issue("future", |params| {
            (params.not_before, params.not_after) = (date_time_ymd(2090, 1, 1), date_time_ymd(2091, 1, 1));
        });
        let other = self.issue("other", |params| {
            *params =
                CertificateParams::new(["other.test".to_owned(), "10.0.0.1".to_owned()]).expect("these are names");
        });
        let nameless = self.issue("nameless", |params| params.subject_alt_names.clear());
        let stranger = self.self_signed("stranger", |_| ());
        let leaf = self.issue("leaf", |_| ());
        let authority =
            self.self_signed("authority", |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        vec![
            refused(expired, Some(&ca), "expired on 2020-02-29T00:00:00Z: renew it"),
            refused(future, Some(&ca), "not valid before 2090-01-01T00:00:00Z: compare the clocks"),
            refused(other, Some(&ca), "is not for 127.0.0.1, only for other.test, 10.0.0.1: "),
            refused(nameless, Some(&ca), "has no subject alternative name: give it one with 127.0.0.1"),
            refused(stranger, Some(&ca), "is not signed by a CA that is trusted here"),
            refused(
                leaf,
                None,
                "set TRUSTED to the certificate of the CA that signed it; the server's own certificate is not",
            ),
            refused(authority, None, "is itself one of a CA (CA:TRUE), which no server may present"),
        ]
    }
}

/// Returns the parameters of a certificate for loopback.
fn params(change: impl FnOnce(&mut CertificateParams)) -> (CertificateParams, KeyPair) {
    let names = ["127.0.0.1", "localhost"].map(str::to_owned);
    let mut params = CertificateParams::new(names).expect("these are names");
    change(&mut params);
    (params, KeyPair::generate().expect("a key"))
}

fn write(folder: &Path, file: &str, certificate: &str, key: &KeyPair) -> (PathBuf, PathBuf) {
    let paths = (folder.join(format!("{file}.pem")), folder.join(format!("{file}.key")));
    std::fs::write(&paths.0, certificate).expect("the folder is writable");
    std::fs::write(&paths.1, key.serialize_pem()).expect("the folder is writable");
    paths
}

/// A server that does nothing but a handshake.
pub(crate) struct TlsServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl TlsServer {
    /// Starts a server with a certificate and a key from PEM files.
    pub(crate) async fn start(certificate: &Path, key: &Path) -> Self {
        let acceptor = acceptor(certificate, key);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                connections.spawn(async move { acceptor.accept(client).await?.read_u8().await });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, task }
    }

    /// Returns the address of the listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
