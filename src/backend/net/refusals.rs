//! Refusals on a connection, after many of which it is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Response;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::backend::metrics::{self, ConnectionRejection};

/// The refusals of a connection since the last request that was not refused.
#[derive(Debug, Clone)]
pub(super) struct Refusals {
    max: usize,
    in_a_row: Arc<AtomicUsize>,
    exceeded: CancellationToken,
}

impl Refusals {
    /// Returns a count that allows less than `max` refusals in a row.
    pub(super) fn new(max: usize) -> Self {
        Self { max, in_a_row: Arc::default(), exceeded: CancellationToken::new() }
    }

    /// Counts a response.
    pub(super) fn count<B>(&self, response: &Response<B>) {
        if !is_refusal(response) {
            self.in_a_row.store(0, Ordering::Relaxed);
        } else if self.in_a_row.fetch_add(1, Ordering::Relaxed) + 1 == self.max {
            metrics::connections_rejected(ConnectionRejection::Refusals);
            self.exceeded.cancel();
        }
    }

    /// Waits until there are too many.
    pub(super) async fn exceeded(&self) {
        self.exceeded.cancelled().await;
    }
}

/// Returns whether a request was refused for what it is. An error of the backend is none. A failed call over gRPC has its
/// code in the head.
fn is_refusal<B>(response: &Response<B>) -> bool {
    let code = response.headers().get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
    let is_ours = matches!(code, Code::Ok | Code::Unavailable | Code::Internal | Code::Unknown);
    response.status().is_client_error() || !is_ours
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use http::StatusCode;

    use super::*;

    const MAX_REFUSALS: usize = 10;

    fn response(status: StatusCode, grpc: Option<&str>) -> Response<()> {
        let response = Response::builder().status(status);
        grpc.into_iter().fold(response, |response, code| response.header("grpc-status", code)).body(()).unwrap()
    }

    #[test]
    fn refusals_in_a_row_are_too_many_and_an_answer_between_them_forgives_them() {
        let refusals = Refusals::new(MAX_REFUSALS);
        let refused = [
            response(StatusCode::TOO_MANY_REQUESTS, None),
            response(StatusCode::NOT_FOUND, None),
            response(StatusCode::OK, Some("3")),
            response(StatusCode::OK, Some("16")),
        ];
        let count = |responses: usize| (0..responses).for_each(|one| refusals.count(&refused[one % refused.len()]));
        for other in [
            response(StatusCode::OK, None),
            response(StatusCode::OK, Some("14")),
            response(StatusCode::SERVICE_UNAVAILABLE, None),
            response(StatusCode::SEE_OTHER, None),
        ] {
            count(MAX_REFUSALS - 1);
            assert!(refusals.exceeded().now_or_never().is_none());
            refusals.count(&other);
        }
        count(MAX_REFUSALS);
        assert!(refusals.exceeded().now_or_never().is_some());
    }
}
