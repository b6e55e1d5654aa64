//! The layer in front of pages and probes: limits, a bound on the body, and a deadline.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;

use super::error::DEADLINE;
use super::{Decompressed, LimitScope, Limiter, RateLimitError};
use crate::backend::metrics::{self, LimitKind};

/// Limits the requests of routes that take no telemetry.
#[derive(Debug, Clone)]
pub(in crate::backend) struct RateLimitLayer {
    pub(in crate::backend) limiter: Arc<Limiter>,
    pub(in crate::backend) scope: LimitScope,
    /// The largest body in bytes.
    pub(in crate::backend) max_body: usize,
    /// Renders an error.
    pub(in crate::backend) respond: fn(RateLimitError) -> Response,
}

impl RateLimitLayer {
    /// Returns `routes` behind this layer.
    pub(in crate::backend) fn layer(self, routes: Router) -> Router {
        routes.layer(from_fn_with_state(self, limit))
    }
}

async fn limit(State(layer): State<RateLimitLayer>, request: Request, next: Next) -> Response {
    let RateLimitLayer { limiter, scope, max_body, respond } = layer;
    let permit = match limiter.check(&request, scope) {
        Ok(permit) => permit,
        Err(error) => return respond(error),
    };
    let is_routed = request.extensions().get::<MatchedPath>().is_some();
    let response = within_deadline(async {
        let (head, body) = request.into_parts();
        // The path alone decides what the response is.
        let body = if is_routed { body } else { Body::empty() };
        let body = permit.read_body(body, max_body, Decompressed::<RateLimitError>::plain).await?;
        let mut request = Request::from_parts(head, Body::from(body));
        request.extensions_mut().insert(permit.client());
        Ok::<_, RateLimitError>(next.run(request).await)
    });
    response.await.unwrap_or_else(respond)
}

/// Waits for `response`, at most for [`DEADLINE`].
pub(in crate::backend) async fn within_deadline<E: From<RateLimitError>>(
    response: impl Future<Output = Result<Response, E>>,
) -> Result<Response, E> {
    tokio::time::timeout(DEADLINE, response).await.unwrap_or_else(|_| {
        metrics::requests_rate_limited(LimitKind::Deadline);
        Err(RateLimitError::TooSlow.into())
    })
}
