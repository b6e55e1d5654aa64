//! TokenRef read what, as a page and as JSON.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Unreadable, Web, page, with_form};
use crate::backend::auth::Principal;
use crate::backend::store::AuditLogEntry;

/// The entries on the page: what a reader scrolls through.
const LISTED: u32 = 200;

/// The entries of an answer unless another number is asked for, and at most: 1 MB.
const DEFAULT: u32 = 100;
const MOST: u32 = 10_000;

/// What may be asked.
#[derive(Deserialize)]
pub(super) struct AuditLogQuery {
    limit: Option<u32>,
}

#[derive(Serialize)]
struct AuditLogPage {
    /// Newest first.
    entries: Vec<AuditLogEntry>,
}

pub(super) async fn json(
    State(web): State<Web>,
    asked: Result<Query<AuditLogQuery>, QueryRejection>,
) -> Result<Response, Unreadable> {
    let limit = asked.map(|Query(AuditLogQuery { limit })| limit.unwrap_or(DEFAULT));
    let Some(limit) = limit.ok().filter(|limit| (1..=MOST).contains(limit)) else {
        let told = format!("limit: expected a whole number from 1 to {MOST}, such as ?limit={DEFAULT}\n");
        return Ok((StatusCode::BAD_REQUEST, told).into_response());
    };
    let entries = web.stores.access.audit_log(limit).await?;
    Ok(Json(AuditLogPage { entries }).into_response())
}

pub(super) async fn page(
    State(web): State<Web>,
    Extension(reader): Extension<Principal>,
) -> Result<Response, Unreadable> {
    let entries = web.stores.access.audit_log(LISTED).await?;
    Ok(with_form(page::audit_log(&entries, Timestamp::now(), &reader)))
}
