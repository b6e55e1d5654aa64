//! A proxy of the API server, which terminates TLS and fails single requests.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use http::header::TRANSFER_ENCODING;
use http::{Method, StatusCode};
use kube::Client;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::hold::{Held, Hold, Point, hold};
use super::tls::TlsListener;

/// The target of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::faults) enum Target {
    /// A write of the journal: creation, replacement or deletion of a `ConfigMap`.
    JournalWrite,
    /// A write of the Lease.
    LeaseWrite,
    /// A streamed list of control planes, with the watch that follows it.
    StreamedList,
    /// Another list or watch of control planes.
    Watch,
    /// A read of the position of the API server.
    Position,
}

/// A reverse proxy that forwards every request unless a fault is set.
pub(in crate::faults) struct ApiProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<std::io::Result<()>>,
}

struct Shared {
    server: Client,
    faults: Mutex<Faults>,
    /// The number of times that all watches were cut.
    cuts: watch::Sender<usize>,
    /// The number of requests for each target.
    requests: watch::Sender<HashMap<Target, usize>>,
}

#[derive(Default)]
struct Faults {
    /// The status to respond with instead of forwarding, until it is removed.
    responses: HashMap<Target, StatusCode>,
    /// The hold of the next request.
    holds: HashMap<Target, (Point, Held)>,
    /// The targets whose responses are passed on once they are complete.
    buffered: HashSet<Target>,
    /// The next read of the position is answered with an early one.
    is_next_position_early: bool,
}

impl Target {
    fn of(request: &Request) -> Option<Self> {
        let is_write = !matches!(*request.method(), Method::GET | Method::HEAD);
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        match is_write {
            true if path.contains("/configmaps") => Some(Self::JournalWrite),
            true if path.contains("/leases") => Some(Self::LeaseWrite),
            true => None,
            false if !path.contains("/tenantcontrolplanes") => None,
            false if query.contains("sendInitialEvents=true") => Some(Self::StreamedList),
            false if query.split('&').any(|parameter| parameter == "limit=1") => Some(Self::Position),
            false => Some(Self::Watch),
        }
    }
}

impl ApiProxy {
    /// Listens on a free port with the API server's own certificate and forwards through `server`, a client without
    /// credentials.
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

    /// Returns the address of the listener.
    pub(in crate::faults) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Responds with `status` from now on, without forwarding.
    pub(in crate::faults) fn respond_with(&self, target: Target, status: StatusCode) {
        self.shared.faults().responses.insert(target, status);
    }

    /// Forwards requests again.
    pub(in crate::faults) fn pass(&self, target: Target) {
        self.shared.faults().responses.remove(&target);
    }

    /// Answers the next read of the position from long ago, as a member that is behind does.
    pub(in crate::faults) fn answer_from_behind(&self) {
        self.shared.faults().is_next_position_early = true;
    }

    /// Holds each response back until it is complete, as a proxy that buffers does.
    pub(in crate::faults) fn buffer(&self, target: Target) {
        self.shared.faults().buffered.insert(target);
    }

    /// Holds the next request at `point`.
    pub(in crate::faults) fn hold(&self, target: Target, point: Point) -> Hold {
        let (test, proxy) = hold();
        self.shared.faults().holds.insert(target, (point, proxy));
        test
    }

    /// Breaks the current watches.
    pub(in crate::faults) fn cut_watches(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Returns the number of requests for `target` so far.
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

    /// Takes the fault for a request to `target`.
    fn fault(&self, target: Target) -> (Option<StatusCode>, Option<(Point, Held)>) {
        let mut faults = self.faults();
        (faults.responses.get(&target).copied(), faults.holds.remove(&target))
    }

    async fn forward(&self, request: Request) -> Response {
        let is_buffered = Target::of(&request).is_some_and(|target| self.faults().buffered.contains(&target));
        let response = self.forward_at_once(request).await;
        if !is_buffered {
            return response;
        }
        let (mut head, body) = response.into_parts();
        // The length is known then.
        head.headers.remove(TRANSFER_ENCODING);
        match to_bytes(body, usize::MAX).await {
            Ok(body) => Response::from_parts(head, body.into()),
            Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
        }
    }

    async fn forward_at_once(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        // A ConfigMap holds 1 MiB.
        let body = to_bytes(body, 4 << 20).await.unwrap_or_default();
        match self.server.send(http::Request::from_parts(parts, body.into())).await {
            Ok(response) => self.breakable(response.map(Body::new)),
            Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
        }
    }

    /// Returns the response with a body that breaks off when watches are cut.
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
    if target == Target::Position && std::mem::take(&mut shared.faults().is_next_position_early) {
        let list = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
            "metadata": {"resourceVersion": "1"}, "items": []});
        return axum::Json(list).into_response();
    }
    match shared.fault(target) {
        (Some(status), _) => error_response(status),
        (None, None) => shared.forward(request).await,
        (None, Some((Point::BeforeRequest, held))) => match held.wait().await {
            Some(()) => shared.forward(request).await,
            None => error_response(StatusCode::SERVICE_UNAVAILABLE),
        },
        (None, Some((Point::BeforeResponse, held))) => {
            let due = PendingHold { shared: &shared, target, held: Some(held) };
            let response = shared.forward(request).await;
            match due.reached().await {
                Some(()) => response,
                None => error_response(StatusCode::SERVICE_UNAVAILABLE),
            }
        }
    }
}

/// A hold whose request has not reached its point yet. If the request is dropped before, because the agent was killed,
/// the hold passes to the next request.
struct PendingHold<'a> {
    shared: &'a Shared,
    target: Target,
    held: Option<Held>,
}

impl PendingHold<'_> {
    /// Notifies the test and waits until it continues. Returns `None` if the response must not be forwarded.
    async fn reached(mut self) -> Option<()> {
        self.held.take()?.wait().await
    }
}

impl Drop for PendingHold<'_> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take().filter(Held::is_awaited) {
            self.shared.faults().holds.entry(self.target).or_insert((Point::BeforeResponse, held));
        }
    }
}

/// Returns the response of an API server with this error.
fn error_response(status: StatusCode) -> Response {
    let code = status.as_u16();
    let reason = match code {
        403 => "Forbidden",
        409 => "Conflict",
        410 => "Expired",
        413 => "RequestEntityTooLarge",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "injected by the tests", "reason": reason, "code": code});
    (status, [("content-type", "application/json")], body.to_string()).into_response()
}
