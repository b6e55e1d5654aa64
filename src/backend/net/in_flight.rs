//! The requests in flight on a connection, from their heads until the last of their responses is handed over to be sent.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::eviction_order::{ConnectionId, EvictionOrder};
use crate::backend::rate_limit::ClientKey;
use crate::process::lock::lock;

#[derive(Debug, Clone, Copy)]
struct RequestCounts {
    /// True once a request has begun.
    has_begun: bool,
    in_flight: usize,
    /// The time at which the last request ended or, before the first, that of the connection's begin.
    idle_since: Instant,
}

/// The number of requests in flight on a connection, which is busy in the order of eviction while there is one.
#[derive(Debug, Clone)]
pub(super) struct InFlight(Arc<InFlightState>);

#[derive(Debug)]
struct InFlightState {
    counts: Mutex<RequestCounts>,
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
        let counts = RequestCounts { has_begun: false, in_flight: 0, idle_since: Instant::now() };
        Self(Arc::new(InFlightState { counts: Mutex::new(counts), id, order }))
    }

    /// Counts a request as in flight until the guard is dropped.
    pub(super) fn begin(&self) -> InFlightGuard {
        let InFlightState { counts, id, order } = self.0.as_ref();
        let mut counts = lock(counts);
        counts.has_begun = true;
        counts.in_flight += 1;
        // Marked within the lock of the counts: requests of a connection begin and end on several threads, and the
        // last mark has to be that of the last change. Only the first and the last request of a busy time take the
        // lock of the order, which is held for about a microsecond: docs/performance.md has the figures.
        if counts.in_flight == 1 {
            lock(order).mark_busy(*id);
        }
        drop(counts);
        InFlightGuard(self.clone())
    }

    /// Waits until the connection was idle for `before_first`, or for `after_each` once it has served a request.
    ///
    /// Requests don't wake it, which would cost each of them as much as a part of its own work. It looks again when the connection
    /// could be idle for long enough at the earliest, and so misses no moment, as `before_first` is not longer than `after_each`.
    pub(super) async fn idle(&self, before_first: Duration, after_each: Duration) {
        let begin = Instant::now();
        loop {
            let RequestCounts { has_begun, in_flight, idle_since } = *lock(&self.0.counts);
            let wait = if has_begun { after_each } else { before_first };
            let idle_since = if in_flight > 0 { Instant::now() } else { idle_since.max(begin) };
            if Instant::now() >= idle_since + wait {
                return;
            }
            tokio::time::sleep_until(idle_since + wait).await;
        }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let InFlightState { counts, id, order } = self.0.0.as_ref();
        let mut counts = lock(counts);
        counts.in_flight -= 1;
        if counts.in_flight == 0 {
            counts.idle_since = Instant::now();
            lock(order).mark_idle(*id);
        }
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
