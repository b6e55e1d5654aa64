//! Login and logout.

use axum::extract::rejection::FormRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Form};
use http::header::{REFERRER_POLICY, RETRY_AFTER};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use serde::Deserialize;

use super::{PageError, Web, page, with_form};
use crate::backend::auth::{LoginError, Principal, SetCookie};
use crate::backend::rate_limit::{ClientKey, PeerAddr};

/// The problem of a token that signs nobody in.
const WRONG_TOKEN: &str = "This token is unknown, expired or revoked.";

/// The problem of a link that signs nobody in.
const WRONG_CODE: &str = "This link was used already, is of an earlier start, or was opened on another machine. Sign in \
                          with the token that was printed below it.";

/// `Sec-Purpose`, by which a browser says that it loads a page before anybody opens it.
const SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");

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
    answer(&web, web.auth.log_in(client, &token).await, WRONG_TOKEN).await
}

/// Signs in with the code of a link, and redirects to the front page.
///
/// A request that nobody made by opening the link does not use up its code: a `HEAD`, and what a browser loads ahead.
pub(super) async fn log_in_by_code(
    State(web): State<Web>,
    Extension(client): Extension<ClientKey>,
    Extension(PeerAddr(peer)): Extension<PeerAddr>,
    Path(code): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    if method == Method::HEAD || headers.contains_key(SEC_PURPOSE) {
        return denied(&web, WRONG_CODE).await;
    }
    let result = web.auth.log_in_by_code(client, peer, &code).await;
    // No other page is told the address of a link. The form of a page without any referrer would have no origin.
    let referrer_policy = if result.is_ok() { "no-referrer" } else { "strict-origin" };
    Ok(([(REFERRER_POLICY, referrer_policy)], answer(&web, result, WRONG_CODE).await?).into_response())
}

/// Returns the page with the form after an attempt that signed nobody in.
async fn denied(web: &Web, problem: &str) -> Result<Response, PageError> {
    Ok((StatusCode::UNAUTHORIZED, page(web, Some(problem)).await?).into_response())
}

/// Returns the response to a login. `wrong` is the problem of a token or a code that signs nobody in.
async fn answer(web: &Web, login: Result<SetCookie, LoginError>, wrong: &str) -> Result<Response, PageError> {
    match login {
        Ok(cookie) => Ok((cookie, Redirect::to("/")).into_response()),
        Err(LoginError::InvalidToken) => denied(web, wrong).await,
        Err(LoginError::TooManyAttempts(wait)) => {
            let seconds = wait.as_secs() + 1;
            let problem = format!("Too many attempts. Try again in {} minutes.", seconds.div_ceil(60));
            let retry_after = [(RETRY_AFTER, seconds.to_string())];
            Ok((StatusCode::TOO_MANY_REQUESTS, retry_after, page(web, Some(&problem)).await?).into_response())
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
