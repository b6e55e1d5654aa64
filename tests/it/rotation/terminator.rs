//! A TLS terminator whose certificates are replaced while it runs.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::servers::Authority;

/// A terminator in front of a server without TLS. It requires client certificates.
pub(super) struct Terminator {
    address: SocketAddr,
    protocol: &'static [u8],
    config: watch::Sender<Arc<ServerConfig>>,
    task: JoinHandle<()>,
}

impl Terminator {
    /// Starts a terminator that speaks `protocol` with a certificate of `own`, to clients with one of `clients`.
    pub(super) async fn start(
        server: SocketAddr,
        protocol: &'static [u8],
        own: &Authority,
        clients: &Authority,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = watch::Sender::new(server_config(protocol, own, clients));
        let configs = config.subscribe();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut config = configs.clone();
                tokio::spawn(async move {
                    let acceptor = TlsAcceptor::from(Arc::clone(&config.borrow_and_update()));
                    tokio::select! {
                        result = forward(acceptor, client, server) => drop(result),
                        _ = config.changed() => {}
                    }
                });
            }
        });
        Self { address, protocol, config, task }
    }

    /// Uses a certificate of `own`, requires client certificates of `clients`, and closes all connections.
    pub(super) fn replace(&self, own: &Authority, clients: &Authority) {
        self.config.send_replace(server_config(self.protocol, own, clients));
    }

    /// Returns its URL.
    pub(super) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }
}

impl Drop for Terminator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn server_config(protocol: &[u8], own: &Authority, clients: &Authority) -> Arc<ServerConfig> {
    let (certificate, key) = own.issue("server", |_| ());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(clients.certificate()).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let mut config = ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

async fn forward(acceptor: TlsAcceptor, client: TcpStream, server: SocketAddr) -> std::io::Result<()> {
    let mut client = acceptor.accept(client).await?;
    copy_bidirectional(&mut client, &mut TcpStream::connect(server).await?).await?;
    Ok(())
}
