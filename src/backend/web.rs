//! What is read: the page, the insights as JSON, and health.

mod chart;
mod format;
mod page;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;

use super::insights::{self, Overview};
use super::store::{ReadError, Store};

/// On every answer: the page loads its own style and icon and nothing else, runs nothing, sends nothing, and is in
/// nobody's frame; what it shows is kept in no cache.
const HEADERS: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
];

/// What the handlers share.
#[derive(Clone)]
struct Web {
    store: Arc<dyn Store>,
    /// Where OTLP over gRPC is listened for, which a page without data names.
    grpc: SocketAddr,
}

/// Everything but ingest. `grpc` is where OTLP over gRPC is listened for.
pub(super) fn routes(store: Arc<dyn Store>, grpc: SocketAddr) -> Router {
    Router::new()
        .route("/", get(front))
        .route("/style.css", get(style))
        .route("/icon.svg", get(icon))
        .route("/api/v1/insights/overview", get(overview))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .fallback(not_found)
        .layer(from_fn(guard))
        .with_state(Web { store, grpc })
}

async fn guard(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value)));
    response.headers_mut().extend(headers);
    response
}

/// The store could not be read: the log says why, the reader only that.
struct Unreadable;

impl From<ReadError> for Unreadable {
    fn from(error: ReadError) -> Self {
        tracing::error!(%error, "a page could not be shown");
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

async fn front(State(Web { store, grpc }): State<Web>) -> Result<Html<String>, Unreadable> {
    let overview = read_overview(store.as_ref()).await?;
    Ok(Html(page::overview(&overview, grpc).into_string()))
}

async fn overview(State(Web { store, .. }): State<Web>) -> Result<Json<Overview>, Unreadable> {
    Ok(Json(read_overview(store.as_ref()).await?))
}

async fn style() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("web/style.css"))
}

async fn icon() -> impl IntoResponse {
    ([(CONTENT_TYPE, "image/svg+xml")], include_str!("web/icon.svg"))
}

async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(Web { store, .. }): State<Web>) -> Result<&'static str, Unreadable> {
    store.ready().await?;
    Ok("ok\n")
}

async fn not_found() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "not found: there is a page at /, and JSON at /api/v1/insights/overview\n")
}
