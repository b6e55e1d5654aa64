//! The requests in flight on a connection, from their heads until the last of their responses is handed over to be sent.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::watch;

use super::eviction_order::{ConnectionId, EvictionOrder};
use crate::backend::rate_limit::ClientKey;
use crate::process::lock::lock;

#[derive(Debug, Clone, Copy, Default)]
struct RequestCounts {
    begun: u64,
    in_flight: usize,
}

/// The number of requests in flight on a connection, which is busy in the order of eviction while there is one.
#[derive(Debug, Clone)]
pub(super) struct InFlight(Arc<InFlightState>);

#[derive(Debug)]
struct InFlightState {
    counts: watch::Sender<RequestCounts>,
    id: ConnectionId,
    order: Arc<Mutex<EvictionOrder<ClientKey>>>,
}

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

impl InFlight {
    /// Creates the count of the connection `id` in `order`, where it is idle.
    pub(super) fn new(id: ConnectionId, order: Arc<Mutex<EvictionOrder<ClientKey>>>) -> Self {
        Self(Arc::new(InFlightState { counts: watch::Sender::default(), id, order }))
    }

    /// Counts a request as in flight until the guard is dropped.
    pub(super) fn begin(&self) -> InFlightGuard {
        let InFlightState { counts, id, order } = self.0.as_ref();
        counts.send_modify(|counts| {
            counts.begun += 1;
            counts.in_flight += 1;
            // Marked within the lock of the counts: requests of a connection begin and end on several threads, and the
            // last mark has to be that of the last change. Only the first and the last request of a busy time take the
            // lock of the order, which is held for about a microsecond: docs/performance.md has the figures.
            if counts.in_flight == 1 {
                lock(order).mark_busy(*id);
            }
        });
        InFlightGuard(self.clone())
    }

    /// Waits until the connection was idle for `before_first`, or for `after_each` once it has served a request.
    pub(super) async fn idle(&self, before_first: Duration, after_each: Duration) {
        let mut counts = self.0.counts.subscribe();
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
        let InFlightState { counts, id, order } = self.0.0.as_ref();
        counts.send_modify(|counts| {
            counts.in_flight -= 1;
            if counts.in_flight == 0 {
                lock(order).mark_idle(*id);
            }
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
    use std::net::Ipv4Addr;

    use tokio::time::Instant;

    use super::*;

    const BEFORE_FIRST: Duration = Duration::from_secs(1);
    const AFTER_EACH: Duration = Duration::from_secs(10);

    fn in_flight() -> (InFlight, Arc<Mutex<EvictionOrder<ClientKey>>>) {
        let order = Arc::new(Mutex::new(EvictionOrder::default()));
        let id = lock(&order).insert(ClientKey::of(Ipv4Addr::LOCALHOST.into()));
        (InFlight::new(id, Arc::clone(&order)), order)
    }

    #[test]
    fn a_connection_is_evicted_once_its_last_request_has_ended() {
        let (in_flight, order) = in_flight();
        let (first, second) = (in_flight.begin(), in_flight.begin());
        assert_eq!(lock(&order).evict(None), None);
        drop(first);
        assert_eq!(lock(&order).evict(None), None);
        drop(second);
        assert!(lock(&order).evict(None).is_some());
        // What an evicted connection still does changes nothing.
        drop(in_flight.begin());
        assert!(lock(&order).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_when_nothing_was_in_flight_for_long_enough() {
        let ((in_flight, _), began) = (in_flight(), Instant::now());
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
