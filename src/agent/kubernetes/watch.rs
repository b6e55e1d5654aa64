//! The TenantControlPlanes of the whole cluster, as a stream of watch events.
//!
//! The initial state is always as recent as the request: it is streamed (`sendInitialEvents` with an *empty*
//! resourceVersion), or listed in pages without a resourceVersion if the server cannot stream. `resourceVersion=0` is
//! never requested, because an API server of an HA control plane may answer it with a state from the past.
//! Source: "Resource versions" and "Streaming lists" of the Kubernetes API concepts.
//!
//! Before each request that continues from a position, and at each poll while one is running, `history` checks that the
//! server still has that position.

mod history;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use jiff::Timestamp;
use kube::Client;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::watch::Bookmark;
use kube::core::{ObjectList, Request};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::api_error::{ApiError, Resource};
use super::client::{REQUEST_TIMEOUT, no_answer, within_deadline};
use super::tenant_control_plane::TenantControlPlane;
use crate::agent::backoff::Backoff;
use crate::agent::observe::{Index, WatcherEvent};
use crate::process::log_throttle::LogThrottle;
use history::{History, ServerPosition};

const RESOURCE: Resource =
    Resource { plural: "tenantcontrolplanes", group: "kamaji.clastix.io", verbs: "list, watch", is_custom: true };
const PATH: &str = "/apis/kamaji.clastix.io/v1alpha1/tenantcontrolplanes";
/// The annotation on the bookmark that ends the initial events of a streamed list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// The time after which the server ends a watch.
const WATCH_SECONDS: u32 = 290;
/// The silence, beyond the time after which the server ends a watch, after which the watch is considered dead, however
/// healthy its connection looks.
const SILENCE_MARGIN: Duration = Duration::from_secs(10);
/// The time after which the server ends a watch whose response something holds back until its end: less than the limit
/// on the wait for a response, and long enough for 6 requests a minute.
const SHORT_WATCH_SECONDS: u32 = 10;
/// The time after which a watch that ends without an event has not been cut, but nothing has changed, and something on the
/// way drops bookmarks.
const MIN_WATCH_TIME: Duration = Duration::from_secs(SHORT_WATCH_SECONDS as u64 / 2);
/// The longest gap between two events that were missed: the server has all of them, and sends without a pause.
const MAX_CATCH_UP_GAP: Duration = Duration::from_secs(1);
/// The number of objects in a page of a list. A page of real objects is about 1 MB, and one page at a time is in memory.
const PAGE_SIZE: u32 = 100;

/// The wait before the first retry. It is long enough for a server that reset its connections to accept new ones.
const MIN_BACKOFF: Duration = Duration::from_millis(500);
/// The longest wait between retries. A server that is back is noticed within it, since the jitter only shortens waits.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// The position from which the next request continues.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Position {
    /// No complete list: the next request is a list.
    Start,
    /// The resourceVersion up to which everything was received.
    At(String),
}

/// The end of one request that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WatchEnd {
    /// The server closed the watch. The next request resumes it.
    Closed,
    /// The position is too old. The next request is a list.
    Expired,
    /// The server cannot stream a list.
    StreamingUnsupported,
    /// The server, which answers other requests, has sent nothing within the limit on a request.
    HeldBack,
    /// The server is behind the position, and may catch up.
    Behind,
    /// The server has another history than the one that was watched.
    HistoryReplaced,
    /// The receiver of the events was dropped.
    ReceiverDropped,
}

/// The way in which responses arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    /// As they are sent.
    Immediate,
    /// Perhaps only at their end: one was held back. The next request shows whether the server can be reached at all.
    Suspected,
    /// Only at their end, because of a proxy that buffers them. Lists are in pages, and watches are short.
    Buffered,
}

/// The knowledge of a process about the API server, beyond one term.
#[derive(Debug)]
pub struct WatchMemory {
    history: History,
    /// True once a response was held back and the same was received by short requests.
    is_buffered: AtomicBool,
    throttle: LogThrottle,
}

impl Default for WatchMemory {
    fn default() -> Self {
        Self { history: History::new(), is_buffered: AtomicBool::new(false), throttle: LogThrottle::hourly() }
    }
}

/// The intervals of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchIntervals {
    /// The maximum wait before a retry, which is 30 s at most.
    pub retry_max: Duration,
    /// The interval between two comparisons of the watch's position with the server's.
    pub compare: Duration,
}

