//! HTTP clients, and a server that stands in for the backend and records requests.

use std::future::IntoFuture as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::middleware::map_request;
use axum::{Extension, Router};
use http::{HeaderMap, Request, StatusCode, Uri};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower_http::decompression::RequestDecompressionLayer;

/// Returns a client for plain HTTP.
pub(crate) fn client(base: &str) -> kube::Client {
    let mut config = kube::Config::new(base.parse().expect("a base address is a URI"));
    // The tests repeat a request themselves.
    config.default_retry = false;
    kube::Client::try_from(config).expect("plain HTTP needs no further configuration")
}

/// Returns whether `GET {base}{path}` succeeds.
pub(crate) async fn answers_ok(base: &str, path: &str) -> bool {
    is_ok(&client(base), path).await
}

/// Returns the body of the response to `GET {base}{path}`. Panics if the request fails.
pub(crate) async fn get(base: &str, path: &str) -> String {
    text(Request::get(path), base, path).await
}

/// Returns the body of the response to `GET {base}{path}` with `token`. Panics if the request fails.
pub(crate) async fn get_as(token: &str, base: &str, path: &str) -> String {
    text(Request::get(path).header("authorization", format!("Bearer {token}")), base, path).await
}

async fn text(request: http::request::Builder, base: &str, path: &str) -> String {
    let request = request.body(Vec::new()).expect("a path makes a request");
    client(base).request_text(request).await.unwrap_or_else(|error| panic!("GET {base}{path}: {error}"))
}

/// Returns whether `GET {path}` of `client` succeeds.
pub(crate) async fn is_ok(client: &kube::Client, path: &str) -> bool {
    let request = Request::get(path).body(Vec::new()).expect("a path makes a request");
    client.request_text(request).await.is_ok()
}

const UNPOISONED: &str = "no holder of the lock panics";

/// A received request, with its body decompressed.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The state that the server shares with its test.
#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Arrived>>,
    /// The status of the next responses, if it is an error.
    error_status: Mutex<Option<StatusCode>>,
}

/// A stand-in for OTLP/HTTP of the backend. It records every request and responds with an empty message, which means
/// success.
pub(crate) struct CapturingBackend {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<std::io::Result<()>>,
}

impl CapturingBackend {
    /// Starts to listen on a free port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::<Shared>::default();
        let router = Router::new()
            .fallback(record)
            .layer(RequestDecompressionLayer::new())
            .layer(map_request(record_headers))
            .with_state(Arc::clone(&shared));
        let task = tokio::spawn(axum::serve(listener, router).into_future());
        Self { address, shared, task }
    }

    /// Returns the URL for the relay.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the address of the listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Responds with `status` from now on.
    pub(crate) fn respond_with(&self, status: StatusCode) {
        let error_status = Some(status).filter(|status| !status.is_success());
        *self.shared.error_status.lock().expect(UNPOISONED) = error_status;
    }

    /// Returns the requests since the last call.
    pub(crate) fn take(&self) -> Vec<Arrived> {
        std::mem::take(&mut *self.shared.requests.lock().expect(UNPOISONED))
    }
}

impl Drop for CapturingBackend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The original headers. Decompression removes those of the compression.
#[derive(Clone)]
struct OriginalHeaders(HeaderMap);

async fn record_headers(mut request: axum::extract::Request) -> axum::extract::Request {
    let headers = request.headers().clone();
    request.extensions_mut().insert(OriginalHeaders(headers));
    request
}

async fn record(
    State(shared): State<Arc<Shared>>,
    Extension(OriginalHeaders(headers)): Extension<OriginalHeaders>,
    uri: Uri,
    body: Bytes,
) -> StatusCode {
    let arrived = Arrived { path: uri.path().to_owned(), headers, body };
    shared.requests.lock().expect(UNPOISONED).push(arrived);
    shared.error_status.lock().expect(UNPOISONED).unwrap_or(StatusCode::OK)
}
