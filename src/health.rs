//! The process's own health, for probes: `/livez` and `/readyz`.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
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

/// Serves the probes on `listener` until `shutdown`.
pub async fn serve(listener: TcpListener, readiness: Readiness, shutdown: CancellationToken) -> std::io::Result<()> {
    axum::serve(listener, routes(readiness)).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

/// The routes of the probes, for a server that has others too.
pub fn routes(readiness: Readiness) -> Router {
    Router::new().route("/livez", get(async || "ok\n")).route("/readyz", get(readyz)).with_state(readiness)
}

async fn readyz(State(Readiness(ready)): State<Readiness>) -> (StatusCode, &'static str) {
    if *ready.borrow() { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready yet\n") }
}
