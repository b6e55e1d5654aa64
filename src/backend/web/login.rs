//! Login and logout.

use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Form};
use http::StatusCode;
use http::header::RETRY_AFTER;
use serde::Deserialize;

use super::{PageError, Web, page, with_form};
use crate::backend::auth::{LoginError, Principal};
use crate::backend::rate_limit::ClientKey;

/// The fields of the form.
#[derive(Deserialize)]
pub(super) struct LoginForm {
    token: String,
}

/// Returns the page with the form. `problem` is the error of the last attempt.
pub(super) async fn page(web: &Web, problem: Option<&str>) -> Result<Response, PageError> {
    let has_token = web.auth.has_valid_token().await?;
    Ok(with_form(page::login(problem, has_token)))
}

pub(super) async fn log_in(
    State(web): State<Web>,
    Extension(client): Extension<ClientKey>,
    form: Result<Form<LoginForm>, FormRejection>,
) -> Result<Response, PageError> {
    let Ok(Form(LoginForm { token })) = form else {
        let message = "this is no form of the sign-in page: expected `token` in application/x-www-form-urlencoded\n";
        return Ok((StatusCode::BAD_REQUEST, message).into_response());
    };
    match web.auth.log_in(client, &token).await {
        Ok(cookie) => Ok((cookie, Redirect::to("/")).into_response()),
        Err(LoginError::InvalidToken) => {
            let problem = "This token is unknown, expired or revoked.";
            Ok((StatusCode::UNAUTHORIZED, page(&web, Some(problem)).await?).into_response())
        }
        Err(LoginError::TooManyAttempts(wait)) => {
            let seconds = wait.as_secs() + 1;
            let problem = format!("Too many attempts. Try again in {} minutes.", seconds.div_ceil(60));
            let retry_after = [(RETRY_AFTER, seconds.to_string())];
            Ok((StatusCode::TOO_MANY_REQUESTS, retry_after, page(&web, Some(&problem)).await?).into_response())
        }
        Err(LoginError::Unavailable(error)) => Ok(error.into_response()),
    }
}

/// Ends the session, and redirects to the front page.
pub(super) async fn log_out(State(web): State<Web>, Extension(principal): Extension<Principal>) -> Response {
    match web.auth.log_out(&principal).await {
        Ok(cookie) => (cookie, Redirect::to("/")).into_response(),
        Err(error) => error.into_response(),
    }
}
