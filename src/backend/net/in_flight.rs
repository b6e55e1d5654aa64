//! What is under way on a connection, from the head of a request until its answer is handed over to be sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::watch;

/// Requests of a connection.
#[derive(Debug, Clone, Copy)]
struct RequestCounts {
    begun: u64,
    under_way: usize,
    /// When the last was over, or the connection was opened.
    quiet: Instant,
}

/// RequestCounts them.
#[derive(Debug, Clone)]
pub(super) struct InFlight(Arc<watch::Sender<RequestCounts>>);

/// A request that is under way until this is dropped.
#[derive(Debug)]
pub(super) struct InFlightGuard(InFlight);

/// The body of an answer, which is under way until the last of it was handed over: what is buffered then may still have to
/// be sent.
#[derive(Debug)]
pub(super) struct ResponseBody {
    body: Body,
    _under_way: Option<InFlightGuard>,
}

impl Default for InFlight {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(RequestCounts { begun: 0, under_way: 0, quiet: Instant::now() })))
    }
}

impl InFlight {
    /// A request begins.
    pub(super) fn begin(&self) -> InFlightGuard {
        self.0.send_modify(|counts| {
            counts.begun += 1;
            counts.under_way += 1;
        });
        InFlightGuard(self.clone())
    }

    /// Since when nothing is under way; `None` while something is.
    pub(super) fn quiet(&self) -> Option<Instant> {
        let counts = *self.0.borrow();
        (counts.under_way == 0).then_some(counts.quiet)
    }

    /// Waits until nothing has been under way for so long: `first` until the first request, `later` after each.
    pub(super) async fn idle(&self, first: Duration, later: Duration) {
        let mut counts = self.0.subscribe();
        loop {
            // Of a channel whose sender is here, neither wait can fail.
            let Ok(begun) = counts.wait_for(|counts| counts.under_way == 0).await.map(|counts| counts.begun) else {
                return;
            };
            let wait = if begun == 0 { first } else { later };
            if tokio::time::timeout(wait, counts.wait_for(|counts| counts.begun > begun)).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.0.send_modify(|counts| {
            counts.under_way -= 1;
            counts.quiet = Instant::now();
        });
    }
}

impl ResponseBody {
    pub(super) fn new(body: Body, under_way: Option<InFlightGuard>) -> Self {
        Self { body, _under_way: under_way }
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

    const FIRST: Duration = Duration::from_secs(1);
    const LATER: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_when_nothing_was_under_way_for_long_enough() {
        let (activity, began) = (InFlight::default(), Instant::now());
        activity.idle(FIRST, LATER).await;
        assert_eq!(began.elapsed(), FIRST);

        let request = activity.begin();
        let idle = tokio::spawn({
            let activity = activity.clone();
            async move {
                activity.idle(FIRST, LATER).await;
                Instant::now()
            }
        });
        tokio::time::sleep(10 * LATER).await;
        drop(request);
        tokio::time::sleep(LATER / 2).await;
        // One that is over before anybody looks counts as well.
        drop(activity.begin());
        let last = Instant::now();
        assert_eq!(idle.await.unwrap() - last, LATER);
    }
}
