//! What the collector's answer means for a batch of events.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// What to do after a request that was not answered with OK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryDecision {
    /// Send it again, after at least this long where the server says so.
    Backoff(Option<Duration>),
    /// Send it again at the longest wait: somebody has to mend something first.
    MaxBackoff,
    /// Something in it is refused: find out what.
    Bisect,
}

/// Reads a status. Which codes may be retried is from "OTLP/gRPC Response" of the OpenTelemetry protocol; where it
/// would drop data, here it is kept, because an event happens once.
pub(super) fn after(status: &Status) -> RetryDecision {
    match status.code() {
        Code::InvalidArgument => RetryDecision::Bisect,
        // A connection that breaks under a request has no code of its own; tonic calls it UNKNOWN.
        Code::Unknown if broke_under_way(status) => RetryDecision::Backoff(None),
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss
        | Code::ResourceExhausted => {
            let info = status.get_details_retry_info();
            RetryDecision::Backoff(info.and_then(|info| info.retry_delay))
        }
        _ => RetryDecision::MaxBackoff,
    }
}

/// The name of a code, as the gRPC specification writes it.
pub(super) fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Says whether the status is the connection's rather than the server's.
fn broke_under_way(status: &Status) -> bool {
    std::error::Error::source(status).is_some_and(<dyn std::error::Error>::is::<tonic::transport::Error>)
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn only_an_invalid_argument_is_split_and_nothing_is_dropped() {
        assert_eq!(after(&Status::invalid_argument("")), RetryDecision::Bisect);
        assert_eq!(after(&Status::unavailable("")), RetryDecision::Backoff(None));
        assert_eq!(after(&Status::deadline_exceeded("")), RetryDecision::Backoff(None));
        assert_eq!(after(&Status::resource_exhausted("")), RetryDecision::Backoff(None));
        for code in [
            Code::Unknown,
            Code::Internal,
            Code::Unauthenticated,
            Code::PermissionDenied,
            Code::Unimplemented,
            Code::NotFound,
        ] {
            assert_eq!(after(&Status::new(code, "")), RetryDecision::MaxBackoff, "{code:?}");
        }
    }

    #[test]
    fn the_servers_own_wait_is_read() {
        let wait = Duration::from_secs(7);
        let details = ErrorDetails::with_retry_info(Some(wait));
        let status = Status::with_error_details(Code::ResourceExhausted, "", details);
        assert_eq!(after(&status), RetryDecision::Backoff(Some(wait)));
    }
}
