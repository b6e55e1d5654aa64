//! The retry policy for events. Gauges are retried in [`gauges`](super::gauges).

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The next step after a request that was not answered with OK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryDecision {
    /// Send the batch again after the backoff, or after the delay that the server asks for if that is longer.
    Backoff(Option<Duration>),
    /// Send the batch again after the maximum backoff: an operator has to fix something first.
    MaxBackoff,
    /// Split the batch, to find the record that is rejected.
    Bisect,
}

/// Returns the next step after `status`.
///
/// The retryable codes are those of "OTLP/gRPC Response" in the OpenTelemetry protocol. For the other codes the
/// protocol drops the data. Here it is retried, because an event happens only once.
pub(super) fn decide(status: &Status) -> RetryDecision {
    match status.code() {
        Code::InvalidArgument => RetryDecision::Bisect,
        // A connection that breaks during a request has no code of its own; tonic reports it as UNKNOWN.
        Code::Unknown if is_transport_error(status) => RetryDecision::Backoff(None),
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

/// Returns whether the status comes from the connection rather than the server.
fn is_transport_error(status: &Status) -> bool {
    std::error::Error::source(status).is_some_and(<dyn std::error::Error>::is::<tonic::transport::Error>)
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn only_an_invalid_argument_is_bisected_and_nothing_is_dropped() {
        assert_eq!(decide(&Status::invalid_argument("")), RetryDecision::Bisect);
        assert_eq!(decide(&Status::unavailable("")), RetryDecision::Backoff(None));
        assert_eq!(decide(&Status::deadline_exceeded("")), RetryDecision::Backoff(None));
        assert_eq!(decide(&Status::resource_exhausted("")), RetryDecision::Backoff(None));
        for code in [
            Code::Unknown,
            Code::Internal,
            Code::Unauthenticated,
            Code::PermissionDenied,
            Code::Unimplemented,
            Code::NotFound,
        ] {
            assert_eq!(decide(&Status::new(code, "")), RetryDecision::MaxBackoff, "{code:?}");
        }
    }

    #[test]
    fn the_servers_retry_delay_is_read() {
        let wait = Duration::from_secs(7);
        let details = ErrorDetails::with_retry_info(Some(wait));
        let status = Status::with_error_details(Code::ResourceExhausted, "", details);
        assert_eq!(decide(&status), RetryDecision::Backoff(Some(wait)));
    }
}
