//! The page that asks for a token, and what its form does.

use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Form};
use http::StatusCode;
use http::header::RETRY_AFTER;
use serde::Deserialize;

use super::{Unreadable, Web, page, with_form};
use crate::backend::auth::{LoginError, Principal};
use crate::backend::rate_limit::ClientKey;

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct Typed {
    token: String,
}

/// Shows no number. `problem` is what came of an attempt.
pub(super) async fn page(web: &Web, problem: Option<&str>) -> Result<Response, Unreadable> {
    let has_token = web.guard.has_valid_token().await?;
    Ok(with_form(page::sign_in(problem, has_token)))
}

/// A source has few attempts.
pub(super) async fn sign_in(
    State(web): State<Web>,
    Extension(source): Extension<ClientKey>,
    form: Result<Form<Typed>, FormRejection>,
) -> Result<Response, Unreadable> {
    let Ok(Form(Typed { token })) = form else {
        let told = "this is no form of the sign-in page: expected `token` in application/x-www-form-urlencoded\n";
        return Ok((StatusCode::BAD_REQUEST, told).into_response());
    };
    match web.guard.log_in(source, &token).await {
        Ok(cookie) => Ok((cookie, Redirect::to("/")).into_response()),
        Err(LoginError::InvalidToken) => {
            let problem = "This token is unknown, expired or revoked.";
            Ok((StatusCode::UNAUTHORIZED, page(&web, Some(problem)).await?).into_response())
        }
        Err(LoginError::TooManyAttempts(wait)) => {
            let seconds = wait.as_secs() + 1;
            let problem = format!("Too many attempts. Try again in {} minutes.", seconds.div_ceil(60));
            let wait = [(RETRY_AFTER, seconds.to_string())];
            Ok((StatusCode::TOO_MANY_REQUESTS, wait, page(&web, Some(&problem)).await?).into_response())
        }
        Err(LoginError::Unavailable(failed)) => Ok(failed.into_response()),
    }
}

/// Back to the front page, which asks to sign in again.
pub(super) async fn sign_out(State(web): State<Web>, Extension(reader): Extension<Principal>) -> Response {
    match web.guard.log_out(&reader).await {
        Ok(cookie) => (cookie, Redirect::to("/")).into_response(),
        Err(failed) => failed.into_response(),
    }
}
