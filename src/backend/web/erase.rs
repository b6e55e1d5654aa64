//! The erasure of an installation.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use uuid::Uuid;

use super::Web;
use crate::backend::auth::AuthUnavailable;
use crate::backend::store::erase_installation;

/// Responds with the number of deleted rows, which is zero if nothing was stored. No response and no log repeats the
/// UUID.
pub(super) async fn erase(State(web): State<Web>, uuid: Result<Path<Uuid>, PathRejection>) -> Response {
    let Ok(Path(installation)) = uuid else {
        let message = "this is no UUID: expected DELETE /api/v1/installations/UUID, with the UUID of `kamaji-telemetry status`, \
                    or the UID of the Service default/kubernetes of a cluster that Kamaji's built-in telemetry reports\n";
        return (StatusCode::BAD_REQUEST, message).into_response();
    };
    match erase_installation(web.stores.rows.as_ref(), installation).await {
        Ok(erased) => Json(erased).into_response(),
        Err(error) => AuthUnavailable::other(error).into_response(),
    }
}
