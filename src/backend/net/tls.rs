//! TLS from files, which may be replaced while the backend serves.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::{Context, anyhow};
use jiff::Timestamp;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, ServerConfig};
use tokio_util::sync::CancellationToken;
use x509_parser::parse_x509_certificate;

use super::Port;
use crate::backend::metrics;
use crate::backend::secret_file::{self, Secret};
use crate::process::lock;
use crate::process::reload::{self, FileWatcher};

/// The files of a certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by its intermediates, in PEM.
    pub certificate: PathBuf,
    /// The key in PEM.
    pub key: PathBuf,
    /// The interval at which the files are read again.
    pub reload_interval: Duration,
}

/// The certificate in use: that of the files, or the last of theirs that was valid.
#[derive(Debug)]
pub struct TlsIdentity {
    files: TlsFiles,
    certificate: Arc<CertificateInUse>,
    grpc: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
}

#[derive(Debug)]
struct CertificateInUse(RwLock<Arc<CertifiedKey>>);

/// The content of the files.
#[derive(PartialEq, Eq)]
struct PemFiles {
    certificate: Vec<u8>,
    key: Secret<Vec<u8>>,
}

/// A certificate and the key that belongs to it.
struct CertifiedPair {
    key: Arc<CertifiedKey>,
    expires: Timestamp,
}

impl TlsIdentity {
    /// Reads the files. An error names the file that cannot be used, and what was expected.
    pub fn load(files: TlsFiles) -> anyhow::Result<Arc<Self>> {
        let pair = PemFiles::read(&files)?.parse(&files)?;
        let certificate = Arc::new(CertificateInUse(RwLock::new(Arc::clone(&pair.key))));
        let grpc = server(&[b"h2"], Arc::clone(&certificate))?;
        let http = server(&[b"h2", b"http/1.1"], Arc::clone(&certificate))?;
        Ok(Arc::new(Self { files, certificate, grpc, http }))
    }

    /// Returns the TLS acceptor of `port`; `None` for the port of the probes, which is plain.
    pub(super) fn acceptor(&self, port: Port) -> Option<TlsAcceptor> {
        match port {
            Port::Grpc => Some(Arc::clone(&self.grpc).into()),
            Port::Http => Some(Arc::clone(&self.http).into()),
            Port::Health => None,
        }
    }

    /// Replaces the certificate when the files change, until `shutdown`. Files that cannot be used are logged once, and the
    /// certificate in use stays.
    pub(in crate::backend) async fn reload_on_change(&self, shutdown: CancellationToken) {
        let files = self.files.clone();
        let mut watcher = FileWatcher::new(files.reload_interval, shutdown, move || PemFiles::read(&files));
        while let Some(found) = watcher.changed().await {
            self.replace(found.and_then(|found| {
                found.key.warn("--tls-key");
                found.parse(&self.files)
            }));
        }
    }

    fn replace(&self, found: anyhow::Result<CertifiedPair>) {
        match found {
            Ok(pair) => {
                pair.report_expiry();
                let mut in_use = lock::write(&self.certificate.0);
                if in_use.cert == pair.key.cert {
                    return;
                }
                *in_use = pair.key;
                metrics::tls_reloads(true);
                tracing::info!(expires = %pair.expires, "reloaded the certificate; new connections get the new certificate");
            }
            Err(error) => {
                metrics::tls_reloads(false);
                tracing::error!(
                    error = format!("{error:#}"),
                    "failed to reload the certificate; the old one stays in use"
                );
            }
        }
    }
}

impl ResolvesServerCert for CertificateInUse {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&lock::read(&self.0)))
    }
}

/// Returns the configuration of a port.
///
/// Sessions are resumed as rustls does by default: from a cache of 256, of which a connection takes two. That serves
/// readers and a small fleet of agents without relays. Stateless tickets (`ticketer`) would serve any number of clients,
/// and are off: a relay is a collector, whose TLS client never resumes and gets no ticket. With an ECDSA key a resumed
/// session saves a tenth of the CPU of a cycle, as docs/performance.md shows; and over TLS 1.2, whoever learns the key of
/// the tickets can read the sessions.
fn server(protocols: &[&[u8]], certificate: Arc<CertificateInUse>) -> Result<Arc<ServerConfig>, Error> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(certificate);
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

impl PemFiles {
    fn read(files: &TlsFiles) -> anyhow::Result<Self> {
        let TlsFiles { certificate, key, reload_interval: _ } = files;
        let context = |flag, path: &Path| {
            let path = path.display().to_string();
            move || format!("{flag} {path}: expected a PEM file that this user can read")
        };
        let certificate = reload::read(certificate).with_context(context("--tls-cert", certificate))?;
        let key = secret_file::read(key).with_context(context("--tls-key", key))?;
        Ok(Self { certificate, key })
    }

    fn parse(&self, files: &TlsFiles) -> anyhow::Result<CertifiedPair> {
        let TlsFiles { certificate, key, reload_interval: _ } = files;
        let of_certificate =
            || format!("--tls-cert {}: expected PEM certificates, the server's own first", certificate.display());
        let of_key = || format!("--tls-key {}: expected a PEM private key, PKCS #8, PKCS #1 or SEC1", key.display());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.map_err(anyhow::Error::new).with_context(of_certificate)?;
        let first = chain.first().ok_or_else(|| anyhow!("there is none in it")).with_context(of_certificate)?;
        let (_, parsed) = parse_x509_certificate(first).map_err(anyhow::Error::new).with_context(of_certificate)?;
        let expires = Timestamp::from_second(parsed.validity().not_after.timestamp()).with_context(of_certificate)?;
        let private =
            PrivateKeyDer::from_pem_slice(&self.key.content).map_err(anyhow::Error::new).with_context(of_key)?;
        let pair = CertifiedKey::from_der(chain, private, &provider()).map_err(|error| match error {
            Error::InconsistentKeys(_) => {
                anyhow!("it is not the key of the certificate in --tls-cert {}", certificate.display())
            }
            error => error.into(),
        });
        Ok(CertifiedPair { key: Arc::new(pair.with_context(of_key)?), expires })
    }
}

impl CertifiedPair {
    /// Reports the time of expiry as a metric, and logs it if it has passed.
    fn report_expiry(&self) {
        metrics::tls_certificate_expiry(self.expires.as_second());
        if self.expires < Timestamp::now() {
            tracing::warn!(expired = %self.expires, "the certificate of --tls-cert has expired: clients reject it");
        }
    }
}
