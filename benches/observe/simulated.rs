//! The process with the simulated API.

use std::fs;
use std::io::{BufRead, Write, stdin, stdout};
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::serve::Listener;
use jiff::Timestamp;
use kamaji_telemetry::demo::cluster::{Cluster, Kind, Options};
use kamaji_telemetry::demo::fleet::{self, Fleet};
use kamaji_telemetry::demo::tenant::{NAMESPACE, Tenant};
use kamaji_telemetry::signals::Status;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// The object that goes last: its deletion tells a reader that it has seen all changes.
const LAST: &str = "last";

/// Time between two changes, so that each is observed alone, as in a cluster; ten times what any reader needs.
const PACE: Duration = Duration::from_millis(2);

/// Time between the last change and the deletion, so that no reader gets the two in one read.
const PAUSE: Duration = Duration::from_millis(100);

/// Writes the server's certificate and key into a folder.
pub(crate) fn make_certificate(folder: &Path) -> anyhow::Result<()> {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    fs::write(folder.join("certificate.der"), made.cert.der())?;
    fs::write(folder.join("key.der"), made.signing_key.serialize_der())?;
    Ok(())
}

/// Serves `objects` control planes and prints its port; then obeys the lines on its standard input until that ends:
/// `change N` changes N objects, one after the other, and deletes the last one, `restore` makes it again.
pub(crate) fn run(objects: usize, folder: &Path) -> anyhow::Result<()> {
    let cluster = Cluster::new(Options::default(), CancellationToken::new());
    fleet::furnish(&cluster, &Fleet::new(1, 0, Timestamp::now()))?;
    for number in 0..objects {
        cluster.create(Kind::TenantControlPlane, NAMESPACE, tenant(&name(number)).to_object())?;
    }
    restore(&cluster)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let listener = runtime.block_on(TlsListener::bind(folder))?;
    println!("{}", listener.tcp.local_addr()?.port());
    let served = cluster.clone();
    runtime.spawn(async move { axum::serve(listener, served.router()).await });
    for (round, line) in stdin().lock().lines().enumerate() {
        match line?.split_once(' ') {
            Some(("change", count)) => change(&cluster, round, objects, count.parse()?)?,
            Some(("restore", _)) => restore(&cluster)?,
            other => bail!("unexpected command {other:?}"),
        }
        println!("done");
        stdout().flush()?;
    }
    Ok(())
}

/// A label edit each, another one each round: the whole object travels, and nothing is to be reported.
fn change(cluster: &Cluster, round: usize, objects: usize, count: usize) -> anyhow::Result<()> {
    for number in 0..count {
        cluster.change(Kind::TenantControlPlane, NAMESPACE, &name(number % objects), |object| {
            object["metadata"]["labels"]["change"] = format!("change-{round:03}-{number:06}").into();
        })?;
        sleep(PACE);
    }
    sleep(PAUSE);
    cluster.delete(Kind::TenantControlPlane, NAMESPACE, LAST).context("the last object is not there")
}

fn restore(cluster: &Cluster) -> anyhow::Result<()> {
    let mut last = tenant(LAST).to_object();
    last["metadata"]["finalizers"] = json!([]);
    Ok(cluster.create(Kind::TenantControlPlane, NAMESPACE, last)?)
}

fn name(number: usize) -> String {
    format!("tenant-{number:06}")
}

fn tenant(name: &str) -> Tenant {
    Tenant::new(name, Timestamp::now()).installed(Status::Ready)
}

/// The size of an object as it travels, in bytes.
pub(crate) fn object_size() -> anyhow::Result<usize> {
    let cluster = Cluster::new(Options::default(), CancellationToken::new());
    cluster.create(Kind::TenantControlPlane, NAMESPACE, tenant(&name(0)).to_object())?;
    Ok(cluster.read(Kind::TenantControlPlane, NAMESPACE, &name(0))?.to_string().len())
}

/// Accepts connections with TLS.
struct TlsListener {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl TlsListener {
    async fn bind(folder: &Path) -> anyhow::Result<Self> {
        let certificate = CertificateDer::from(fs::read(folder.join("certificate.der"))?);
        let key = PrivateKeyDer::try_from(fs::read(folder.join("key.der"))?).map_err(anyhow::Error::msg)?;
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key)?;
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
                Err(error) => eprintln!("a connection was not accepted: {error}"),
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
