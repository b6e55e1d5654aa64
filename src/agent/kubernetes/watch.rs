//! The TenantControlPlanes of the whole cluster, as a stream of watch events.
//!
//! The initial state is always as recent as the request: it is streamed (`sendInitialEvents` with an *empty*
//! resourceVersion), or listed in pages without a resourceVersion if the server cannot stream. `resourceVersion=0` is
//! never requested, because an API server of an HA control plane may answer it with a state from the past.
//! Source: "Resource versions" and "Streaming lists" of the Kubernetes API concepts.

use std::time::Duration;

use futures::{Stream, StreamExt, pin_mut};
use jiff::Timestamp;
use kube::Client;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::watch::Bookmark;
use kube::core::{ObjectList, Request};
use tokio::sync::mpsc;

use super::api_error::{ApiError, Resource};
use super::client::within_deadline;
use super::tenant_control_plane::TenantControlPlane;
use crate::agent::backoff::Backoff;
use crate::agent::observe::{Index, WatcherEvent};
use crate::process::log_throttle::LogThrottle;

const RESOURCE: Resource =
    Resource { plural: "tenantcontrolplanes", group: "kamaji.clastix.io", verbs: "list, watch", is_custom: true };
const PATH: &str = "/apis/kamaji.clastix.io/v1alpha1/tenantcontrolplanes";
/// The annotation on the bookmark that ends the initial events of a streamed list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// The time after which the server ends a watch.
const WATCH_SECONDS: u32 = 290;
/// The silence after which a watch is considered dead, however healthy its connection looks: the server should have
/// ended it 10 s before.
const MAX_WATCH_SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);
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
    /// The receiver of the events was dropped.
    ReceiverDropped,
}

/// Watches until the receiver of `events` is dropped.
///
/// A failed request is retried for ever, after a wait of at most `retry_max_interval` or 30 s. Failures and the recovery
/// are logged through `throttle`.
pub async fn run(
    client: &Client,
    retry_max_interval: Duration,
    throttle: &LogThrottle,
    events: mpsc::Sender<WatcherEvent>,
) {
    Watch::new(client, retry_max_interval.min(MAX_BACKOFF), throttle, events).run().await;
}

/// Folds one complete list into `index`, or returns the first error.
pub async fn list(client: &Client, index: &mut Index) -> Result<(), ApiError> {
    let (sender, mut receiver) = mpsc::channel(PAGE_SIZE as usize);
    let throttle = LogThrottle::hourly();
    let mut watch = Watch::new(client, MAX_BACKOFF, &throttle, sender);
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
    backoff: Backoff,
    max_backoff: Duration,
    throttle: &'a LogThrottle,
}

fn watch_params(initial_events: bool) -> WatchParams {
    let params = if initial_events { WatchParams::streaming_lists() } else { WatchParams::default() };
    params.timeout(WATCH_SECONDS)
}

impl<'a> Watch<'a> {
    fn new(
        client: &'a Client,
        max_backoff: Duration,
        throttle: &'a LogThrottle,
        events: mpsc::Sender<WatcherEvent>,
    ) -> Self {
        let backoff = Backoff::new(MIN_BACKOFF, max_backoff);
        let position = Position::Start;
        Self { client, events, position, streaming: true, backoff, max_backoff, throttle }
    }

    async fn run_until_error(&mut self) -> kube::Error {
        loop {
            match self.request(&mut false).await {
                Ok(WatchEnd::StreamingUnsupported) => self.streaming = false,
                Ok(WatchEnd::Expired) => self.position = Position::Start,
                Ok(WatchEnd::Closed | WatchEnd::ReceiverDropped) => self.back_off().await,
                Err(error) => return error,
            }
        }
    }

