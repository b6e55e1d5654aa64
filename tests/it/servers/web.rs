//! HTTP: a health check, and a server that plays the backend and keeps what arrives.

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

/// A client for plain HTTP.
pub(crate) fn client(base: &str) -> kube::Client {
    let mut config = kube::Config::new(base.parse().expect("a base address is a URI"));
    // Whoever waits for another answer asks again.
    config.default_retry = false;
    kube::Client::try_from(config).expect("plain HTTP needs no further configuration")
}

/// Says whether `GET {base}{path}` is answered with success.
pub(crate) async fn answers_ok(base: &str, path: &str) -> bool {
    is_ok(&client(base), path).await
}

/// The body of the answer to `GET {base}{path}`, which is to be a success.
pub(crate) async fn get(base: &str, path: &str) -> String {
    text(Request::get(path), base, path).await
}

/// The same of who has `token`.
pub(crate) async fn get_as(token: &str, base: &str, path: &str) -> String {
    text(Request::get(path).header("authorization", format!("Bearer {token}")), base, path).await
}

async fn text(request: http::request::Builder, base: &str, path: &str) -> String {
    let request = request.body(Vec::new()).expect("a path makes a request");
    client(base).request_text(request).await.unwrap_or_else(|error| panic!("GET {base}{path}: {error}"))
}

/// Says whether `client` gets success from `path`.
pub(crate) async fn is_ok(client: &kube::Client, path: &str) -> bool {
    let request = Request::get(path).body(Vec::new()).expect("a path makes a request");
    client.request_text(request).await.is_ok()
}

const UNPOISONED: &str = "no holder of the lock panics";

/// A request that arrived, its body unpacked.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What the server shares with its test.
#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Arrived>>,
    /// The next answers, where it isn't success.
    refusal: Mutex<Option<StatusCode>>,
}

/// Plays the backend's OTLP/HTTP side: keeps every request and answers with an empty message, which means that all was
/// taken.
pub(crate) struct CapturingBackend {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<std::io::Result<()>>,
}

impl CapturingBackend {
    /// Listens on a free port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::<Shared>::default();
        let router = Router::new()
            .fallback(keep)
            .layer(RequestDecompressionLayer::new())
            .layer(map_request(keep_headers))
            .with_state(Arc::clone(&shared));
        let task = tokio::spawn(axum::serve(listener, router).into_future());
        Self { address, shared, task }
    }

    /// The URL for the relay.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers `status` from now on.
    pub(crate) fn answer(&self, status: StatusCode) {
        let refusal = Some(status).filter(|status| !status.is_success());
        *self.shared.refusal.lock().expect(UNPOISONED) = refusal;
    }

    /// What arrived since the last call.
    pub(crate) fn take(&self) -> Vec<Arrived> {
        std::mem::take(&mut *self.shared.requests.lock().expect(UNPOISONED))
    }
}

impl Drop for CapturingBackend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The headers as sent: unpacking the body removes those that say how it was packed.
#[derive(Clone)]
struct AsSent(HeaderMap);

async fn keep_headers(mut request: axum::extract::Request) -> axum::extract::Request {
    let headers = request.headers().clone();
    request.extensions_mut().insert(AsSent(headers));
    request
}

async fn keep(
    State(shared): State<Arc<Shared>>,
    Extension(AsSent(headers)): Extension<AsSent>,
    uri: Uri,
    body: Bytes,
) -> StatusCode {
    let arrived = Arrived { path: uri.path().to_owned(), headers, body };
    shared.requests.lock().expect(UNPOISONED).push(arrived);
    shared.refusal.lock().expect(UNPOISONED).unwrap_or(StatusCode::OK)
}
