//! The audit log, as a page and as JSON.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{PageError, Web, page, with_form};
use crate::backend::auth::Principal;
use crate::backend::store::AuditLogEntry;

/// The number of entries on the page: as many as fit on one page.
const PAGE_LIMIT: u32 = 200;

/// The default number of entries in a JSON response.
const DEFAULT_LIMIT: u32 = 100;

/// The maximum number of entries in a JSON response: they are 1 MB.
const MAX_LIMIT: u32 = 10_000;

/// The parameters of the JSON response.
#[derive(Deserialize, IntoParams)]
pub(super) struct AuditLogQuery {
    /// Number of entries, 10,000 at most.
    limit: Option<u32>,
}

/// Entries of the audit log.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditLogPage {
    /// Newest first.
    entries: Vec<AuditLogEntry>,
}

pub(super) async fn json(
    State(web): State<Web>,
    query: Result<Query<AuditLogQuery>, QueryRejection>,
) -> Result<Response, PageError> {
    let limit = query.map(|Query(AuditLogQuery { limit })| limit.unwrap_or(DEFAULT_LIMIT));
    let Some(limit) = limit.ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)) else {
        let message = format!("limit: expected a whole number from 1 to {MAX_LIMIT}, such as ?limit={DEFAULT_LIMIT}\n");
        return Ok((StatusCode::BAD_REQUEST, message).into_response());
    };
    let entries = web.stores.auth.audit_log(limit).await?;
    Ok(Json(AuditLogPage { entries }).into_response())
}

pub(super) async fn page(
    State(web): State<Web>,
    Extension(principal): Extension<Principal>,
) -> Result<Response, PageError> {
    let entries = web.stores.auth.audit_log(PAGE_LIMIT).await?;
    Ok(with_form(page::audit_log(&entries, web.config.clock.now(), &principal)))
}
