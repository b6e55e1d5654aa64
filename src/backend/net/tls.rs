//! TLS from files, which whoever renews them replaces while the backend serves.

use crate::process::lock;
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
use crate::backend::reload::{self, FileWatcher};

/// Where the certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and the authority: PEM.
    pub certificate: PathBuf,
    /// Its key: PEM.
    pub key: PathBuf,
    /// How often they are looked at.
    pub every: Duration,
}

/// TokenRef the backend says that it is: what the files hold, or held when it could last be used.
#[derive(Debug)]
pub struct TlsIdentity {
    files: TlsFiles,
    in_use: Arc<InUse>,
    grpc: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
}

#[derive(Debug)]
struct InUse(RwLock<Arc<CertifiedKey>>);

/// What the files hold, as it is.
#[derive(PartialEq, Eq)]
struct PemFiles {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// A certificate that can be used, with its key.
struct CertifiedPair {
    key: Arc<CertifiedKey>,
    expires: Timestamp,
}

impl TlsIdentity {
    /// Reads the files. An error says which cannot be used, and what was expected.
    pub fn load(files: TlsFiles) -> anyhow::Result<Arc<Self>> {
        let pair = PemFiles::read(&files)?.parse(&files)?;
        let in_use = Arc::new(InUse(RwLock::new(Arc::clone(&pair.key))));
        let grpc = server(&[b"h2"], Arc::clone(&in_use))?;
        let http = server(&[b"h2", b"http/1.1"], Arc::clone(&in_use))?;
        Ok(Arc::new(Self { files, in_use, grpc, http }))
    }

    /// What a connection to `port` is greeted by; none where it is not for TLS.
    pub(super) fn acceptor(&self, port: Port) -> Option<TlsAcceptor> {
        match port {
            Port::Grpc => Some(Arc::clone(&self.grpc).into()),
            Port::Http => Some(Arc::clone(&self.http).into()),
            Port::Health => None,
        }
    }

    /// Takes other certificates on until `shutdown`. What can't be used is said once, and changes nothing.
    pub(in crate::backend) async fn follow(&self, shutdown: CancellationToken) {
        let files = self.files.clone();
        let mut follower = FileWatcher::new(files.every, shutdown, move || PemFiles::read(&files));
        while let Some(found) = follower.changed().await {
            self.take(found.and_then(|found| found.parse(&self.files)));
        }
    }

    fn take(&self, found: anyhow::Result<CertifiedPair>) {
        match found {
            Ok(pair) => {
                pair.tell();
                let mut in_use = lock::write(&self.in_use.0);
                if in_use.cert == pair.key.cert {
                    return;
                }
                *in_use = pair.key;
                metrics::reloaded(true);
                tracing::info!(expires = %pair.expires, "new connections get the new certificate");
            }
            Err(error) => {
                metrics::reloaded(false);
                tracing::error!("the new certificate cannot be used, and the old one stays in use: {error:#}");
            }
        }
    }
}

impl ResolvesServerCert for InUse {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&lock::read(&self.0)))
    }
}

fn server(protocols: &[&[u8]], in_use: Arc<InUse>) -> Result<Arc<ServerConfig>, Error> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(in_use);
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

impl PemFiles {
    fn read(files: &TlsFiles) -> anyhow::Result<Self> {
        let TlsFiles { certificate, key, every: _ } = files;
        let read = |flag, path: &Path| {
            let context = || format!("{flag} {}: expected a PEM file that this user can read", path.display());
            reload::read(path).with_context(context)
        };
        Ok(Self { certificate: read("--tls-cert", certificate)?, key: read("--tls-key", key)? })
    }

    fn parse(&self, files: &TlsFiles) -> anyhow::Result<CertifiedPair> {
        let TlsFiles { certificate, key, every: _ } = files;
        let of_certificate =
            || format!("--tls-cert {}: expected PEM certificates, the server's own first", certificate.display());
        let of_key = || format!("--tls-key {}: expected a PEM private key, PKCS #8, PKCS #1 or SEC1", key.display());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.map_err(anyhow::Error::new).with_context(of_certificate)?;
        let first = chain.first().ok_or_else(|| anyhow!("there is none in it")).with_context(of_certificate)?;
        let (_, parsed) = parse_x509_certificate(first).map_err(anyhow::Error::new).with_context(of_certificate)?;
        let expires = Timestamp::from_second(parsed.validity().not_after.timestamp()).with_context(of_certificate)?;
        let private = PrivateKeyDer::from_pem_slice(&self.key).map_err(anyhow::Error::new).with_context(of_key)?;
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
    /// Says until when it is valid.
    fn tell(&self) {
        metrics::certificate(self.expires.as_second());
        if self.expires < Timestamp::now() {
            tracing::warn!(expired = %self.expires, "the certificate of --tls-cert is no longer valid: clients refuse it");
        }
    }
}
