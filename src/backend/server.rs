//! Composes the backend: listeners, layers, routes and jobs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::response::IntoResponse;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::civil::Date;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::auth::{AuditLogWriter, AuthConfig, AuthLayer, IngestTokens, ReaderTokens};
use super::clock::Clock;
use super::clock_guard::{ClockGuard, utc_date};
use super::ingest::{self, GuardedStore, Ingester};
use super::jobs::health::{HealthMonitor, SizeLimit};
use super::jobs::operations::OperationsJob;
use super::jobs::retention::{self, Retention};
use super::jobs::{checkpoint, evict, intake, public_week};
use super::net::bind::{BoundSocket, OPENING, check_distinct};
use super::net::probes::{ProbeState, Probes};
use super::net::security_headers::secured;
use super::net::tls::TlsIdentity;
use super::net::trace::traced;
use super::net::{Acceptor, Port};
use super::rate_limit::{LimitScope, Limiter, Limits, RateLimitLayer};
use super::store::{PostgresAddress, PostgresStore, Pruned, SqliteStore, Store, StoreLocation, Stores};
use super::web::{self, WebConfig};
use crate::process::log_throttle::LogThrottle;
use crate::process::probes::Readiness;

/// The time that requests in flight may take after a shutdown: longer than the 5 s that a relay waits for one, and a third
/// of what Kubernetes allows a pod.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// The time between two attempts to reach a database at the start: a failover takes some seconds.
const DATABASE_RETRY: Duration = Duration::from_secs(1);

/// The largest body of a request without telemetry, in bytes: a form, and what a browser sends with it.
const MAX_FORM_BODY: usize = 16 * 1024;

/// The configuration of `kamaji-telemetry backend serve`.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address of OTLP over gRPC.
    pub grpc: SocketAddr,
    /// The address of OTLP over HTTP, the page and the API.
    pub http: SocketAddr,
    /// The address of the probes and the metrics, which are not served if `None`.
    pub health: Option<SocketAddr>,
    /// The store.
    pub store: StoreLocation,
    /// The settings of what is served.
    pub settings: ServeSettings,
}

/// The settings of a backend whose addresses are bound and whose store is open.
#[derive(Debug, Clone)]
pub struct ServeSettings {
    /// The retention of records.
    pub retention: Retention,
    /// Limits, TLS and authentication.
    pub security: SecurityConfig,
    /// The clock of everything that is stored or deleted.
    pub clock: Clock,
    /// The UTC day on which the clock is right although it disagrees with the store.
    pub trust_clock: Option<Date>,
    /// The UTC day on which records of the future are deleted at the start.
    pub delete_future_records: Option<Date>,
    /// The largest size of the store in bytes; `None` if there is no bound.
    pub max_store_size: Option<u64>,
    /// The time for which readers share an answer.
    pub insights_max_age: Duration,
    /// The fewest installations of which a version is shown by its name.
    pub min_version_installations: u64,
    /// True if weeks are published on a page for everybody.
    pub public_page: bool,
}

/// The default of [`ServeSettings::min_version_installations`]: a version of one or two installations is a private build, a
/// forgery, or tells who somebody is.
const MIN_VERSION_INSTALLATIONS: u64 = 3;

/// The default of [`ServeSettings::insights_max_age`]: half the interval in which a browser reloads the page.
const INSIGHTS_MAX_AGE: Duration = Duration::from_secs(15);

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            retention: Retention::default(),
            security: SecurityConfig::default(),
            clock: Clock::default(),
            trust_clock: None,
            delete_future_records: None,
            max_store_size: None,
            insights_max_age: INSIGHTS_MAX_AGE,
            min_version_installations: MIN_VERSION_INSTALLATIONS,
            public_page: false,
        }
    }
}

/// Limits, TLS and authentication.
#[derive(Debug, Clone, Default)]
pub struct SecurityConfig {
    /// Limits on senders.
    pub limits: Limits,
    /// TLS on both ports; `None` where a proxy terminates it.
    pub tls: Option<Arc<TlsIdentity>>,
    /// Authentication, beside the tokens in the store.
    pub auth: AuthConfig,
}

/// Sockets that are bound and listening.
#[derive(Debug)]
pub struct Listeners {
    /// The listener of OTLP over gRPC.
    pub grpc: TcpListener,
    /// The listener of OTLP over HTTP, the page and the API.
    pub http: TcpListener,
    /// The listener of the probes and the metrics. Metrics are recorded only if there is one.
    pub health: Option<TcpListener>,
}

