//! Stands before the API server, ends its TLS, and fails single requests.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use http::{Method, StatusCode};
use kube::Client;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::hold::{Held, Hold, Point, hold};
use super::tls::TlsListener;

/// What a fault is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::faults) enum Target {
    /// A write of the journal: creation, replacement or deletion of a `ConfigMap`.
    JournalWrite,
    /// A write of the Lease.
    LeaseWrite,
    /// A list or watch of control planes.
    Watch,
}

/// A reverse proxy that passes everything on until it is told otherwise.
pub(in crate::faults) struct ApiProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<std::io::Result<()>>,
}

struct Shared {
    server: Client,
    faults: Mutex<Faults>,
    /// Counts how often all watches were cut.
    cuts: watch::Sender<usize>,
    /// How many requests came for each target.
    requests: watch::Sender<HashMap<Target, usize>>,
}

#[derive(Default)]
struct Faults {
    /// What is answered instead of the server, for as long as it is here.
    answers: HashMap<Target, StatusCode>,
    /// What happens to the next one.
    holds: HashMap<Target, (Point, Held)>,
}

impl Target {
    fn of(request: &Request) -> Option<Self> {
        let is_write = !matches!(*request.method(), Method::GET | Method::HEAD);
        let path = request.uri().path();
        match is_write {
            true if path.contains("/configmaps") => Some(Self::JournalWrite),
            true if path.contains("/leases") => Some(Self::LeaseWrite),
            false if path.contains("/tenantcontrolplanes") => Some(Self::Watch),
            _ => None,
        }
    }
}

impl ApiProxy {
    /// Listens on a free port with the API server's own certificate and passes on through `server`, a client that has
    /// no identity of its own.
    pub(in crate::faults) async fn start(server: Client, certificate: &Path, key: &Path) -> Self {
        let listener = TlsListener::bind(certificate, key).await;
        let address = axum::serve::Listener::local_addr(&listener).expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            server,
            faults: Mutex::default(),
            cuts: watch::Sender::new(0),
            requests: watch::Sender::default(),
        });
        let router = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        let task = tokio::spawn(axum::serve(listener, router).into_future());
        Self { address, shared, task }
    }

    /// Where it listens.
    pub(in crate::faults) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers `status` from now on, and the server hears nothing of it.
    pub(in crate::faults) fn answer(&self, target: Target, status: StatusCode) {
        self.shared.faults().answers.insert(target, status);
    }

    /// Passes them on again.
    pub(in crate::faults) fn pass(&self, target: Target) {
        self.shared.faults().answers.remove(&target);
    }

    /// Holds the next one at `point`.
    pub(in crate::faults) fn hold(&self, target: Target, point: Point) -> Hold {
        let (test, proxy) = hold();
        self.shared.faults().holds.insert(target, (point, proxy));
        test
    }

    /// Breaks the watches that run.
    pub(in crate::faults) fn cut_watches(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// How many requests have come for `target` so far.
    pub(in crate::faults) fn requests(&self, target: Target) -> usize {
        self.shared.requests.borrow().get(&target).copied().unwrap_or_default()
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn faults(&self) -> std::sync::MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to happen to a request for `target`.
    fn fault(&self, target: Target) -> (Option<StatusCode>, Option<(Point, Held)>) {
        let mut faults = self.faults();
        (faults.answers.get(&target).copied(), faults.holds.remove(&target))
    }

    async fn forward(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        // A ConfigMap holds 1 MiB.
        let body = to_bytes(body, 4 << 20).await.unwrap_or_default();
        match self.server.send(http::Request::from_parts(parts, body.into())).await {
            Ok(response) => self.breakable(response.map(Body::new)),
            Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
        }
    }

    /// The same response, whose body breaks off when watches are cut.
    fn breakable(&self, response: Response) -> Response {
        let cuts = self.cuts.subscribe();
        response.map(|body| {
            let state = Some((body.into_data_stream(), cuts));
            Body::from_stream(futures::stream::unfold(state, async |state| {
                let (mut body, mut cuts) = state?;
                tokio::select! {
                    chunk = body.next() => Some((chunk?, Some((body, cuts)))),
                    _ = cuts.changed() => Some((Err(axum::Error::new(broken())), None)),
                }
            }))
        })
    }
}

fn broken() -> std::io::Error {
    std::io::ErrorKind::ConnectionAborted.into()
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let Some(target) = Target::of(&request) else { return shared.forward(request).await };
    shared.requests.send_modify(|requests| *requests.entry(target).or_default() += 1);
    match shared.fault(target) {
        (Some(status), _) => refusal(status),
        (None, None) => shared.forward(request).await,
        (None, Some((Point::BeforeRequest, held))) => match held.wait().await {
            Some(()) => shared.forward(request).await,
            None => refusal(StatusCode::SERVICE_UNAVAILABLE),
        },
        (None, Some((Point::BeforeResponse, held))) => {
            let due = Flush { shared: &shared, target, held: Some(held) };
            let answer = shared.forward(request).await;
            match due.reached().await {
                Some(()) => answer,
                None => refusal(StatusCode::SERVICE_UNAVAILABLE),
            }
        }
    }
}

/// A hold whose request has not reached its point yet. A request that goes away before, with an agent that was killed,
/// leaves it to the next one.
struct Flush<'a> {
    shared: &'a Shared,
    target: Target,
    held: Option<Held>,
}

impl Flush<'_> {
    /// Tells the test, and waits for its word. `None` where the answer is to go no further.
    async fn reached(mut self) -> Option<()> {
        self.held.take()?.wait().await
    }
}

impl Drop for Flush<'_> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take().filter(Held::is_awaited) {
            self.shared.faults().holds.entry(self.target).or_insert((Point::BeforeResponse, held));
        }
    }
}

/// As an API server refuses.
fn refusal(status: StatusCode) -> Response {
    let code = status.as_u16();
    let reason = match code {
        403 => "Forbidden",
        409 => "Conflict",
        410 => "Expired",
        413 => "RequestEntityTooLarge",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "ApiError",
        "message": "the tests want it so", "reason": reason, "code": code});
    (status, [("content-type", "application/json")], body.to_string()).into_response()
}
