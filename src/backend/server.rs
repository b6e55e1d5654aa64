//! Composes the backend: listeners, layers, routes and jobs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::response::IntoResponse;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::auth::{AuditLogWriter, AuthConfig, AuthLayer, IngestTokens, ReaderTokens};
use super::ingest::{self, otlp::Ingester, validate::RejectReason};
use super::jobs::{
    health::HealthMonitor,
    retention::{self, Retention},
};
use super::net::bind::{BoundSocket, OPENING, are_apart};
use super::net::probes::{ProbeState, Probes};
use super::net::tls::TlsIdentity;
use super::net::{Acceptor, Port};
use super::rate_limit::{LimitScope, Limiter, Limits, RateLimitLayer};
use super::store::{AuthStore, SqliteStore, Store};
use super::web;

use crate::process::probes::Readiness;

/// How long requests under way may take once a shutdown was told: longer than the 5 s that a relay waits for one, and
/// a third of what Kubernetes allows a pod.
const GRACE: Duration = Duration::from_secs(10);

/// The largest body of what is no telemetry: forms, and what a browser sends with them.
const MAX_FORM: usize = 16 * 1024;

/// What `kamaji-telemetry backend serve` is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where OTLP over gRPC is listened for.
    pub grpc: SocketAddr,
    /// Where OTLP over HTTP, the page and the API are listened for.
    pub http: SocketAddr,
    /// Where the probes and the metrics are served; nowhere if `None`.
    pub health: Option<SocketAddr>,
    /// Where rows are kept.
    pub store: StoreLocation,
    /// For how long.
    pub keeping: Retention,
    /// TokenRef is let in, and how much of what.
    pub protection: SecurityConfig,
}

/// What is kept, and who may read it.
#[derive(Clone)]
pub struct Stores {
    /// What is sent here.
    pub rows: Arc<dyn Store>,
    /// Tokens, sessions and the audit log, which may be kept elsewhere.
    pub access: Arc<dyn AuthStore>,
}

impl<S: Store + AuthStore> From<Arc<S>> for Stores {
    /// One for both.
    fn from(store: Arc<S>) -> Self {
        let rows: Arc<dyn Store> = Arc::clone(&store) as _;
        Self { rows, access: store }
    }
}

/// What stands between the network and the rest.
#[derive(Debug, Clone, Default)]
pub struct SecurityConfig {
    /// What senders may do.
    pub limits: Limits,
    /// TLS on both ports; none where something before them does it.
    pub identity: Option<Arc<TlsIdentity>>,
    /// What the operator says about the way in, beside the tokens in the store.
    pub entrance: AuthConfig,
}

/// Where rows are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLocation {
    /// An `SQLite` file, made where there is none; written `sqlite:PATH`.
    Sqlite(PathBuf),
}

/// Text that is no [`StoreLocation`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown store {0:?}: expected sqlite:PATH, such as sqlite:/var/lib/kamaji-telemetry/telemetry.db")]
pub struct UnknownStore(String);

/// Sockets that are bound already.
#[derive(Debug)]
pub struct Listeners {
    /// For OTLP over gRPC.
    pub grpc: TcpListener,
    /// For OTLP over HTTP, the page and the API.
    pub http: TcpListener,
    /// For the probes and the metrics, which are kept only where they can be read.
    pub health: Option<TcpListener>,
}

/// Those of them that the store is needed for.
struct Ports {
    grpc: TcpListener,
    http: TcpListener,
}

impl FromStr for StoreLocation {
    type Err = UnknownStore;

    fn from_str(text: &str) -> Result<Self, UnknownStore> {
        match text.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            _ => Err(UnknownStore(text.to_owned())),
        }
    }
}

