//! The pages, the API for readers, and the probes of the HTTP port.

mod audit_log;
mod chart;
mod erase;
mod format;
mod installations;
mod page;
mod login;
mod shared_answer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router};
use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use maud::Markup;

use super::auth::{AuthLayer, Principal};
use super::clock::Clock;
use super::insights::{self, Overview};
use super::store::{ReadError, Stores};
use crate::process::log_throttle::LogThrottle;
use crate::process::probes::{self, Readiness};
use shared_answer::SharedAnswer;

/// The policy of a page whose form is sent to this backend alone.
const FORM_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; \
                           frame-ancestors 'none'";

/// The maximum number of bytes of a body: a token has 77.
const MAX_BODY: usize = 1_024;

/// The settings of the routes.
#[derive(Debug, Clone)]
pub(super) struct WebConfig {
    /// The clock by which windows end.
    pub(super) clock: Clock,
    /// The time for which readers share an answer.
    pub(super) max_age: Duration,
    /// The fewest installations of which a version is shown by its name.
    pub(super) min_installations: u64,
    /// The address of OTLP/gRPC, which a page without data names.
    pub(super) grpc: SocketAddr,
}

/// The state of the handlers.
#[derive(Clone)]
struct Web {
    stores: Stores,
    auth: Arc<AuthLayer>,
    config: WebConfig,
    overview: Arc<SharedAnswer<Overview>>,
}

/// Returns the routes of readers, behind `auth`.
pub(super) fn routes(stores: Stores, auth: &Arc<AuthLayer>, config: WebConfig) -> Router {
    let shared = Arc::new(SharedAnswer::new(config.max_age));
    let routes = Router::new()
        .route("/", get(front))
        .route("/audit-log", get(audit_log::page))
        .route("/sign-in", post(login::log_in))
        .route("/sign-out", post(login::log_out))
        .route("/style.css", get(style))
        .route("/icon.svg", get(icon))
        .route("/api/v1/insights/overview", get(overview))
        .route("/api/v1/audit-log", get(audit_log::json))
        .route("/api/v1/installations", get(installations::list).delete(installations::erase))
        .route("/api/v1/installations/{uuid}", delete(erase::erase))
        .route("/api/v1/events", delete(installations::erase_events))
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Web { stores, auth: Arc::clone(auth), config, overview: shared });
    auth.layer(routes, IntoResponse::into_response)
}

/// Returns the routes of the probes. They report the last result of the health check, so that no probe reads the store.
pub(super) fn probes(readiness: Readiness, auth: &Arc<AuthLayer>) -> Router {
    auth.layer(probes::probes(readiness), IntoResponse::into_response)
}

/// Returns a page with a form.
fn with_form(page: Markup) -> Response {
    ([(CONTENT_SECURITY_POLICY, FORM_POLICY)], Html(page.into_string())).into_response()
}

/// The error of a page whose data cannot be read. The cause is logged, and is not in the response.
struct PageError;

impl From<ReadError> for PageError {
    fn from(error: ReadError) -> Self {
        static THROTTLE: LogThrottle = LogThrottle::per_minute();
        THROTTLE.failed(|count| tracing::error!(%error, count, "failed to show a page"));
        Self
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, "the store cannot be read: see the backend's log\n").into_response()
    }
}

async fn read_overview(web: &Web) -> Result<Arc<Overview>, ReadError> {
    let ask = async {
        let (store, now) = (web.stores.rows.as_ref(), web.config.clock.now());
        let data = store.overview(insights::overview_query(now, web.config.min_installations)).await?;
        Ok(insights::overview(data, &store.pseudonym_key().await?, now))
    };
    web.overview.get(ask).await
}

/// Shows the overview to a reader, and the login form to others.
async fn front(State(web): State<Web>, principal: Option<Extension<Principal>>) -> Result<Response, PageError> {
    let Some(Extension(principal)) = principal else { return login::page(&web, None).await };
    let overview = read_overview(&web).await?;
    Ok(with_form(page::overview(&overview, web.config.grpc, &principal)))
}

async fn overview(State(web): State<Web>) -> Result<Response, PageError> {
    Ok(Json(&*read_overview(&web).await?).into_response())
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
