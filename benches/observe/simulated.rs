//! The process that serves the simulated API.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use axum::serve::Listener;
use jiff::Timestamp;
use kamaji_telemetry::agent::journal::config_map as journal;
use kamaji_telemetry::testkit::fleet::{self, Fleet};
use kamaji_telemetry::testkit::simulated_cluster::{ClusterOptions, Kind, SimulatedCluster};
use kamaji_telemetry::testkit::tenant::NAMESPACE;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::access::{AGENT_NAMESPACE, Access};
use crate::observed::{LAST, Observed, name, run_commands, tenant};

/// Serves `objects` control planes and runs the commands from standard input. The file for the readers is written to
/// `folder`.
pub(crate) fn run(objects: usize, folder: &Path) -> anyhow::Result<()> {
    let cluster = SimulatedCluster::new(ClusterOptions::default(), CancellationToken::new());
    fleet::install(&cluster, &Fleet::new(1, 0, Timestamp::now()))?;
    for number in 0..objects {
        cluster.create(Kind::TenantControlPlane, NAMESPACE, tenant(&name(number)))?;
    }
    cluster.restore()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let listener = runtime.block_on(TlsListener::bind(&certificate))?;
    let server = format!("https://{}", listener.tcp.local_addr()?);
    let authorities = vec![certificate.cert.der().to_vec()];
    let access = Access { server, authorities, token: "simulated".to_owned() }.write(folder)?;
    let router = cluster.router();
    runtime.spawn(async move { axum::serve(listener, router).await });
    run_commands(&cluster, &access, objects)
}

impl Observed for SimulatedCluster {
    fn relabel(&self, name: &str, value: &str) -> anyhow::Result<()> {
        let edit = |object: &mut Value| object["metadata"]["labels"]["change"] = value.into();
        Ok(self.change(Kind::TenantControlPlane, NAMESPACE, name, edit)?)
    }

    fn delete_last(&self) -> anyhow::Result<()> {
        self.delete(Kind::TenantControlPlane, NAMESPACE, LAST).context("the last object is missing")
    }

    fn restore(&self) -> anyhow::Result<()> {
        // The first agent has no journal yet.
        for name in [journal::NAME, journal::BASE_NAME] {
            self.delete(Kind::ConfigMap, AGENT_NAMESPACE, name).ok();
        }
        let mut last = tenant(LAST);
        last["metadata"]["finalizers"] = json!([]);
        Ok(self.create(Kind::TenantControlPlane, NAMESPACE, last)?)
    }

    fn read(&self, name: &str) -> anyhow::Result<Value> {
        Ok(SimulatedCluster::read(self, Kind::TenantControlPlane, NAMESPACE, name)?)
    }
}

/// A listener that accepts TLS connections.
struct TlsListener {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl TlsListener {
    async fn bind(certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> anyhow::Result<Self> {
        let key = PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
        let chain = vec![certificate.cert.der().clone()];
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
        Ok(Self { tcp: TcpListener::bind("127.0.0.1:0").await?, tls: TlsAcceptor::from(Arc::new(config)) })
    }

    async fn accept_one(&self) -> std::io::Result<(TlsStream<TcpStream>, std::net::SocketAddr)> {
        let (stream, address) = self.tcp.accept().await?;
        stream.set_nodelay(true)?;
        Ok((self.tls.accept(stream).await?, address))
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.accept_one().await {
                Ok(accepted) => return accepted,
                Err(error) => eprintln!("failed to accept a connection: {error}"),
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
