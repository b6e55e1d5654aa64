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
    /// A path, a service or a signal that is not served.
    #[error(
        "only the metrics and logs of kamaji-telemetry are taken here: expected POST /v1/metrics or /v1/logs over HTTP, \
         MetricsService/Export or LogsService/Export over gRPC"
    )]
    Unrouted,
    /// A media type that the route does not take, with those that it takes.
    #[error("unsupported content type: expected {0}")]
    UnsupportedType(&'static str),
    /// An encoding other than gzip.
    #[error("unsupported content encoding: expected gzip, identity or none")]
    UnsupportedEncoding,
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