/// Watches until the history of the API server was replaced, or the receiver of `events` is dropped.
///
/// A failed request is retried for ever. Failures and the recovery are logged, at most once an hour.
pub async fn run(client: &Client, intervals: WatchIntervals, memory: &WatchMemory, events: mpsc::Sender<WatcherEvent>) {
    Watch::new(client, intervals, memory, events).run().await;
}

/// Folds one complete list into `index`, or returns the first error.
pub async fn list(client: &Client, index: &mut Index) -> Result<(), ApiError> {
    let (sender, mut receiver) = mpsc::channel(PAGE_SIZE as usize);
    let memory = WatchMemory::default();
    let intervals = WatchIntervals { retry_max: MAX_BACKOFF, compare: Duration::MAX };
    let mut watch = Watch::new(client, intervals, &memory, sender);
    let fold = async {
        while let Some(event) = receiver.recv().await {
            index.fold(event, Timestamp::now(), 0);
            if event == WatcherEvent::InitDone {
                return;
            }
        }
    };
    tokio::select! {
        () = fold => Ok(()),
        error = watch.run_until_error() => Err(ApiError::from_kube(RESOURCE, &error)),
    }
}

struct Watch<'a> {
    client: &'a Client,
    events: mpsc::Sender<WatcherEvent>,
    position: Position,
    /// False once the server has rejected a streamed list.
    streaming: bool,
    delivery: Delivery,
    /// True between [`WatcherEvent::Interrupted`] and [`WatcherEvent::Resumed`].
    is_interrupted: bool,
    /// The time of the last request.
    requested: Instant,
    backoff: Backoff,
    intervals: WatchIntervals,
    memory: &'a WatchMemory,
}

impl<'a> Watch<'a> {
    fn new(
        client: &'a Client,
        intervals: WatchIntervals,
        memory: &'a WatchMemory,
        events: mpsc::Sender<WatcherEvent>,
    ) -> Self {
        let intervals = WatchIntervals { retry_max: intervals.retry_max.min(MAX_BACKOFF), ..intervals };
        let backoff = Backoff::new(MIN_BACKOFF, intervals.retry_max);
        let is_buffered = memory.is_buffered.load(Ordering::Relaxed);
        let delivery = if is_buffered { Delivery::Buffered } else { Delivery::Immediate };
        Self {
            client,
            events,
            position: Position::Start,
            streaming: true,
            delivery,
            is_interrupted: false,
            requested: Instant::now(),
            backoff,
            intervals,
            memory,
        }
    }

    async fn run_until_error(&mut self) -> kube::Error {
        loop {
            match self.request(&mut false).await {
                Ok(WatchEnd::StreamingUnsupported) => self.streaming = false,
                Ok(WatchEnd::HeldBack) => self.delivery = Delivery::Suspected,
                Ok(WatchEnd::Expired) => self.position = Position::Start,
                Ok(_) => {
                    self.streaming = false;
                    self.back_off().await;
                }
                Err(error) => return error,
            }
        }
    }

    /// Makes one request after the other. A request that ended at once and without progress is followed by a wait, whatever
    /// its end: a proxy that cuts each watch must not cause a busy loop. The one exception is the first paged list, which
    /// follows the rejected streamed list at once.
    async fn run(mut self) {
        loop {
            let (has_position, mut progress) = (self.position != Position::Start, false);
            match self.checked_request(&mut progress).await {
                Ok(WatchEnd::ReceiverDropped | WatchEnd::HistoryReplaced) => return,
                Ok(WatchEnd::Closed) if progress || (has_position && self.requested.elapsed() >= MIN_WATCH_TIME) => {
                    self.resume().await;
                }
                Ok(WatchEnd::Closed) => self.on_early_close().await,
                Ok(WatchEnd::Behind) => self.interrupt().await,
                Ok(WatchEnd::Expired) => {
                    self.position = Position::Start;
                    if !progress {
                        self.back_off().await;
                    }
                }
                Ok(WatchEnd::StreamingUnsupported) => self.streaming = false,
                Ok(WatchEnd::HeldBack) => self.delivery = Delivery::Suspected,
                Err(error) => self.on_error(&error).await,
            }
        }
    }

    async fn on_error(&mut self, error: &kube::Error) {
        // The server could not be reached at all.
        if self.delivery == Delivery::Suspected {
            self.delivery = Delivery::Immediate;
        }
        let error = ApiError::from_kube(RESOURCE, error);
        self.memory.throttle.failed(|failures| {
            tracing::warn!(%error, failures, "failed to watch TenantControlPlanes; retrying, and sending no gauges meanwhile");
        });
        self.interrupt().await;
    }

