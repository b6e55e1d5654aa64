//! The process's own health and accounts: `/livez` and `/readyz` for probes, `/metrics` for Prometheus.

use std::sync::LazyLock;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long a probe under way may take once a shutdown was told: a kubelet gives up on one after a second.
const GRACE: Duration = Duration::from_secs(1);

/// The buckets of what takes time: from a commit on a quick disk, a millisecond, to what a relay waits for, five seconds.
const SECONDS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];

/// Tells the probes whether the process is ready; not before it was first set.
#[derive(Debug, Clone)]
pub struct Readiness(watch::Sender<Option<Reason>>);

/// Why a process is not ready: a line.
type Reason = &'static str;

/// What a probe is told that asks too early, where there is nothing else to say.
const NOT_YET: Reason = "not ready yet\n";

impl Readiness {
    /// Not ready.
    pub fn new() -> Self {
        Self(watch::Sender::new(Some(NOT_YET)))
    }

    /// Ready from here on, or not.
    pub fn set(&self, ready: bool) {
        self.0.send_replace(if ready { None } else { Some(NOT_YET) });
    }

    /// Not ready from here on, for a reason that probes are told: a line.
    pub fn wait(&self, reason: &'static str) {
        self.0.send_replace(Some(reason));
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

/// Serves the probes and the accounts on `listener` until `shutdown`. Whoever holds a connection open then does not hold
/// the process.
pub async fn serve(listener: TcpListener, readiness: Readiness, shutdown: CancellationToken) -> std::io::Result<()> {
    let server = axum::serve(listener, routes(readiness)).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = server.into_future() => result,
        () = overdue => Ok(()),
    }
}

/// The routes of the probes and the accounts, for a server that has others too.
pub fn routes(readiness: Readiness) -> Router {
    probes(readiness).route("/metrics", get(metrics))
}

/// Those of the probes alone.
pub fn probes(readiness: Readiness) -> Router {
    Router::new().route("/livez", get(async || "ok\n")).route("/readyz", get(readyz)).with_state(readiness)
}

/// Where the accounts of this process are kept: one place a process, since that is what counts into it.
pub fn recorder() -> &'static PrometheusHandle {
    static RECORDER: LazyLock<PrometheusHandle> = LazyLock::new(|| {
        let builder = PrometheusBuilder::new().set_buckets(&SECONDS);
        let recorder = builder.expect("there are buckets").build_recorder();
        let handle = recorder.handle();
        // Only a second recorder would be refused, and this is the one place that installs any.
        drop(metrics::set_global_recorder(recorder));
        handle
    });
    &RECORDER
}

async fn readyz(State(Readiness(ready)): State<Readiness>) -> (StatusCode, &'static str) {
    match *ready.borrow() {
        None => (StatusCode::OK, "ok\n"),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}

/// Source: "Text format" of Prometheus' exposition formats.
async fn metrics() -> ([(HeaderName, &'static str); 1], String) {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], recorder().render())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_held_open_does_not_hold_a_shutdown() {
        let half_a_request: &[u8] = b"GET /livez HTTP/1.1\r\nho";
        let idle_http2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        for begin in [half_a_request, idle_http2] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let shutdown = CancellationToken::new();
            let server = tokio::spawn(serve(listener, Readiness::new(), shutdown.clone()));
            let mut held = TcpStream::connect(address).await.unwrap();
            held.write_all(begin).await.unwrap();
            // Whoever comes later is answered: the first connection was accepted.
            let mut later = TcpStream::connect(address).await.unwrap();
            later.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
            let mut answer = [0; 15];
            later.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200 OK");
            shutdown.cancel();
            tokio::time::timeout(2 * GRACE, server).await.unwrap().unwrap().unwrap();
        }
    }
}
