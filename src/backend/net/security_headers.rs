//! The security headers of the HTTP port.

use axum::Router;
use axum::middleware::map_response;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue};

/// The security headers of every response. A page loads its own style and icon and nothing else, runs no script, sends
/// no form, and is in no frame and no cache. It sends no referrer to other sites. It sends one to itself, since a
/// browser without it omits the origin of a form, too.
const SECURITY_HEADERS: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "same-origin"),
    (CACHE_CONTROL, "no-store"),
];

/// Returns `routes`, whose responses, those of errors included, have the security headers that they do not set themselves.
pub(in crate::backend) fn secured(routes: Router) -> Router {
    routes.layer(map_response(add_headers))
}

async fn add_headers(mut response: Response) -> Response {
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
