//! The erasure of an installation on an operator's request.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use uuid::Uuid;

use super::Web;
use crate::backend::admin;
use crate::backend::auth::AuthUnavailable;

/// Answers with what was deleted, which is nothing where nothing was stored. The UUID is repeated nowhere.
pub(super) async fn erase(State(web): State<Web>, uuid: Result<Path<Uuid>, PathRejection>) -> Response {
    let Ok(Path(installation)) = uuid else {
        let told = "this is no UUID: expected DELETE /api/v1/installations/UUID, with the UUID of `kamaji-telemetry status`, \
                    or the UID of the Service default/kubernetes of a cluster that today's Kamaji reports\n";
        return (StatusCode::BAD_REQUEST, told).into_response();
    };
    match admin::erase_from(web.stores.rows.as_ref(), installation).await {
        Ok(erased) => Json(erased).into_response(),
        Err(error) => AuthUnavailable::other(format!("{error:#}")).into_response(),
    }
}
