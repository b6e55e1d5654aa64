//! The reasons for which a request is rejected by its size or by a limit.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::RETRY_AFTER;

/// The time that a request may take, from the end of its head to its response: three times what an agent waits for one,
/// and six times what a relay does, so that a sender that takes longer has gone.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// The `Retry-After` of a client for whose body there was no room, or no time: bodies are in memory for
/// milliseconds, or at most for [`DEADLINE`].
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(2);

/// More than a rate limit allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests or items from this client: nothing of this request was stored, try again later")]
pub(in crate::backend) struct RateLimited {
    /// The time until the limit allows another request.
    pub(in crate::backend) retry_after: Duration,
}

/// The reason for which a request is rejected before it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::backend) enum RateLimitError {
    #[error(transparent)]
    Limited(#[from] RateLimited),
    #[error("overloaded: nothing of this request was stored, try again later")]
    NoRoom,
    #[error("the message is too large: expected at most {0} bytes, compressed or not")]
    TooLarge(usize),
    #[error("the body cannot be read: expected it whole")]
    Broken,
    #[error("the request took too long: expected it whole, and its response, within {DEADLINE:?}")]
    TooSlow,
}

impl RateLimitError {
    /// Returns the time after which to try again in whole seconds, as HTTP writes it; `None` if that would not help.
    pub(in crate::backend) const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Limited(RateLimited { retry_after }) => Some(Duration::from_secs(retry_after.as_secs() + 1)),
            Self::NoRoom | Self::TooSlow => Some(BUSY_RETRY_AFTER),
            Self::TooLarge(_) | Self::Broken => None,
        }
    }

    /// Returns the status code of HTTP.
    pub(in crate::backend) const fn code(self) -> StatusCode {
        match self {
            Self::Limited(_) | Self::NoRoom => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Broken => StatusCode::BAD_REQUEST,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
        }
    }
}

impl IntoResponse for RateLimitError {
    /// Renders the error as plain text, for people and for clients that read nothing but the status.
    fn into_response(self) -> Response {
        let mut response = (self.code(), format!("{self}\n")).into_response();
        if let Some(wait) = self.retry_after() {
            response.headers_mut().insert(RETRY_AFTER, wait.as_secs().into());
        }
        response
    }
}
