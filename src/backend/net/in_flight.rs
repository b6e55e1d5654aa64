//! The requests in flight on a connection, from their heads until the last of their responses is handed over to be sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy)]
struct RequestCounts {
    begun: u64,
    in_flight: usize,
    /// The end of the last request, or the opening of the connection.
    last_end: Instant,
}

/// The number of requests in flight on a connection.
#[derive(Debug, Clone)]
pub(super) struct InFlight(Arc<watch::Sender<RequestCounts>>);

/// A request that is in flight until this is dropped.
#[derive(Debug)]
pub(super) struct InFlightGuard(InFlight);

/// The body of a response. Its request is in flight until the last of it was handed over; some of it may still be in a
/// buffer then.
#[derive(Debug)]
pub(super) struct ResponseBody {
    body: Body,
    _guard: Option<InFlightGuard>,
}

impl Default for InFlight {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(RequestCounts { begun: 0, in_flight: 0, last_end: Instant::now() })))
    }
}

impl InFlight {
    /// Counts a request as in flight until the guard is dropped.
    pub(super) fn begin(&self) -> InFlightGuard {
        self.0.send_modify(|counts| {
            counts.begun += 1;
            counts.in_flight += 1;
        });
        InFlightGuard(self.clone())
    }

    /// Returns the beginning of the idle time; `None` while a request is in flight.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let counts = *self.0.borrow();
        (counts.in_flight == 0).then_some(counts.last_end)
    }

    /// Waits until the connection was idle for `before_first`, or for `after_each` once it has served a request.
    pub(super) async fn idle(&self, before_first: Duration, after_each: Duration) {
        let mut counts = self.0.subscribe();
        loop {
            // `self` holds the sender of the channel, so that neither wait fails.
            let Ok(begun) = counts.wait_for(|counts| counts.in_flight == 0).await.map(|counts| counts.begun) else {
                return;
            };
            let wait = if begun == 0 { before_first } else { after_each };
            if tokio::time::timeout(wait, counts.wait_for(|counts| counts.begun > begun)).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.0.send_modify(|counts| {
            counts.in_flight -= 1;
            counts.last_end = Instant::now();
        });
    }
}

impl ResponseBody {
    pub(super) fn new(body: Body, guard: Option<InFlightGuard>) -> Self {
        Self { body, _guard: guard }
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const BEFORE_FIRST: Duration = Duration::from_secs(1);
    const AFTER_EACH: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_when_nothing_was_in_flight_for_long_enough() {
        let (in_flight, began) = (InFlight::default(), Instant::now());
        in_flight.idle(BEFORE_FIRST, AFTER_EACH).await;
        assert_eq!(began.elapsed(), BEFORE_FIRST);

        let request = in_flight.begin();
        let idle = tokio::spawn({
            let in_flight = in_flight.clone();
            async move {
                in_flight.idle(BEFORE_FIRST, AFTER_EACH).await;
                Instant::now()
            }
        });
        tokio::time::sleep(10 * AFTER_EACH).await;
        drop(request);
        tokio::time::sleep(AFTER_EACH / 2).await;
        // A request that ends before the waiting task runs counts as well.
        drop(in_flight.begin());
        let last = Instant::now();
        assert_eq!(idle.await.unwrap() - last, AFTER_EACH);
    }
}
