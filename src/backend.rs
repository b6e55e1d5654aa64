//! The backend: OTLP comes in, is admitted against the catalog, is stored, and is shown.
//!
//! ```text
//! receive (gRPC, HTTP) ──▶ admit ──▶ store ──▶ insights ──▶ web
//! legacy (today's Kamaji) ─────────▶
//!              access: who may send and read, before all of it
//! ```
//!
//! An answer to a sender follows the commit of what it sent. A program that embeds the backend binds [`Listeners`],
//! opens a [`store::Store`], which it may fill with [`store::Store::write`] as well, and calls [`serve`].

pub mod access;
mod accounts;
pub mod admit;
pub mod insights;
mod keep;
mod legacy;
pub mod maintain;
mod receive;
pub mod routes;
pub mod store;
mod upkeep;
mod web;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::serve::ListenerExt;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use access::{Entrance, Guard, IngestTokens, Recorder};
pub use keep::Keeping;
use receive::Receiver;
use store::{Access, SqliteStore, Store};
use upkeep::Upkeep;

use crate::health::{self, Readiness};

/// How long requests under way may take once a shutdown was told: longer than the 5 s that a relay waits for one, and
/// a third of what Kubernetes allows a pod.
const GRACE: Duration = Duration::from_secs(10);

/// What `kamaji-telemetry backend serve` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where OTLP over gRPC is listened for.
    pub grpc: SocketAddr,
    /// Where OTLP over HTTP, the page and the API are listened for.
    pub http: SocketAddr,
    /// Where the probes and the accounts are served; nowhere if `None`.
    pub health: Option<SocketAddr>,
    /// Where rows are kept.
    pub store: StoreLocation,
    /// For how long.
    pub keeping: Keeping,
    /// Who is let in.
    pub entrance: Entrance,
}

/// What is kept, and who may read it.
#[derive(Clone)]
pub struct Stores {
    /// What is sent here.
    pub rows: Arc<dyn Store>,
    /// Tokens, sessions and the access log, which may be kept elsewhere.
    pub access: Arc<dyn Access>,
}

impl<S: Store + Access> From<Arc<S>> for Stores {
    /// One for both.
    fn from(store: Arc<S>) -> Self {
        let rows: Arc<dyn Store> = Arc::clone(&store) as _;
        Self { rows, access: store }
    }
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
    /// For the probes and the accounts, which are kept only where they can be read.
    pub health: Option<TcpListener>,
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
    async fn open(self) -> anyhow::Result<Stores> {
        match self {
            Self::Sqlite(path) => {
                let store = tokio::task::spawn_blocking(move || SqliteStore::open(&path)).await??;
                Ok(Arc::new(store).into())
            }
        }
    }
}

impl Listeners {
    /// Binds all that are given; port 0 takes a free one.
    pub async fn bind(grpc: SocketAddr, http: SocketAddr, health: Option<SocketAddr>) -> anyhow::Result<Self> {
        let bind = async |address, flag| {
            let context = || format!("cannot listen on {address}: free it, or choose another address with {flag}");
            TcpListener::bind(address).await.with_context(context)
        };
        let health = match health {
            Some(health) => Some(bind(health, "--health-addr").await?),
            None => None,
        };
        Ok(Self { grpc: bind(grpc, "--grpc").await?, http: bind(http, "--http").await?, health })
    }
}

/// Runs a backend of its own until `shutdown`: opens the store, binds, and serves.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Config { grpc, http, health, store, keeping, entrance } = config;
    let listeners = Listeners::bind(grpc, http, health).await?;
    serve(listeners, store.open().await?, keeping, entrance, shutdown).await
}

/// Serves `stores` on sockets that are bound until `shutdown`, then finishes the requests under way, at most 10 s.
/// Meanwhile it deletes what is older than `keeping` says. Who is let in is for the tokens in `stores` and for `entrance`
/// to say.
///
/// What was acknowledged is committed whatever happens. Fails where a socket does, or the senders' tokens can't be read.
pub async fn serve(
    listeners: Listeners,
    stores: Stores,
    keeping: Keeping,
    entrance: Entrance,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let Listeners { grpc, http, health } = listeners;
    let has_accounts = health.is_some();
    if has_accounts {
        accounts::open();
    }
    let (upkeep, health_service) = Upkeep::new().await;
    let grpc_address = grpc.local_addr()?;
    let tokens = IngestTokens::open(entrance.ingest_token_file.clone())?;
    tracing::info!(grpc = %grpc_address, http = %http.local_addr()?, "the backend listens");
    let receiver = Arc::new(Receiver::new(Arc::clone(&stores.rows)));
    let (recorder, recording) = Recorder::new(Arc::clone(&stores.access));
    let guard = Arc::new(Guard::new(Arc::clone(&stores.access), recorder, &entrance, tokens.clone()));
    let routes = http_routes(&stores, Arc::clone(&receiver), guard, grpc_address).await?;
    let probes = serve_health(health, upkeep.readiness(), shutdown.clone());
    let grpc = receive::grpc::serve(grpc, receiver, tokens.clone(), health_service, shutdown.clone());
    let http = serve_http(http, routes, shutdown.clone());
    let keeper = keep::run(stores.clone(), keeping, shutdown.clone());
    let upkeep = upkeep.run(stores.rows, has_accounts, shutdown.clone());
    let follower = tokens.follow(shutdown.clone());
    let servers = async {
        tokio::try_join!(
            async { grpc.await.context("OTLP over gRPC failed") },
            async { http.await.context("HTTP failed") },
            async { probes.await.context("the probes failed") },
            keeper.map(Ok),
            upkeep.map(Ok),
            follower.map(Ok),
            recording.map(Ok),
        )?;
        Ok(())
    };
    // On the heap: it holds all of the servers' states.
    within_grace(servers.boxed(), shutdown.clone()).await
}

/// All of the HTTP port, behind the guard.
async fn http_routes(
    stores: &Stores,
    receiver: Arc<Receiver>,
    guard: Arc<Guard>,
    grpc: SocketAddr,
) -> anyhow::Result<Router> {
    let key = stores.rows.pseudonym_key().await?;
    let routes = receive::http::routes(receiver)
        .merge(legacy::routes(Arc::clone(&stores.rows), key))
        .merge(web::routes(stores.clone(), Arc::clone(&guard), grpc));
    Ok(routes.layer(from_fn_with_state(guard, access::guard::guard)))
}

/// Waits for `servers`, which end by themselves at `shutdown`, and gives those up that take too long for it.
async fn within_grace(servers: BoxFuture<'_, anyhow::Result<()>>, shutdown: CancellationToken) -> anyhow::Result<()> {
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = servers => result,
        () = overdue => {
            tracing::warn!("requests were still under way after {GRACE:?}; their senders will send again");
            Ok(())
        }
    }
}

/// Serves the probes and the accounts, if they are asked for.
async fn serve_health(
    listener: Option<TcpListener>,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    match listener {
        Some(listener) => health::serve(listener, readiness, shutdown).await,
        None => Ok(()),
    }
}

async fn serve_http(listener: TcpListener, routes: Router, shutdown: CancellationToken) -> std::io::Result<()> {
    // Without TCP_NODELAY an answer waits up to 40 ms for the peer's delayed acknowledgement.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY on a connection");
        }
    });
    let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, routes).with_graceful_shutdown(shutdown.cancelled_owned()).await
}
