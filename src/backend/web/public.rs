//! The public page and its API: published weeks, for everybody. Nothing here looks at a token or a cookie.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL};
use http::{HeaderName, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::shared_answer::SharedAnswer;
use super::{PageError, page};
use crate::backend::insights::public_week::{PublicWeek, RULE};
use crate::backend::store::{ReadError, Store};

/// For an hour: a week that ended is there an hour later than it could be.
const LATEST: &str = "public, max-age=3600";

/// For a year, the longest time that is usual: a published week never changes.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// The state of the handlers.
#[derive(Clone)]
struct PublicPages {
    store: Arc<dyn Store>,
    weeks: Arc<SharedAnswer<Vec<PublicWeek>>>,
}

/// The response of the API.
#[derive(Serialize, ToSchema)]
pub(super) struct PublicWeeks<'a> {
    /// The rule by which the weeks are made, in words.
    rule: &'a [&'a str],
    /// The published weeks, newest first.
    weeks: &'a [PublicWeek],
}

/// Returns the routes. Readers share what is read from the store for `max_age`.
pub(super) fn routes(store: Arc<dyn Store>, max_age: Duration) -> Router {
    Router::new()
        .route("/public", get(latest))
        .route("/public/{week}", get(one_week))
        .route("/api/v1/public/weeks", get(json))
        .with_state(PublicPages { store, weeks: Arc::new(SharedAnswer::new(max_age)) })
}

impl PublicPages {
    async fn weeks(&self) -> Result<Arc<Vec<PublicWeek>>, PageError> {
        let read = async {
            let stored = self.store.public_weeks().await?;
            let parse =
                |content: &str| serde_json::from_str(content).map_err(|error| ReadError(error.to_string().into()));
            stored.iter().map(|week| parse(&week.content)).collect()
        };
        Ok(self.weeks.get::<ReadError>(read).await?)
    }
}

/// Returns the headers of a response that caches may store and that scripts of other sites may read.
const fn headers(cache: &'static str) -> [(HeaderName, &'static str); 2] {
    [(CACHE_CONTROL, cache), (ACCESS_CONTROL_ALLOW_ORIGIN, "*")]
}

async fn latest(State(pages): State<PublicPages>) -> Result<Response, PageError> {
    let weeks = pages.weeks().await?;
    Ok((headers(LATEST), Html(page::public(&weeks).into_string())).into_response())
}

async fn one_week(State(pages): State<PublicPages>, Path(week): Path<String>) -> Result<Response, PageError> {
    let weeks = pages.weeks().await?;
    let Some(week) = weeks.iter().find(|published| published.week.to_string() == week) else {
        let message =
            "not found: expected the Monday of a published week, such as /public/2026-11-16; /public lists them\n";
        return Ok((StatusCode::NOT_FOUND, message).into_response());
    };
    Ok((headers(IMMUTABLE), Html(page::public_week(week).into_string())).into_response())
}

async fn json(State(pages): State<PublicPages>) -> Result<Response, PageError> {
    let weeks = pages.weeks().await?;
    Ok((headers(LATEST), Json(PublicWeeks { rule: &RULE, weeks: &weeks })).into_response())
}
