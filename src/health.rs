//! The process's own health and accounts: `/livez` and `/readyz` for probes, `/metrics` for Prometheus.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Tells the probes whether the process is ready; not before it was first set.
#[derive(Debug, Clone)]
pub struct Readiness(watch::Sender<bool>);

impl Readiness {
    /// Not ready.
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Ready from here on, or not.
    pub fn set(&self, ready: bool) {
        self.0.send_replace(ready);
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

/// Serves the probes and the accounts on `listener` until `shutdown`.
pub async fn serve(listener: TcpListener, readiness: Readiness, shutdown: CancellationToken) -> std::io::Result<()> {
    axum::serve(listener, routes(readiness)).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

/// The routes of the probes and the accounts, for a server that has others too.
pub fn routes(readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(readiness)
}

/// Where the accounts of this process are kept: one place a process, since that is what counts into it.
pub fn accounts() -> &'static PrometheusHandle {
    static ACCOUNTS: LazyLock<PrometheusHandle> = LazyLock::new(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        // Only a second recorder would be refused, and this is the one place that installs any.
        drop(metrics::set_global_recorder(recorder));
        handle
    });
    &ACCOUNTS
}

async fn readyz(State(Readiness(ready)): State<Readiness>) -> (StatusCode, &'static str) {
    if *ready.borrow() { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready yet\n") }
}

/// Source: "Text format" of Prometheus' exposition formats.
async fn metrics() -> ([(HeaderName, &'static str); 1], String) {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], accounts().render())
}
