//! Why somebody is not let in, and how they are told.

use std::time::Duration;

use axum::response::{IntoResponse, Redirect, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use super::PublicUrl;
use crate::backend::store::Role;
use crate::backend::web;
use crate::process::log_throttle::LogThrottle;

/// Renders an error in the form that the clients of a route understand.
pub(super) type Respond = fn(AuthError) -> Response;

/// Why a reader is not let in. The texts say what was expected, and never what was sent.
#[derive(Debug, thiserror::Error)]
pub(in crate::backend) enum AuthError {
    #[error("this is {0}, and is served under no other name (--public-url)")]
    Host(PublicUrl),
    #[error(
        "this was not sent by a page of this backend: expected a browser on that page, which says so in Sec-Fetch-Site or \
         Origin; where a proxy changes the name of the host, --public-url tells the right one; a program sends a token \
         instead"
    )]
    Foreign,
    #[error(
        "a token is needed: expected `Authorization: Bearer TOKEN`; whoever runs this backend makes one with \
         `kamaji-telemetry backend token create`"
    )]
    Nobody,
    #[error("the token is unknown, expired or revoked: expected `Authorization: Bearer TOKEN` with one that is not")]
    WrongToken,
    #[error("the role {has} is too small: expected a token with the role {needed}")]
    Role { has: Role, needed: Role },
    #[error("this token is used too often: expected no more than five requests a second; try again in {} s", seconds(*.0))]
    RateLimited(Duration),
    #[error(
        "a token is needed to send here: expected `Authorization: Bearer TOKEN`, with a token that its operator gave out"
    )]
    SenderTokenRequired,
    #[error("sign in first")]
    SignInFirst,
    #[error(transparent)]
    AuthUnavailable(#[from] AuthUnavailable),
}

/// Something is wrong on our side, and nothing is shown: the log says what, the reader only that.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(in crate::backend) enum AuthUnavailable {
    /// What is not in the audit log is not answered.
    #[error("what is read has to be logged, and that fails at the moment: see the backend's log")]
    NotLogged,
    /// Anything else, logged already.
    #[error("the store cannot be used at the moment: see the backend's log")]
    Other,
}

impl AuthUnavailable {
    /// Logs what the reader is not told, once a minute at most: it fails for strangers too.
    pub(in crate::backend) fn other(error: impl std::fmt::Display) -> Self {
        static SAID: LogThrottle = LogThrottle::per_minute();
        SAID.failed(|count| tracing::error!(%error, count, "a reader could not be answered"));
        Self::Other
    }
}

/// As `Retry-After` tells it.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + 1
}

impl IntoResponse for AuthUnavailable {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{self}\n")).into_response()
    }
}

impl IntoResponse for AuthError {
    fn into_response(self) -> Response {
        let told = format!("{self}\n");
        let challenge = |challenge| [(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))];
        web::with_headers(match self {
            Self::Host(_) => (StatusCode::MISDIRECTED_REQUEST, told).into_response(),
            Self::Foreign | Self::Role { .. } => (StatusCode::FORBIDDEN, told).into_response(),
            Self::Nobody => {
                (StatusCode::UNAUTHORIZED, challenge("Bearer realm=\"kamaji-telemetry\""), told).into_response()
            }
            Self::WrongToken => {
                (StatusCode::UNAUTHORIZED, challenge("Bearer error=\"invalid_token\""), told).into_response()
            }
            Self::RateLimited(wait) => {
                let wait = [(RETRY_AFTER, HeaderValue::from(seconds(wait)))];
                (StatusCode::TOO_MANY_REQUESTS, wait, told).into_response()
            }
            Self::SenderTokenRequired => (StatusCode::UNAUTHORIZED, challenge("Bearer"), told).into_response(),
            Self::SignInFirst => Redirect::to("/").into_response(),
            Self::AuthUnavailable(failed) => failed.into_response(),
        })
    }
}