/// The listeners that need the store.
struct StoreListeners {
    grpc: TcpListener,
    http: TcpListener,
}

impl Listeners {
    /// Binds all addresses that are given; port 0 takes a free one.
    pub fn bind(grpc: SocketAddr, http: SocketAddr, health: Option<SocketAddr>) -> anyhow::Result<Self> {
        let [grpc, http] =
            [(grpc, "--grpc-addr"), (http, "--http-addr")].map(|(address, flag)| BoundSocket::bind(address, flag));
        let health = health.map(listen_for_probes).transpose()?;
        Ok(Self { grpc: grpc?.listen()?, http: http?.listen()?, health })
    }
}

/// Runs a backend until `shutdown`: binds its addresses, opens the store, and serves. The probes are served from the
/// beginning.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Config { grpc, http, health, store, settings } = config;
    settings.security.auth.check()?;
    check_distinct(&[("--grpc-addr", Some(grpc)), ("--http-addr", Some(http)), ("--health-addr", health)])?;
    let (grpc, http) = (BoundSocket::bind(grpc, "--grpc-addr")?, BoundSocket::bind(http, "--http-addr")?);
    let probes = probes(health.map(listen_for_probes).transpose()?);
    let state = probes.state.clone();
    state.readiness.set_not_ready(OPENING);
    let stop = shutdown.clone();
    let serving = async {
        let Some(stores) = open(store, &stop).await? else { return Ok(()) };
        let listeners = StoreListeners { grpc: grpc.listen()?, http: http.listen()? };
        serve_stores(listeners, stores, settings, state, stop).await
    };
    probes.serve_while(serving, shutdown).await
}

/// Serves `stores` on bound sockets until `shutdown`, then finishes the requests in flight, for at most 10 s. Meanwhile it
/// deletes records by the retention of `settings`. Authentication is by the tokens in `stores` and by `settings`.
///
/// Every acknowledged record is committed, whatever happens later. Fails at the start if a socket cannot be used, or the
/// store or a file of tokens cannot be read.
pub async fn serve(
    listeners: Listeners,
    stores: Stores,
    settings: ServeSettings,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let Listeners { grpc, http, health } = listeners;
    let probes = probes(health);
    let state = probes.state.clone();
    let listeners = StoreListeners { grpc, http };
    let serving = serve_stores(listeners, stores, settings, state, shutdown.clone());
    probes.serve_while(serving, shutdown).await
}

fn probes(listener: Option<TcpListener>) -> Probes {
    Probes::new(listener, ingest::reject_reasons())
}

fn listen_for_probes(address: SocketAddr) -> anyhow::Result<TcpListener> {
    BoundSocket::bind(address, "--health-addr")?.listen()
}

/// Opens a store, and migrates it to the current schema; returns `None` on `shutdown`, which leaves the store as it was.
async fn open(location: StoreLocation, shutdown: &CancellationToken) -> anyhow::Result<Option<Stores>> {
    match location {
        StoreLocation::Sqlite(path) => open_file(path, shutdown).await,
        StoreLocation::Postgres(address) => open_database(&address, shutdown).await,
    }
}

/// Opens a store in a database, once a server of it writes.
async fn open_database(address: &PostgresAddress, shutdown: &CancellationToken) -> anyhow::Result<Option<Stores>> {
    let throttle = LogThrottle::per_minute();
    let open = async {
        loop {
            match PostgresStore::open(address).await {
                Err(error) if error.is_unreachable() => {
                    throttle.failed(|count| tracing::warn!(%error, count, "the database cannot be reached; retrying"));
                    tokio::time::sleep(DATABASE_RETRY).await;
                }
                opened => return opened,
            }
        }
    };
    tokio::select! {
        opened = open => Ok(Some(Arc::new(opened?).into())),
        () = shutdown.cancelled() => Ok(None),
    }
}

