//! The reasons for which a request with telemetry is rejected.

use std::time::Duration;

use crate::backend::auth::AuthError;
use crate::backend::rate_limit::RateLimitError;
use crate::backend::store::WriteError;

/// The reason for which a request is rejected. Each protocol renders it in its own way. The texts state what was
/// expected, and never what was sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum IngestError {
    /// The sender may not send.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// A limit, or a body that was not read.
    #[error(transparent)]
    RateLimit(#[from] RateLimitError),
    /// A media type or an encoding that the route does not take, with the one that it takes.
    #[error("{0}")]
    Unsupported(&'static str),
    /// A body that is larger after decompression than a plain one may be.
    #[error("the message is too large: expected at most {0} bytes after decompression")]
    TooLargeDecompressed(usize),
    /// A body that cannot be decompressed.
    #[error("the body cannot be read: expected it whole, and its encoding sound")]
    Encoding,
    /// A body that cannot be decoded, with what was expected. A text that says where would repeat what was sent.
    #[error("the body is not what is sent to this path: expected {0}")]
    Malformed(&'static str),
    /// Records of which none is acceptable, or more than a request may hold.
    #[error("{0}")]
    Rejected(String),
    /// A store that cannot write at the moment.
    #[error("nothing can be stored at the moment, try again later")]
    Store(#[from] WriteError),
}

impl IngestError {
    /// Returns the time after which to try again; `None` if that would not help.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimit(error) => error.retry_after(),
            Self::Store(error) => Some(error.retry_after()),
            _ => None,
        }
    }
}
