//! The HTTP endpoints of the process: `/livez` and `/readyz` for probes, `/metrics` for Prometheus.

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

/// The time that a running probe may take after a shutdown. A kubelet times out after a second by default.
const GRACE_PERIOD: Duration = Duration::from_secs(1);

/// The buckets of durations in seconds: from a commit on a fast disk to five seconds, after which a relay times out.
const DURATION_BUCKETS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];

/// The readiness of the process, shared by its parts. `None` means ready.
#[derive(Debug, Clone)]
pub struct Readiness(watch::Sender<Option<Reason>>);

/// The reason for not being ready, as the body of a probe's answer: one line.
type Reason = &'static str;

const NOT_READY: Reason = "not ready yet\n";

impl Readiness {
    /// Creates a readiness that is not ready.
    pub fn new() -> Self {
        Self(watch::Sender::new(Some(NOT_READY)))
    }

    /// Sets whether the process is ready.
    pub fn set(&self, ready: bool) {
        self.0.send_replace(if ready { None } else { Some(NOT_READY) });
    }

    /// Makes the process not ready. Probes are answered with `reason`, one line.
    pub fn set_not_ready(&self, reason: &'static str) {
        self.0.send_replace(Some(reason));
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

/// Serves `routes`, which are those of probes and metrics, on `listener` until `shutdown`.
///
/// A connection that is still open then delays the return by at most a second.
pub async fn serve(listener: TcpListener, routes: Router, shutdown: CancellationToken) -> std::io::Result<()> {
    let server = axum::serve(listener, routes).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let grace_period_over = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE_PERIOD).await;
    };
    tokio::select! {
        result = server.into_future() => result,
        () = grace_period_over => Ok(()),
    }
}

/// Returns the routes of probes and metrics, to be merged with others.
pub fn routes(readiness: Readiness) -> Router {
    probes(readiness).route("/metrics", get(metrics))
}

/// Returns the routes of the probes.
pub fn probes(readiness: Readiness) -> Router {
    Router::new().route("/livez", get(async || "ok\n")).route("/readyz", get(readyz)).with_state(readiness)
}

/// Returns the handle of the metrics recorder, and installs the recorder at the first call. There is one a process.
pub fn metrics_handle() -> &'static PrometheusHandle {
    static RECORDER: LazyLock<PrometheusHandle> = LazyLock::new(|| {
        let builder = PrometheusBuilder::new().set_buckets(&DURATION_BUCKETS);
        let recorder = builder.expect("there are buckets").build_recorder();
        let handle = recorder.handle();
        // Fails only if there is a recorder already, and no other place installs one.
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
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics_handle().render())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_open_connection_does_not_block_a_shutdown() {
        let half_a_request: &[u8] = b"GET /livez HTTP/1.1\r\nho";
        let idle_http2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        for begin in [half_a_request, idle_http2] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let shutdown = CancellationToken::new();
            let server = tokio::spawn(serve(listener, routes(Readiness::new()), shutdown.clone()));
            let mut held = TcpStream::connect(address).await.unwrap();
            held.write_all(begin).await.unwrap();
            // The answer to a later request shows that the first connection was accepted.
            let mut later = TcpStream::connect(address).await.unwrap();
            later.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
            let mut answer = [0; 15];
            later.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200 OK");
            shutdown.cancel();
            tokio::time::timeout(2 * GRACE_PERIOD, server).await.unwrap().unwrap().unwrap();
        }
    }
}