    /// Tells the receiver that what it has may be old, and waits before the next request. A receiver that was dropped is
    /// noticed by that.
    async fn interrupt(&mut self) {
        if !std::mem::replace(&mut self.is_interrupted, true) {
            let _ = self.events.send(WatcherEvent::Interrupted).await;
        }
        self.back_off().await;
    }

    /// Tells the receiver that the watch continues: it has brought what was missed, or has been open for
    /// [`MIN_WATCH_TIME`]. A server that can't read the objects accepts a watch and closes it at once.
    async fn resume(&mut self) {
        if std::mem::take(&mut self.is_interrupted) {
            let _ = self.events.send(WatcherEvent::Resumed).await;
        }
    }

    /// Logs that a response ended before it brought anything. A streamed list that is cut is tried in pages, which are
    /// complete or fail.
    async fn on_early_close(&mut self) {
        if self.position == Position::Start {
            self.streaming = false;
        }
        self.memory.throttle.failed(|failures| {
            tracing::warn!(failures, "a watch of TenantControlPlanes ended before it brought anything; retrying");
        });
        self.interrupt().await;
    }

    async fn back_off(&mut self) {
        tokio::time::sleep(self.backoff.wait()).await;
    }

    /// Moves the position on, which ends an outage.
    fn advance(&mut self, version: String, progress: &mut bool) {
        self.memory.history.advance(&version);
        self.position = Position::At(version);
        if std::mem::replace(progress, true) {
            return;
        }
        self.backoff = Backoff::new(MIN_BACKOFF, self.intervals.retry_max);
        self.memory.throttle.recovered(|| tracing::info!(resource = %RESOURCE, "watching TenantControlPlanes again"));
        if self.delivery == Delivery::Suspected {
            self.delivery = Delivery::Buffered;
            self.memory.is_buffered.store(true, Ordering::Relaxed);
            tracing::warn!(
                timeout = ?REQUEST_TIMEOUT,
                watch_seconds = SHORT_WATCH_SECONDS,
                "a watch brought nothing in time, as behind a proxy that buffers; listing in pages and watching in short requests"
            );
        }
    }

    /// Makes one request, unless the server is behind the position, and ends it if the server turns out to be.
    async fn checked_request(&mut self, progress: &mut bool) -> Result<WatchEnd, kube::Error> {
        let (client, compare, history) = (self.client, self.intervals.compare, &self.memory.history);
        match history.compare(client, compare).await? {
            ServerPosition::Reached => {}
            // A restored server may have passed the position meanwhile. A list is right in either case.
            ServerPosition::CaughtUp => {
                history.listed();
                self.position = Position::Start;
            }
            ServerPosition::Behind => return Ok(WatchEnd::Behind),
            ServerPosition::Replaced => return Ok(WatchEnd::HistoryReplaced),
        }
        tokio::select! {
            biased;
            end = self.request(progress) => end,
            () = history.wait_until_replaced(client, compare) => Ok(WatchEnd::HistoryReplaced),
        }
    }

    /// Makes one request that continues from the position, and forwards its events until it ends. `progress` is set
    /// once the position has moved on, also if the request fails after that.
    async fn request(&mut self, progress: &mut bool) -> Result<WatchEnd, kube::Error> {
        self.requested = Instant::now();
        if let Position::At(version) = &self.position {
            let version = version.clone();
            return self.watch(&WatchParams::default(), &version, progress).await;
        }
        // A list says by itself when it is complete.
        self.is_interrupted = false;
        if self.events.send(WatcherEvent::Init).await.is_err() {
            return Ok(WatchEnd::ReceiverDropped);
        }
        if self.streaming && self.delivery == Delivery::Immediate {
            self.watch(&WatchParams::streaming_lists(), "", progress).await
        } else {
            self.list(progress).await
        }
    }