    /// Makes one request after the other. A request that ended without progress is followed by a wait, whatever its end:
    /// a proxy that cuts each watch at once must not cause a busy loop. The one exception is the first paged list, which
    /// follows the rejected streamed list at once.
    async fn run(mut self) {
        loop {
            let mut progress = false;
            match self.request(&mut progress).await {
                Ok(WatchEnd::ReceiverDropped) => return,
                Ok(WatchEnd::Closed) if progress => {}
                Ok(WatchEnd::Closed) => self.back_off().await,
                Ok(WatchEnd::Expired) => {
                    self.position = Position::Start;
                    if !progress {
                        self.back_off().await;
                    }
                }
                Ok(WatchEnd::StreamingUnsupported) => self.streaming = false,
                Err(error) => {
                    let error = ApiError::from_kube(RESOURCE, &error);
                    self.throttle.failed(|failures| {
                        tracing::warn!(%error, failures, "failed to watch TenantControlPlanes; retrying");
                    });
                    self.back_off().await;
                }
            }
        }
    }

    async fn back_off(&mut self) {
        tokio::time::sleep(self.backoff.wait()).await;
    }

    /// Records that the request has moved the position on, which ends an outage.
    fn record_progress(&mut self, progress: &mut bool) {
        *progress = true;
        self.backoff = Backoff::new(MIN_BACKOFF, self.max_backoff);
        self.throttle.recovered(|| tracing::info!(resource = %RESOURCE, "watching TenantControlPlanes again"));
    }

    /// Makes one request that continues from the position, and forwards its events until it ends. `progress` is set
    /// once the position has moved on, also if the request fails after that.
    async fn request(&mut self, progress: &mut bool) -> Result<WatchEnd, kube::Error> {
        if let Position::At(version) = &self.position {
            let version = version.clone();
            return self.watch(&watch_params(false), &version, progress).await;
        }
        if self.events.send(WatcherEvent::Init).await.is_err() {
            return Ok(WatchEnd::ReceiverDropped);
        }
        if self.streaming { self.watch(&watch_params(true), "", progress).await } else { self.list(progress).await }
    }

    /// Watches from the resourceVersion `version`, with the initial events first if `params` requests them.
    async fn watch(
        &mut self,
        params: &WatchParams,
        version: &str,
        progress: &mut bool,
    ) -> Result<WatchEnd, kube::Error> {
        let request = Request::new(PATH).watch(params, version).map_err(kube::Error::BuildRequest)?;
        let events = match within_deadline(self.client.request_events::<TenantControlPlane>(request)).await {
            Ok(events) => events,
            Err(kube::Error::Api(status)) if status.code == 410 => return Ok(WatchEnd::Expired),
            Err(kube::Error::Api(status)) if params.send_initial_events && matches!(status.code, 400 | 422) => {
                return Ok(WatchEnd::StreamingUnsupported);
            }
            Err(error) => return Err(error),
        };
        pin_mut!(events);
        while let Some(event) = next_event(&mut events).await? {
            if let Some(end) = self.forward(event, progress).await? {
                return Ok(end);
            }
        }
        Ok(WatchEnd::Closed)
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
            self.position = Position::At(version);
            if !*progress {
                self.record_progress(progress);
            }
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
                self.record_progress(progress);
                self.position = Position::At(page.metadata.resource_version.unwrap_or_default());
                let is_sent = self.events.send(WatcherEvent::InitDone).await.is_ok();
                return Ok(if is_sent { WatchEnd::Closed } else { WatchEnd::ReceiverDropped });
            };
            params = params.continue_token(&token);
        }
    }
}

/// Returns the next event, `None` at the end of the watch, or an error after [`MAX_WATCH_SILENCE`].
async fn next_event(
    events: &mut (impl Stream<Item = Result<WatchEvent<TenantControlPlane>, kube::Error>> + Unpin),
) -> Result<Option<WatchEvent<TenantControlPlane>>, kube::Error> {
    tokio::time::timeout(MAX_WATCH_SILENCE, events.next()).await.map_or_else(
        |_| {
            Err(kube::Error::ReadEvents(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                format!("the watch has been silent for {} s", MAX_WATCH_SILENCE.as_secs()),
            )))
        },
        Option::transpose,
    )
}

#[cfg(test)]
mod tests;
