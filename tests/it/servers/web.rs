//! HTTP: a health check, and a server that plays the backend and keeps what arrives.

use std::future::IntoFuture as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use http::{HeaderMap, Request, StatusCode, Uri};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower_http::decompression::RequestDecompressionLayer;

/// Says whether `GET {base}{path}` is answered with success.
pub(crate) async fn answers_ok(base: &str, path: &str) -> bool {
    let mut config = kube::Config::new(base.parse().expect("a base address is a URI"));
    config.default_namespace = String::new();
    is_ok(&kube::Client::try_from(config).expect("plain HTTP needs no further configuration"), path).await
}

/// Says whether `client` gets success from `path`.
pub(crate) async fn is_ok(client: &kube::Client, path: &str) -> bool {
    let request = Request::get(path).body(Vec::new()).expect("a path makes a request");
    client.request_text(request).await.is_ok()
}

/// A request that arrived, its body unpacked.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

type Requests = Arc<Mutex<Vec<Arrived>>>;

/// Plays the backend's OTLP/HTTP side: keeps every request and answers with an empty message, which means that all was
/// taken.
pub(crate) struct CapturingBackend {
    address: SocketAddr,
    requests: Requests,
    task: JoinHandle<std::io::Result<()>>,
}

impl CapturingBackend {
    /// Listens on a free port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let requests = Requests::default();
        let router = Router::new()
            .fallback(keep)
            .layer(RequestDecompressionLayer::new())
            .with_state(Arc::clone(&requests));
        let task = tokio::spawn(axum::serve(listener, router).into_future());
        Self { address, requests, task }
    }

    /// The URL for the relay.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What arrived since the last call.
    pub(crate) fn take(&self) -> Vec<Arrived> {
        std::mem::take(&mut *self.requests.lock().expect("no holder of the lock panics"))
    }
}

impl Drop for CapturingBackend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(State(requests): State<Requests>, uri: Uri, headers: HeaderMap, body: Bytes) -> StatusCode {
    let arrived = Arrived { path: uri.path().to_owned(), headers, body };
    requests.lock().expect("no holder of the lock panics").push(arrived);
    StatusCode::OK
}