async fn open_file(path: PathBuf, shutdown: &CancellationToken) -> anyhow::Result<Option<Stores>> {
    let cancelled = shutdown.clone();
    let opening = tokio::task::spawn_blocking(move || SqliteStore::open_cancellable(&path, cancelled));
    let opened = tokio::select! {
        opened = opening => opened.context("the store was not opened")?,
        () = grace_elapsed(shutdown) => {
            tracing::warn!(grace_seconds = SHUTDOWN_GRACE.as_secs(), "the store was not opened in time; its next opening rolls the migration back");
            return Ok(None);
        }
    };
    match opened {
        Ok(store) => Ok(Some(Arc::new(store).into())),
        Err(error) if error.is_interrupt() => {
            tracing::info!(reason = "shutdown", "the store was not opened; it is unchanged");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Serves `stores` on both ports, and runs the jobs.
async fn serve_stores(
    listeners: StoreListeners,
    stores: Stores,
    settings: ServeSettings,
    ProbeState { readiness, has_metrics }: ProbeState,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let StoreListeners { grpc, http } = listeners;
    let guard = clock_guard(&stores, &settings).await?;
    let SecurityConfig { limits, tls, auth } = settings.security;
    let (clock, retention) = (settings.clock, settings.retention);
    let sender_tokens = IngestTokens::open(auth.ingest_token_file.clone())?;
    let reader_tokens = ReaderTokens::open(auth.reader_token_file.clone())?;
    let listed_tokens = reader_tokens.clone();
    log_start(&grpc, &http, &auth, &limits)?;

    let limiter = Limiter::new(&limits, clock.clone());
    let size_limit = SizeLimit { max: settings.max_store_size, limiter: Arc::clone(&limiter) };
    let (health_monitor, health_service) = HealthMonitor::new(readiness.clone(), Arc::clone(&guard), size_limit).await;
    let (audit_log, audit_log_writes) = AuditLogWriter::new(Arc::clone(&stores.auth));
    let secure = auth.is_secure(tls.is_some());
    let (auth_store, ingest, readers) = (Arc::clone(&stores.auth), sender_tokens.clone(), reader_tokens.clone());
    let auth_layer = AuthLayer::new(auth_store, audit_log, auth.public_url, secure, ingest, readers, clock.clone());
    let auth_layer = auth_layer.with_login_code(auth.login_code);
    let layers = Layers { limiter: Arc::clone(&limiter), auth: Arc::new(auth_layer), is_secure: secure };
    let intake = GuardedStore::new(Arc::clone(&stores.rows), Arc::clone(&guard));
    let ingester = Arc::new(Ingester::new(intake.clone()));
    let operations = OperationsJob::new(&stores.rows, intake.refusals(), &guard);
    let grpc_routes =
        ingest::otlp::grpc::routes(Arc::clone(&ingester), health_service, sender_tokens.clone(), Arc::clone(&limiter));
    let (max_age, min_installations) = (settings.insights_max_age, settings.min_version_installations);
    let public_page = settings.public_page;
    let web = WebConfig { clock: clock.clone(), max_age, min_installations, public_page, grpc: grpc.local_addr()? };
    let http_routes = http_routes(&stores, intake, ingester, &layers, web, readiness).await?;

    let acceptor = Acceptor::new(&limits, limiter, tls.clone());
    let grpc = acceptor.clone().serve(grpc, Port::Grpc, grpc_routes, shutdown.clone());
    let http = acceptor.serve(http, Port::Http, http_routes, shutdown.clone());
    let certificate = reload_certificate(tls, shutdown.clone());
    let sender_tokens = sender_tokens.reload_on_change(shutdown.clone());
    let reader_tokens = reader_tokens.reload_on_change(shutdown.clone());
    let checkpoint = checkpoint::run(Arc::clone(&stores.rows), shutdown.clone());
    let evict = evict::run(layers.limiter, layers.auth, shutdown.clone());
    let health = health_monitor.run(Arc::clone(&stores.rows), has_metrics, shutdown.clone());
    let intake = intake::run(Arc::clone(&stores.rows), clock, shutdown.clone());
    let operations = operations.run(shutdown.clone());
    let public_weeks = publish_weeks(public_page, Arc::clone(&stores.rows), Arc::clone(&guard), shutdown.clone());
    let retention = retention::run(stores, retention, listed_tokens, guard, shutdown.clone());
    let tasks = async {
        tokio::join!(grpc, http, certificate, sender_tokens, reader_tokens, audit_log_writes);
    };
    let jobs = async {
        tokio::join!(retention, checkpoint, evict, health, intake, operations, public_weeks);
    };
    // On the heap: it holds the states of all of them.
    let all = async { tokio::join!(tasks, jobs) }.map(drop).boxed();
    within_grace(all, shutdown).await;
    Ok(())
}

/// Compares the clock with the newest record, once records of the future are deleted if that is wanted today.
async fn clock_guard(stores: &Stores, settings: &ServeSettings) -> anyhow::Result<Arc<ClockGuard>> {
    let ServeSettings { clock, trust_clock, delete_future_records, .. } = settings;
    let now = clock.now();
    let today = utc_date(now);
    for (flag, date) in [("--trust-clock", trust_clock), ("--delete-future-records", delete_future_records)] {
        if let Some(date) = date.filter(|date| *date != today) {
            tracing::warn!(flag, %date, %today, "the flag names another day than today, and has no effect");
        }
    }
    if *delete_future_records == Some(today) {
        let Pruned { events, uids: _, days, installations } = stores.rows.delete_after(now).await?;
        tracing::warn!(after = %now, events, days, installations, "deleted records of the future");
    }
    let guard = ClockGuard::new(clock.clone(), *trust_clock, stores.rows.newest_record().await?);
    // The first comparison is logged before anything is served.
    let _ = guard.now();
    Ok(Arc::new(guard))
}

/// The layers of the HTTP port.
struct Layers {
    limiter: Arc<Limiter>,
    auth: Arc<AuthLayer>,
    /// True if browsers reach the page over TLS.
    is_secure: bool,
}

/// Returns all routes of the HTTP port. Before each route, limits come first, then authentication, then the body.
async fn http_routes(
    stores: &Stores,
    intake: GuardedStore,
    ingester: Arc<Ingester>,
    layers: &Layers,
    web: WebConfig,
    readiness: Readiness,
) -> anyhow::Result<Router> {
    let Layers { limiter, auth, is_secure } = layers;
    let key = stores.rows.pseudonym_key().await?;
    let pages = RateLimitLayer {
        limiter: Arc::clone(limiter),
        scope: LimitScope::Requests,
        max_body: MAX_FORM_BODY,
        respond: IntoResponse::into_response,
    };
    let probes = RateLimitLayer { scope: LimitScope::Nothing, ..pages.clone() };
    let otlp = ingest::otlp::http::routes(ingester, auth, Arc::clone(limiter));
    let kamaji = ingest::kamaji::routes(intake, key, auth, Arc::clone(limiter));
    let pages = pages.layer(web::routes(stores.clone(), auth, web));
    let probes = probes.layer(web::probes(readiness, auth));
    Ok(traced(secured(otlp.merge(kamaji).merge(pages).merge(probes), *is_secure)))
}

fn log_start(grpc: &TcpListener, http: &TcpListener, auth: &AuthConfig, limits: &Limits) -> anyhow::Result<()> {
    tracing::info!(grpc = %grpc.local_addr()?, http = %http.local_addr()?, "listening");
    if let Some(public_url) = auth.public_url.as_ref().filter(|_| limits.trusted_proxies.networks.is_empty()) {
        tracing::warn!(
            %public_url,
            "--public-url without --trusted-proxy: all that comes through a proxy is limited as one client; name the proxy, if there is one"
        );
    }
    Ok(())
}

/// Replaces the certificate when its files change, if there is one.
async fn reload_certificate(tls: Option<Arc<TlsIdentity>>, shutdown: CancellationToken) {
    if let Some(tls) = tls {
        tls.reload_on_change(shutdown).await;
    }
}

/// Publishes weeks, if there is a public page.
async fn publish_weeks(
    has_public_page: bool,
    store: Arc<dyn Store>,
    guard: Arc<ClockGuard>,
    shutdown: CancellationToken,
) {
    if has_public_page {
        public_week::run(store, guard, shutdown).await;
    }
}

/// Waits for `tasks`, which end by themselves at `shutdown`, at most for [`SHUTDOWN_GRACE`] after it.
async fn within_grace(tasks: BoxFuture<'_, ()>, shutdown: CancellationToken) {
    tokio::select! {
        () = tasks => {}
        () = grace_elapsed(&shutdown) => {
            tracing::warn!(grace_seconds = SHUTDOWN_GRACE.as_secs(), "gave up requests that were still in flight; their senders will send again");
        }
    }
}

/// Waits until [`SHUTDOWN_GRACE`] after `shutdown`.
async fn grace_elapsed(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(SHUTDOWN_GRACE).await;
}
