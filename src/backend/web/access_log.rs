//! Who read what, as a page and as JSON.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Unreadable, Web, page, with_form};
use crate::backend::access::Reader;
use crate::backend::store::LogEntry;

/// The entries on the page: what a reader scrolls through.
const LISTED: u32 = 200;

/// The entries of an answer unless another number is asked for, and at most: 1 MB.
const DEFAULT: u32 = 100;
const MOST: u32 = 10_000;

/// What may be asked.
#[derive(Deserialize)]
pub(super) struct Asked {
    limit: Option<u32>,
}

#[derive(Serialize)]
struct Answer {
    /// Newest first.
    entries: Vec<LogEntry>,
}

pub(super) async fn json(
    State(web): State<Web>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Unreadable> {
    let limit = asked.map(|Query(Asked { limit })| limit.unwrap_or(DEFAULT));
    let Some(limit) = limit.ok().filter(|limit| (1..=MOST).contains(limit)) else {
        let told = format!("limit: expected a whole number from 1 to {MOST}, such as ?limit={DEFAULT}\n");
        return Ok((StatusCode::BAD_REQUEST, told).into_response());
    };
    let entries = web.stores.access.access_log(limit).await?;
    Ok(Json(Answer { entries }).into_response())
}

pub(super) async fn page(State(web): State<Web>, Extension(reader): Extension<Reader>) -> Result<Response, Unreadable> {
    let entries = web.stores.access.access_log(LISTED).await?;
    Ok(with_form(page::access_log(&entries, Timestamp::now(), &reader)))
}
