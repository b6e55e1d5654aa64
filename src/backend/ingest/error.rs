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
    /// More points or records than a request may hold.
    #[error("too many points or records: expected at most {0} in a request")]
    TooManyItems(usize),
    /// Records of which none is acceptable.
    #[error("{0}")]
    Rejected(String),
    /// A store that cannot write at the moment.
    #[error("nothing can be stored at the moment, try again later")]
    Store(#[from] WriteError),
}

impl IngestError {
    /// Returns the reason under which the request is counted as refused; `None` if its records are counted one by one.
    /// One of few, in `snake_case`, and none of the labels of rejected records.
    pub(super) const fn refusal(&self) -> Option<&'static str> {
        Some(match self {
            Self::Auth(AuthError::SenderTokenRequired) => "sender_token",
            Self::Auth(_) | Self::Unrouted => "unrouted",
            Self::RateLimit(RateLimitError::Limited(_) | RateLimitError::NoRoom) => "rate_limit",
            Self::RateLimit(RateLimitError::TooSlow) => "deadline",
            Self::RateLimit(RateLimitError::TooLarge(_)) | Self::TooLargeDecompressed(_) => "too_large",
            Self::RateLimit(RateLimitError::Broken) | Self::UnsupportedEncoding | Self::Encoding => "broken",
            Self::UnsupportedType(_) => "content_type",
            Self::Malformed(_) => "malformed",
            Self::TooManyItems(_) => "too_many_items",
            Self::Store(WriteError::Overloaded { .. }) => "store_overloaded",
            Self::Store(WriteError::Full) => "store_full",
            Self::Store(WriteError::TooManyNew) => "too_many_new",
            Self::Store(WriteError::Unavailable(_) | WriteError::Unconfirmed(_)) => "store_unavailable",
            Self::Rejected(_) => return None,
        })
    }

    /// Returns the time after which to try again; `None` if that would not help.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimit(error) => error.retry_after(),
            Self::Store(error) => Some(error.retry_after()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::ingest::reject_reasons;

    #[test]
    fn a_request_is_refused_under_no_label_of_a_record() {
        let requests = [
            IngestError::Auth(AuthError::SenderTokenRequired),
            IngestError::Unrouted,
            IngestError::RateLimit(RateLimitError::NoRoom),
            IngestError::RateLimit(RateLimitError::TooSlow),
            IngestError::TooLargeDecompressed(1),
            IngestError::Encoding,
            IngestError::UnsupportedType(""),
            IngestError::Malformed(""),
            IngestError::TooManyItems(1),
            IngestError::Store(WriteError::Overloaded { waiting: 1, bound: 1 }),
            IngestError::Store(WriteError::Full),
            IngestError::Store(WriteError::TooManyNew),
            IngestError::Store(WriteError::Unavailable("".into())),
        ];
        for error in requests {
            let reason = error.refusal().unwrap();
            assert!(reject_reasons().all(|label| label != reason), "{reason}");
        }
        assert_eq!(IngestError::Rejected(String::new()).refusal(), None, "its records were counted");
    }
}