    /// Watches from the resourceVersion `version`, with the initial events first if `params` requests them.
    async fn watch(
        &mut self,
        params: &WatchParams,
        version: &str,
        progress: &mut bool,
    ) -> Result<WatchEnd, kube::Error> {
        let seconds = if self.delivery == Delivery::Immediate { WATCH_SECONDS } else { SHORT_WATCH_SECONDS };
        let params = params.clone().timeout(seconds);
        let request = Request::new(PATH).watch(&params, version).map_err(kube::Error::BuildRequest)?;
        let response = self.client.request_events::<TenantControlPlane>(request);
        let events = match timeout(REQUEST_TIMEOUT, response).await {
            Err(_) if self.delivery == Delivery::Immediate => return Ok(WatchEnd::HeldBack),
            Err(_) => return Err(no_answer()),
            Ok(Ok(events)) => events,
            Ok(Err(kube::Error::Api(status))) if status.code == 410 => return Ok(WatchEnd::Expired),
            Ok(Err(kube::Error::Api(status))) if params.send_initial_events && matches!(status.code, 400 | 422) => {
                return Ok(WatchEnd::StreamingUnsupported);
            }
            Ok(Err(error)) => return Err(error),
        };
        pin_mut!(events);
        let mut max_quiet = MIN_WATCH_TIME;
        loop {
            // Until the initial events end, there is always another one to send.
            let is_listing = self.position == Position::Start;
            let is_resuming = self.is_interrupted && !is_listing;
            let max_silence = match (is_listing, is_resuming) {
                (true, _) => REQUEST_TIMEOUT,
                (_, true) => max_quiet,
                _ => Duration::from_secs(seconds.into()) + SILENCE_MARGIN,
            };
            let end = match timeout(max_silence, events.next()).await {
                Err(_) if is_resuming => {
                    self.resume().await;
                    continue;
                }
                Err(_) if is_listing => Some(WatchEnd::HeldBack),
                Err(_) => return Err(silence(max_silence)),
                Ok(None) => Some(WatchEnd::Closed),
                Ok(Some(event)) => {
                    // What was missed comes at once, one after the other.
                    max_quiet = MAX_CATCH_UP_GAP;
                    self.forward(event?, progress).await?
                }
            };
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }

    /// Forwards an event, and returns the end of the watch if the event ends it.
    async fn forward(
        &mut self,
        event: WatchEvent<TenantControlPlane>,
        progress: &mut bool,
    ) -> Result<Option<WatchEnd>, kube::Error> {
        let (forwarded, version) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let (version, object) = object.into_parts();
                (Some(WatcherEvent::Apply(object)), version)
            }
            WatchEvent::Deleted(object) => {
                let (version, object) = object.into_parts();
                (Some(WatcherEvent::Delete(object.uid)), version)
            }
            WatchEvent::Bookmark(Bookmark { metadata, .. }) => {
                let complete = metadata.annotations.get(INITIAL_EVENTS_END).is_some_and(|end| end == "true");
                (complete.then_some(WatcherEvent::InitDone), metadata.resource_version)
            }
            WatchEvent::Error(status) if status.code == 410 => return Ok(Some(WatchEnd::Expired)),
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
        };
        // The initial events come in no order, so there is no position to resume from before they end. They are no
        // progress either: a list that is cut each time must be followed by a wait.
        if self.position != Position::Start || forwarded == Some(WatcherEvent::InitDone) {
            self.advance(version, progress);
        }
        match forwarded {
            Some(event) if self.events.send(event).await.is_err() => Ok(Some(WatchEnd::ReceiverDropped)),
            _ => Ok(None),
        }
    }

    /// Lists in pages, and forwards each page before the next is requested.
    async fn list(&mut self, progress: &mut bool) -> Result<WatchEnd, kube::Error> {
        let mut params = ListParams::default().limit(PAGE_SIZE);
        loop {
            let request = Request::new(PATH).list(&params).map_err(kube::Error::BuildRequest)?;
            let page = match within_deadline(self.client.request::<ObjectList<TenantControlPlane>>(request)).await {
                Err(kube::Error::Api(status)) if status.code == 410 => return Ok(WatchEnd::Expired),
                page => page?,
            };
            for object in page.items {
                let (_, object) = object.into_parts();
                if self.events.send(WatcherEvent::Apply(object)).await.is_err() {
                    return Ok(WatchEnd::ReceiverDropped);
                }
            }
            let Some(token) = page.metadata.continue_.filter(|token| !token.is_empty()) else {
                self.advance(page.metadata.resource_version.unwrap_or_default(), progress);
                let is_sent = self.events.send(WatcherEvent::InitDone).await.is_ok();
                return Ok(if is_sent { WatchEnd::Closed } else { WatchEnd::ReceiverDropped });
            };
            params = params.continue_token(&token);
        }
    }
}

/// Returns the error of a watch that is silent although the server should have ended it.
fn silence(max_silence: Duration) -> kube::Error {
    kube::Error::ReadEvents(std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        format!("the watch has been silent for {} s", max_silence.as_secs()),
    ))
}

#[cfg(test)]
mod tests;
