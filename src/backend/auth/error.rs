//! The errors of authentication and authorization, and their responses.

use std::time::Duration;

use axum::response::{IntoResponse, Redirect, Response};
use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use super::csrf::PublicUrl;
use crate::backend::store::Role;
use crate::process::log_throttle::LogThrottle;

/// A function that renders an error in the form that the clients of a route understand.
pub(in crate::backend) type Respond = fn(AuthError) -> Response;

/// An error that keeps a request from its handler. The texts say what was expected, and never what was sent.
#[derive(Debug, thiserror::Error)]
pub(in crate::backend) enum AuthError {
    #[error("this is {0}, and is served under no other name (--public-url)")]
    Host(PublicUrl),
    #[error(
        "this was not sent by a page of this backend: expected a browser on that page, which says so in Sec-Fetch-Site or \
         Origin; where a proxy changes the name of the host, --public-url tells the right one; a program sends a token \
         instead"
    )]
    CrossOrigin,
    #[error("this path has no such method: expected {0}")]
    MethodNotAllowed(String),
    #[error(
        "a token is needed to send here: expected `Authorization: Bearer TOKEN`, with a token that its operator gave out"
    )]
    SenderTokenRequired,
    #[error(
        "a token is needed: expected `Authorization: Bearer TOKEN`; whoever runs this backend makes one with \
         `kamaji-telemetry backend token create`"
    )]
    TokenRequired,
    #[error("the token is unknown, expired or revoked: expected `Authorization: Bearer TOKEN` with one that is not")]
    InvalidToken,
    #[error("the role {has} is too small: expected a token with the role {needed}")]
    Role { has: Role, needed: Role },
    #[error("this token is used too often: expected no more than five requests a second; try again in {} s", seconds(*.0))]
    RateLimited(Duration),
    #[error("sign in first")]
    LoginRequired,
    #[error(transparent)]
    Unavailable(#[from] AuthUnavailable),
}

/// A failure of the backend. The cause is logged, and is not in the response.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(in crate::backend) enum AuthUnavailable {
    /// The request cannot be added to the audit log, so the response is not sent.
    #[error("what is read has to be logged, and that fails at the moment: see the backend's log")]
    AuditLog,
    /// Any other failure, which is logged already.
    #[error("the store cannot be used at the moment: see the backend's log")]
    Other,
}

impl AuthUnavailable {
    /// Logs `error`, at most once a minute: requests without a valid token fail as well.
    pub(in crate::backend) fn other(error: impl std::fmt::Display) -> Self {
        static THROTTLE: LogThrottle = LogThrottle::per_minute();
        THROTTLE.failed(|count| tracing::error!(%error, count, "failed to answer a reader"));
        Self::Other
    }
}

/// Returns a time for `Retry-After`, rounded up.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + 1
}

impl AuthError {
    /// Returns the HTTP status of the response.
    pub(in crate::backend) const fn status(&self) -> StatusCode {
        match self {
            Self::Host(_) => StatusCode::MISDIRECTED_REQUEST,
            Self::CrossOrigin | Self::Role { .. } => StatusCode::FORBIDDEN,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::SenderTokenRequired | Self::TokenRequired | Self::InvalidToken => StatusCode::UNAUTHORIZED,
            Self::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::LoginRequired => StatusCode::SEE_OTHER,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl IntoResponse for AuthUnavailable {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{self}\n")).into_response()
    }
}

impl IntoResponse for AuthError {
    fn into_response(self) -> Response {
        if let Self::LoginRequired = self {
            return Redirect::to("/").into_response();
        }
        let mut response = (self.status(), format!("{self}\n")).into_response();
        let header = match self {
            Self::SenderTokenRequired => Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Self::TokenRequired => {
                Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"kamaji-telemetry\"")))
            }
            Self::InvalidToken => Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"invalid_token\""))),
            Self::RateLimited(wait) => Some((RETRY_AFTER, HeaderValue::from(seconds(wait)))),
            Self::MethodNotAllowed(allowed) => HeaderValue::try_from(allowed).ok().map(|allowed| (ALLOW, allowed)),
            _ => None,
        };
        response.headers_mut().extend(header);
        response
    }
}
