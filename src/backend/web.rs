//! What is read: the pages, the insights as JSON, and health.

mod audit_log;
mod chart;
mod erase;
mod format;
mod page;
mod sign_in;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use maud::Markup;

use super::auth::{AuthLayer, Principal};
use super::insights::{self, Overview};
use super::store::{ReadError, Store, Stores};
use crate::process::log_throttle::LogThrottle;
use crate::process::probes::{self, Readiness};

/// On every answer: the page loads its own style and icon and nothing else, runs nothing, sends nothing, and is in
/// nobody's frame; what it shows is kept in no cache. Other sites don't hear of it; the page itself does, since browsers
/// that name no referrer don't name the origin of a form either.
const HEADERS: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "same-origin"),
    (CACHE_CONTROL, "no-store"),
];

/// The policy of a page with a form, which is sent to nobody else.
const FORM_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; \
                           frame-ancestors 'none'";

/// The largest body: a token is 77 bytes.
const MAX_BODY: usize = 1_024;

/// What the handlers share.
#[derive(Clone)]
struct Web {
    stores: Stores,
    guard: Arc<AuthLayer>,
    /// Where OTLP over gRPC is listened for, which a page without data names.
    grpc: SocketAddr,
}

/// Everything but ingest. `grpc` is where OTLP over gRPC is listened for. TokenRef may read what is for the guard to say, by
/// the table of routes.
pub(super) fn routes(stores: Stores, guard: &Arc<AuthLayer>, grpc: SocketAddr) -> Router {
    let routes = Router::new()
        .route("/", get(front))
        .route("/audit-log", get(audit_log::page))
        .route("/sign-in", post(sign_in::sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/style.css", get(style))
        .route("/icon.svg", get(icon))
        .route("/api/v1/insights/overview", get(overview))
        .route("/api/v1/audit-log", get(audit_log::json))
        .route("/api/v1/installations/{uuid}", delete(erase::erase))
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(map_response(async |response: Response| with_headers(response)))
        .with_state(Web { stores, guard: Arc::clone(guard), grpc });
    guard.layer(routes, IntoResponse::into_response)
}

/// The probes, which tell what was seen last: whoever asks, nothing is read for it.
pub(super) fn probes(readiness: Readiness, guard: &Arc<AuthLayer>) -> Router {
    let routes = probes::probes(readiness).layer(map_response(async |response: Response| with_headers(response)));
    guard.layer(routes, IntoResponse::into_response)
}

/// Adds what every answer to a reader has, where it says nothing else itself.
pub(super) fn with_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// A page with a form.
fn with_form(page: Markup) -> Response {
    ([(CONTENT_SECURITY_POLICY, FORM_POLICY)], Html(page.into_string())).into_response()
}

/// The store could not be read: the log says why, the reader only that.
struct Unreadable;

impl From<ReadError> for Unreadable {
    fn from(error: ReadError) -> Self {
        static SAID: LogThrottle = LogThrottle::per_minute();
        SAID.failed(|count| tracing::error!(%error, count, "a page could not be shown"));
        Self
    }
}

impl IntoResponse for Unreadable {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, "the store cannot be read: see the backend's log\n").into_response()
    }
}

async fn read_overview(store: &dyn Store) -> Result<Overview, ReadError> {
    let now = Timestamp::now();
    let facts = store.overview(insights::overview_query(now)).await?;
    Ok(insights::overview(facts, now))
}

/// TokenRef is no reader is asked to sign in, and sees nothing else.
async fn front(State(web): State<Web>, reader: Option<Extension<Principal>>) -> Result<Response, Unreadable> {
    let Some(Extension(reader)) = reader else { return sign_in::page(&web, None).await };
    let overview = read_overview(web.stores.rows.as_ref()).await?;
    Ok(with_form(page::overview(&overview, web.grpc, &reader)))
}

async fn overview(State(Web { stores, .. }): State<Web>) -> Result<Json<Overview>, Unreadable> {
    Ok(Json(read_overview(stores.rows.as_ref()).await?))
}

async fn style() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("web/style.css"))
}

async fn icon() -> impl IntoResponse {
    ([(CONTENT_TYPE, "image/svg+xml")], include_str!("web/icon.svg"))
}

async fn not_found() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "not found: there is a page at /, and JSON at /api/v1/insights/overview\n")
}
