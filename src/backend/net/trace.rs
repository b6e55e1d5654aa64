//! A request id and a span for each request over HTTP.

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::map_request;
use http::{HeaderName, Method};
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};
use tower_http::trace::TraceLayer;
use tracing::Span;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Returns `routes` with a request id on each request and its response, and a span with the id around it.
///
/// An id that a client sends is replaced: it could be made up to look like another request's in the log.
pub(in crate::backend) fn traced(routes: Router) -> Router {
    // An error response is logged where the error occurs, with what is known of it there.
    let trace = TraceLayer::new_for_http().make_span_with(span).on_request(()).on_failure(());
    routes
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(trace)
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .layer(map_request(remove_request_id))
}

async fn remove_request_id(mut request: Request) -> Request {
    request.headers_mut().remove(REQUEST_ID);
    request
}

/// Creates the span of a request. Its level is that of errors, so that the id is in their lines whatever the filter is;
/// the events of the trace itself are for debugging.
fn span<B>(request: &http::Request<B>) -> Span {
    // Neither the path nor an unknown method is logged, which are the client's own text.
    let method = match request.method() {
        method @ (&Method::GET | &Method::HEAD | &Method::POST | &Method::DELETE) => method.as_str(),
        _ => "other",
    };
    let route = request.extensions().get().map_or("none", MatchedPath::as_str);
    let id = request.extensions().get().and_then(|id: &RequestId| id.header_value().to_str().ok());
    tracing::error_span!("request", method, route, request_id = id)
}
