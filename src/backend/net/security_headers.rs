//! The security headers of the HTTP port.

use axum::Router;
use axum::middleware::map_response;
use axum::response::Response;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
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

/// For a year, a browser that was here once opens this host over TLS alone (RFC 6797). Other hosts of the domain are not
/// this backend's to decide.
const STRICT_TRANSPORT: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Returns `routes`, whose responses, those of errors included, have the security headers that they do not set themselves.
/// `has_tls` says whether browsers reach them over TLS.
pub(in crate::backend) fn secured(routes: Router, has_tls: bool) -> Router {
    routes.layer(map_response(move |response| std::future::ready(with_headers(response, has_tls))))
}

fn with_headers(mut response: Response, has_tls: bool) -> Response {
    if has_tls {
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, STRICT_TRANSPORT);
    }
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
