//! The pages, the API for readers, and the probes of the HTTP port.

mod audit_log;
mod chart;
mod erase;
mod format;
mod insights;
mod installations;
mod page;
mod login;
mod public;
mod questions;
mod shared_answer;

#[cfg(test)]
mod contrast;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Router};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderMap, StatusCode, Uri};
use maud::Markup;

use super::auth::{AuthLayer, Principal};
use super::clock::Clock;
use super::insights::parameters::QuestionName;
use super::insights::render::AnyAnswer;
use super::store::{ReadError, Stores};
use crate::process::log_throttle::LogThrottle;
use crate::process::probes::{self, Readiness};
use page::Place;
use shared_answer::SharedAnswers;

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
    /// True if there is a public page.
    pub(super) public_page: bool,
    /// The address of OTLP/gRPC, which a page without data names.
    pub(super) grpc: SocketAddr,
}

/// The state of the handlers.
#[derive(Clone)]
struct Web {
    stores: Stores,
    auth: Arc<AuthLayer>,
    config: WebConfig,
    answers: Arc<SharedAnswers<AnswerKey, Box<dyn AnyAnswer>>>,
}

/// A question, and the query of its parameters.
type AnswerKey = (QuestionName, String);

/// Returns the routes of readers, behind `auth`.
pub(super) fn routes(stores: Stores, auth: &Arc<AuthLayer>, config: WebConfig) -> Router {
    let answers = Arc::new(SharedAnswers::new(config.max_age));
    // Without the public page its paths are in no router, so that they are answered as any unknown path.
    let public = config.public_page.then(|| public::routes(Arc::clone(&stores.rows), config.max_age));
    let routes = Router::new()
        .merge(question_routes())
        .route("/", get(front))
        .route("/audit-log", get(audit_log::page))
        .route("/installations", get(installations::page))
        .route("/sign-in", post(login::log_in))
        .route("/sign-in/{code}", get(login::log_in_by_code))
        .route("/sign-out", post(login::log_out))
        .route("/style.css", get(style))
        .route("/icon.svg", get(icon))
        .route("/api/v1/openapi.json", get(insights::openapi::json))
        .route("/api/v1/audit-log", get(audit_log::json))
        .route("/api/v1/installations", get(installations::list).delete(installations::erase))
        .route("/api/v1/installations/{uuid}", delete(erase::erase))
        .route("/api/v1/events", get(installations::list_events).delete(installations::erase_events))
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Web { stores, auth: Arc::clone(auth), config, answers })
        .merge(public.unwrap_or_default());
    auth.layer(routes, IntoResponse::into_response)
}

/// Returns the routes of the questions: their answers and, but for the front page, their pages.
fn question_routes() -> Router<Web> {
    let respond = |question| {
        async move |State(web): State<Web>, uri: Uri, headers: HeaderMap| {
            insights::respond(web, question, uri, headers).await
        }
    };
    let show = |question| {
        async move |State(web): State<Web>, uri: Uri, Extension(principal): Extension<Principal>| {
            questions::page(web, question, uri, principal).await
        }
    };
    let answers = QuestionName::ALL.into_iter();
    let routes =
        answers.fold(Router::new(), |routes, question| routes.route(question.api_path(), get(respond(question))));
    let pages = QuestionName::ALL.into_iter().filter(|question| *question != QuestionName::Overview);
    pages.fold(routes, |routes, question| routes.route(Place::Question(question).path(), get(show(question))))
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

/// Shows the overview to a reader, and the login form to others.
async fn front(State(web): State<Web>, uri: Uri, principal: Option<Extension<Principal>>) -> Response {
    let Some(Extension(principal)) = principal else { return login::page(&web, None).await.into_response() };
    questions::page(web, QuestionName::Overview, uri, principal).await.into_response()
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
