//! Before any handler: who sends, whether it may, and its body whole.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::RETRY_AFTER;
use http_body_util::BodyExt;

use super::{ClientKey, Limiter, RateLimited, Reservation};
use crate::backend::metrics::{self, LimitKind};

/// How long a request may take, from the end of its head to its answer: three times what an agent waits for one, and
/// six times what a relay does, so that who takes longer has gone.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long to wait where there was no room for a body, or no time: bodies are in memory for milliseconds, or for
/// [`DEADLINE`].
const NO_ROOM: Duration = Duration::from_secs(2);

/// The address at the other end of a connection: among the extensions of each request on it.
#[derive(Debug, Clone, Copy)]
pub(in crate::backend) struct PeerAddr(pub(in crate::backend) IpAddr);

/// Why a request is answered before its handler sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::backend) enum RateLimitError {
    #[error("too many requests or rows from this source: nothing of this request was stored, try again later")]
    Limited(Duration),
    #[error("overloaded: nothing of this request was stored, try again later")]
    NoRoom,
    #[error("the message is too large: expected at most {0} bytes, compressed or not")]
    TooLarge(usize),
    #[error("the body cannot be read: expected it whole")]
    Broken,
    #[error("the request took too long: expected it whole, and its answer, within {DEADLINE:?}")]
    TooSlow,
}

/// What a request asks of the limits before anything of it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend) enum LimitScope {
    /// Nothing: who probes is answered, whatever others of its address send.
    Nothing,
    /// Whether its source may send another.
    Requests,
    /// The same, and whether it has rows left: messages are read there, which costs memory and time.
    Rows,
}

/// What stands before the routes of one kind.
#[derive(Debug, Clone)]
pub(in crate::backend) struct RateLimitLayer {
    pub(in crate::backend) limiter: Arc<Limiter>,
    /// The largest body.
    pub(in crate::backend) most: usize,
    /// What is asked of the limits.
    pub(in crate::backend) asks: LimitScope,
    /// How such a refusal is told there.
    pub(in crate::backend) answer: fn(RateLimitError) -> Response,
}

impl RateLimitError {
    /// When to try again, if that would help.
    pub(in crate::backend) const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Limited(wait) => Some(wait),
            Self::NoRoom | Self::TooSlow => Some(NO_ROOM),
            Self::TooLarge(_) | Self::Broken => None,
        }
    }

    /// What HTTP calls it.
    pub(in crate::backend) const fn code(self) -> StatusCode {
        match self {
            Self::Limited(_) | Self::NoRoom => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Broken => StatusCode::BAD_REQUEST,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// For people, and for what reads nothing but the status.
    pub(in crate::backend) fn plain(self) -> Response {
        let mut response = (self.code(), format!("{self}\n")).into_response();
        if let Some(wait) = self.retry_after() {
            response.headers_mut().insert(RETRY_AFTER, wait.as_secs().into());
        }
        response
    }
}

impl From<RateLimited> for RateLimitError {
    /// In whole seconds, as HTTP tells them.
    fn from(RateLimited(wait): RateLimited) -> Self {
        Self::Limited(Duration::from_secs(wait.as_secs() + 1))
    }
}

impl RateLimitLayer {
    /// Stands before `routes`.
    pub(in crate::backend) fn before(self, routes: Router) -> Router {
        self.clone().count(self.read(routes))
    }

    /// Counts requests. It stands before what finds out who sends them: being refused is one of them.
    pub(in crate::backend) fn count(self, routes: Router) -> Router {
        routes.layer(from_fn_with_state(self, count))
    }

    /// Takes the bodies of requests that were counted. It stands after what finds out who sends them: of whom may not,
    /// no body is read.
    pub(in crate::backend) fn read(self, routes: Router) -> Router {
        routes.layer(from_fn_with_state(self, read))
    }

    /// Gives the source, unless it has had too much.
    fn let_in(&self, peer: IpAddr, request: &Request) -> Result<ClientKey, RateLimitError> {
        let source = self.limiter.source(peer, request.headers());
        if self.asks == LimitScope::Rows {
            self.limiter.has_rows(source)?;
        }
        if self.asks != LimitScope::Nothing {
            self.limiter.request(source)?;
        }
        Ok(source)
    }

    async fn pass(&self, source: ClientKey, request: Request, next: Next) -> Result<Response, RateLimitError> {
        let answered = tokio::time::timeout(DEADLINE, self.handle(source, request, next)).await;
        answered.unwrap_or_else(|_| {
            metrics::limited(LimitKind::Slow);
            Err(RateLimitError::TooSlow)
        })
    }

    async fn handle(&self, source: ClientKey, request: Request, next: Next) -> Result<Response, RateLimitError> {
        let (head, body) = request.into_parts();
        let mut share = self.limiter.bodies.open(source);
        let body = whole(body, self.most, &mut share).await?;
        let length = body.len();
        let mut request = Request::from_parts(head, Body::from(body));
        if self.asks != LimitScope::Rows {
            return Ok(next.run(request).await);
        }
        let admission = self.limiter.admit(source).await?;
        admission.weigh(length);
        let cost = Arc::clone(&admission.0.cost);
        request.extensions_mut().insert(admission);
        let response = next.run(request).await;
        // What could not be read has no rows.
        self.limiter.settle(source, &cost, 0);
        Ok(response)
    }
}

async fn count(State(bounds): State<RateLimitLayer>, mut request: Request, next: Next) -> Response {
    let Some(PeerAddr(peer)) = request.extensions().get().copied() else {
        return (bounds.answer)(RateLimitError::Broken);
    };
    match bounds.let_in(peer, &request) {
        Ok(source) => {
            request.extensions_mut().insert(source);
            next.run(request).await
        }
        Err(refusal) => (bounds.answer)(refusal),
    }
}

async fn read(State(bounds): State<RateLimitLayer>, request: Request, next: Next) -> Response {
    let Some(source) = request.extensions().get().copied() else {
        return (bounds.answer)(RateLimitError::Broken);
    };
    bounds.pass(source, request, next).await.unwrap_or_else(bounds.answer)
}

/// The whole body, of at most `most` bytes, as far as the source's share allows. It is held until its end is there: a
/// reader that began before could be kept waiting with all that it has made of it.
async fn whole(mut body: Body, most: usize, share: &mut Reservation) -> Result<Bytes, RateLimitError> {
    let mut held = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| RateLimitError::Broken)?.into_data() else { continue };
        if held.len() + data.len() > most {
            return Err(RateLimitError::TooLarge(most));
        }
        share.add(data.len()).map_err(|_| {
            metrics::limited(LimitKind::Bodies);
            RateLimitError::NoRoom
        })?;
        held.extend_from_slice(&data);
    }
    Ok(held.freeze())
}
