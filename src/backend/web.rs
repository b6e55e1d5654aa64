//! What is read: the page, the insights as JSON, and health.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;

use super::insights::{self, Overview};
use super::store::{ReadError, Store};

type Shared = State<Arc<dyn Store>>;

/// Everything but ingest.
pub(super) fn routes(store: Arc<dyn Store>) -> Router {
    Router::new()
        .route("/api/v1/insights/overview", get(overview))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(store)
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

async fn overview(State(store): Shared) -> Result<Json<Overview>, Unreadable> {
    Ok(Json(read_overview(store.as_ref()).await?))
}

async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(store): Shared) -> Result<&'static str, Unreadable> {
    store.ready().await?;
    Ok("ok\n")
}