impl StoreLocation {
    /// Opens what is stored there, and brings it up to date; `None` where `shutdown` comes before, which leaves it as it
    /// was.
    async fn open(self, shutdown: &CancellationToken) -> anyhow::Result<Option<Stores>> {
        let Self::Sqlite(path) = self;
        let cancelled = shutdown.clone();
        let opening = tokio::task::spawn_blocking(move || SqliteStore::open_unless(&path, cancelled));
        let opened = tokio::select! {
            opened = opening => opened.context("the store was not opened")?,
            () = overdue(shutdown) => {
                tracing::warn!("the store was not opened in time; what was begun is undone by who opens it next");
                return Ok(None);
            }
        };
        match opened {
            Ok(store) => Ok(Some(Arc::new(store).into())),
            Err(error) if error.is_interrupt() => {
                tracing::info!("the store was not opened, and is as it was");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Listeners {
    /// Binds all that are given; port 0 takes a free one.
    pub fn bind(grpc: SocketAddr, http: SocketAddr, health: Option<SocketAddr>) -> anyhow::Result<Self> {
        let [grpc, http] =
            [(grpc, "--grpc-addr"), (http, "--http-addr")].map(|(address, flag)| BoundSocket::to(address, flag));
        let health = health.map(listen_for_probes).transpose()?;
        Ok(Self { grpc: grpc?.listen()?, http: http?.listen()?, health })
    }
}

/// Runs a backend of its own until `shutdown`: binds its addresses, opens the store, and serves. The probes are answered
/// from the beginning.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Config { grpc, http, health, store, keeping, protection } = config;
    protection.entrance.check()?;
    are_apart(&[("--grpc-addr", Some(grpc)), ("--http-addr", Some(http)), ("--health-addr", health)])?;
    let (grpc, http) = (BoundSocket::to(grpc, "--grpc-addr")?, BoundSocket::to(http, "--http-addr")?);
    let probes = Probes::new(health.map(listen_for_probes).transpose()?, RejectReason::ALL.map(RejectReason::label));
    let told = probes.told.clone();
    told.readiness.wait(OPENING);
    let stop = shutdown.clone();
    let serving = async {
        let Some(stores) = store.open(&stop).await? else { return Ok(()) };
        let ports = Ports { grpc: grpc.listen()?, http: http.listen()? };
        serve_ports(ports, stores, keeping, protection, told, stop).await
    };
    probes.beside(serving, shutdown).await
}

/// Serves `stores` on sockets that are bound until `shutdown`, then finishes the requests under way, at most 10 s.
/// Meanwhile it deletes what is older than `keeping` says. TokenRef is let in is for the tokens in `stores` and for `entrance`
/// to say.
///
/// What was acknowledged is committed whatever happens. Fails at the start, where a socket can't be used, or the store or
/// the files of tokens can't be read.
pub async fn serve(
    listeners: Listeners,
    stores: Stores,
    keeping: Retention,
    protection: SecurityConfig,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let Listeners { grpc, http, health } = listeners;
    let probes = Probes::new(health, RejectReason::ALL.map(RejectReason::label));
    let told = probes.told.clone();
    let serving = serve_ports(Ports { grpc, http }, stores, keeping, protection, told, shutdown.clone());
    probes.beside(serving, shutdown).await
}

/// The same beside the probes.
async fn serve_ports(
    ports: Ports,
    stores: Stores,
    keeping: Retention,
    protection: SecurityConfig,
    ProbeState { readiness, has_accounts }: ProbeState,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let SecurityConfig { limits, identity, entrance } = protection;
    let Ports { grpc, http } = ports;
    let (upkeep, health_service) = HealthMonitor::new(readiness.clone()).await;
    let grpc_address = grpc.local_addr()?;
    let tokens = IngestTokens::open(entrance.ingest_token_file.clone())?;
    let listed = ReaderTokens::open(entrance.reader_token_file.clone(), Arc::clone(&stores.access)).await?;
    tracing::info!(grpc = %grpc_address, http = %http.local_addr()?, "the backend listens");
    if entrance.public_url.is_some() && limits.proxies.is_empty() {
        tracing::warn!(
            "--public-url without --trusted-proxy: all that comes through a proxy is limited as one source; name the proxy, if there is one"
        );
    }
    let limiter = Limiter::new(&limits);
    let receiver = Arc::new(Ingester::new(Arc::clone(&stores.rows)));
    let (recorder, recording) = AuditLogWriter::new(Arc::clone(&stores.access));
    let secure = entrance.is_secure(identity.is_some());
    let guard = AuthLayer::new(Arc::clone(&stores.access), recorder, entrance.public_url, secure, tokens.clone());
    let services =
        ingest::otlp::grpc::routes(Arc::clone(&receiver), health_service, tokens.clone(), Arc::clone(&limiter));
    let guard = Arc::new(guard);
    let forgetter = retention::forget(Arc::clone(&limiter), Arc::clone(&guard), shutdown.clone());
    let routes = http_routes(&stores, receiver, guard, Arc::clone(&limiter), readiness, grpc_address).await?;
    let gate = Acceptor::new(&limits, limiter, identity.clone());
    let grpc = gate.clone().serve(grpc, Port::Grpc, services, shutdown.clone());
    let http = gate.serve(http, Port::Http, routes, shutdown.clone());
    let renewal = follow(identity, shutdown.clone());
    let follower = tokens.follow(shutdown.clone());
    let listed = listed.follow(shutdown.clone());
    let keeper = retention::run(stores.clone(), keeping, shutdown.clone());
    let tidier = retention::checkpoint(Arc::clone(&stores.rows), shutdown.clone());
    let upkeep = upkeep.run(stores.rows, has_accounts, shutdown.clone());
    let servers = async {
        tokio::join!(grpc, http, renewal, follower, listed, keeper, tidier, forgetter, upkeep, recording);
    };
    // On the heap: it holds all of the servers' states.
    within_grace(servers.boxed(), shutdown.clone()).await;
    Ok(())
}

/// All of the HTTP port. Before each route, what it asks of the limits comes first, then whether it may, then its body.
async fn http_routes(
    stores: &Stores,
    receiver: Arc<Ingester>,
    guard: Arc<AuthLayer>,
    limiter: Arc<Limiter>,
    readiness: Readiness,
    grpc: SocketAddr,
) -> anyhow::Result<Router> {
    let key = stores.rows.pseudonym_key().await?;
    let pages = RateLimitLayer {
        limiter: Arc::clone(&limiter),
        scope: LimitScope::Requests,
        max_body: MAX_FORM,
        respond: IntoResponse::into_response,
    };
    let probes = RateLimitLayer { scope: LimitScope::Nothing, ..pages.clone() };
    let ingest = ingest::otlp::http::routes(receiver, &guard, Arc::clone(&limiter));
    let legacy = ingest::kamaji::routes(Arc::clone(&stores.rows), key, &guard, limiter);
    let web = web::routes(stores.clone(), &guard, grpc);
    let health = web::probes(readiness, &guard);
    Ok(ingest.merge(legacy).merge(pages.layer(web)).merge(probes.layer(health)))
}

/// Waits for `servers`, which end by themselves at `shutdown`, and gives those up that take too long for it.
async fn within_grace(servers: BoxFuture<'_, ()>, shutdown: CancellationToken) {
    tokio::select! {
        () = servers => {}
        () = overdue(&shutdown) => {
            tracing::warn!("requests were still under way after {GRACE:?}; their senders will send again");
        }
    }
}

/// Waits until it is time to give up what a shutdown did not end.
async fn overdue(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

/// Listens where the probes and the metrics are served.
fn listen_for_probes(address: SocketAddr) -> anyhow::Result<TcpListener> {
    BoundSocket::to(address, "--health-addr")?.listen()
}

/// Takes other certificates on, if there are any.
async fn follow(identity: Option<Arc<TlsIdentity>>, shutdown: CancellationToken) {
    if let Some(identity) = identity {
        identity.follow(shutdown).await;
    }
}
