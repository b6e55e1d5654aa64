//! The control planes of the whole cluster, as a stream of what is seen.
//!
//! The first state is always as recent as the request: streamed (`sendInitialEvents` with an *empty*
//! resourceVersion), or in pages without a resourceVersion where the server can't stream. `resourceVersion=0` is never
//! asked for: an API server of an HA control plane may answer that from the past.
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

/// The resource that is watched.
const RESOURCE: Resource =
    Resource { plural: "tenantcontrolplanes", group: "kamaji.clastix.io", verbs: "list, watch", is_custom: true };
const PATH: &str = "/apis/kamaji.clastix.io/v1alpha1/tenantcontrolplanes";
/// The annotation that ends the initial events of a streamed list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// How long a watch lasts before the server ends it.
const WATCH_SECONDS: u32 = 290;
/// A watch that has said nothing for longer than it may last is dead, however its connection cluster_info.
const WATCH_SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);
/// A page of real objects is about 1 MB, of which one is in memory at a time.
const PAGE_SIZE: u32 = 100;

/// The wait before the first retry: long enough for a connection that was reset to be accepted again.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
/// The longest wait: an API server that is back is noticed within a minute with the jitter.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Where the watch is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Position {
    /// A list from the start is due.
    Start,
    /// The list is complete up to this resourceVersion.
    At(String),
}

/// How one request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WatchEnd {
    /// By the server, in order: the next request resumes.
    InOrder,
    /// The position is too old: a new list is due.
    Expired,
    /// The server can't stream a list.
    CannotStream,
    /// Nobody listens any more.
    Unheard,
}

/// Watches until nobody listens to `seen` any more. It retries for ever, waiting no longer than `retry_max_interval` or
/// half a minute, and says through `quiet` what is wrong.
pub async fn run(client: &Client, retry_max_interval: Duration, quiet: &LogThrottle, seen: mpsc::Sender<WatcherEvent>) {
    Watch::new(client, retry_max_interval.min(BACKOFF_MAX), quiet, seen).run().await;
}

/// Folds one complete list into `view`, or says why there is none.
pub async fn list(client: &Client, index: &mut Index) -> Result<(), ApiError> {
    let (sender, mut receiver) = mpsc::channel(PAGE_SIZE as usize);
    let quiet = LogThrottle::hourly();
    let mut watch = Watch::new(client, BACKOFF_MAX, &quiet, sender);
    let take_in = async {
        while let Some(seen) = receiver.recv().await {
            index.fold(seen, Timestamp::now(), 0);
            if seen == WatcherEvent::InitDone {
                return;
            }
        }
    };
    tokio::select! {
        () = take_in => Ok(()),
        error = watch.fail() => Err(ApiError::from_kube(RESOURCE, &error)),
    }
}

struct Watch<'a> {
    client: &'a Client,
    seen: mpsc::Sender<WatcherEvent>,
    position: Position,
    streaming: bool,
    backoff: Backoff,
    backoff_max: Duration,
    quiet: &'a LogThrottle,
}

fn watch_params(initial_events: bool) -> WatchParams {
    let params = if initial_events { WatchParams::streaming_lists() } else { WatchParams::default() };
    params.timeout(WATCH_SECONDS)
}

impl<'a> Watch<'a> {
    fn new(
        client: &'a Client,
        backoff_max: Duration,
        quiet: &'a LogThrottle,
        seen: mpsc::Sender<WatcherEvent>,
    ) -> Self {
        let backoff = Backoff::new(BACKOFF_MIN, backoff_max);
        let position = Position::Start;
        Self { client, seen, position, streaming: true, backoff, backoff_max, quiet }
    }

    /// Watches until something fails.
    async fn fail(&mut self) -> kube::Error {
        loop {
            match self.once(&mut false).await {
                Ok(WatchEnd::CannotStream) => self.streaming = false,
                Ok(WatchEnd::Expired) => self.position = Position::Start,
                Ok(WatchEnd::InOrder | WatchEnd::Unheard) => self.wait().await,
                Err(error) => return error,
            }
        }
    }

    async fn run(mut self) {
        loop {
            let mut heard = false;
            match self.once(&mut heard).await {
                Ok(WatchEnd::Unheard) => return,
                Ok(WatchEnd::InOrder) if heard => {}
                Ok(WatchEnd::InOrder) => self.wait().await,
                Ok(WatchEnd::Expired) => {
                    self.position = Position::Start;
                    if !heard {
                        self.wait().await;
                    }
                }
                Ok(WatchEnd::CannotStream) => self.streaming = false,
                Err(error) => {
                    let failure = ApiError::from_kube(RESOURCE, &error);
                    self.quiet.failed(|_| tracing::warn!("can't watch control planes: {failure}; trying again"));
                    self.wait().await;
                }
            }
        }
    }

    /// A request that ends before anything was heard is followed by a wait, whatever it ended with: a proxy that cuts
    /// every watch at once must not be asked without end.
    async fn wait(&mut self) {
        tokio::time::sleep(self.backoff.wait()).await;
    }

    /// The server speaks to us.
    fn is_heard(&mut self, heard: &mut bool) {
        *heard = true;
        self.backoff = Backoff::new(BACKOFF_MIN, self.backoff_max);
        self.quiet.recovered(|| tracing::info!("control planes are watched again"));
    }

    /// One request, from the position on, until it ends.
    async fn once(&mut self, heard: &mut bool) -> Result<WatchEnd, kube::Error> {
        if let Position::At(version) = &self.position {
            let version = version.clone();
            return self.follow(&watch_params(false), &version, heard).await;
        }
        if self.seen.send(WatcherEvent::Init).await.is_err() {
            return Ok(WatchEnd::Unheard);
        }
        if self.streaming { self.follow(&watch_params(true), "", heard).await } else { self.list(heard).await }
    }

    /// A watch, with the initial events first where `params` asks for them.
    async fn follow(&mut self, params: &WatchParams, version: &str, heard: &mut bool) -> Result<WatchEnd, kube::Error> {
        let request = Request::new(PATH).watch(params, version).map_err(kube::Error::BuildRequest)?;
        let events = match within_deadline(self.client.request_events::<TenantControlPlane>(request)).await {
            Ok(events) => events,
            Err(kube::Error::Api(status)) if status.code == 410 => return Ok(WatchEnd::Expired),
            Err(kube::Error::Api(status)) if params.send_initial_events && matches!(status.code, 400 | 422) => {
                return Ok(WatchEnd::CannotStream);
            }
            Err(error) => return Err(error),
        };
        pin_mut!(events);
        while let Some(event) = next_event(&mut events).await? {
            if let Some(ended) = self.take_in(event, heard).await? {
                return Ok(ended);
            }
        }
        Ok(WatchEnd::InOrder)
    }

    /// Passes an event on. `Some` where it ends the watch.
    async fn take_in(
        &mut self,
        event: WatchEvent<TenantControlPlane>,
        heard: &mut bool,
    ) -> Result<Option<WatchEnd>, kube::Error> {
        let (next, version) = match event {
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
        // The initial events come in no order: there is no position to resume from before they have ended. Nor is
        // anything heard before: a list that is cut each time must not be asked for without end.
        if self.position != Position::Start || next == Some(WatcherEvent::InitDone) {
            self.position = Position::At(version);
            if !*heard {
                self.is_heard(heard);
            }
        }
        match next {
            Some(next) if self.seen.send(next).await.is_err() => Ok(Some(WatchEnd::Unheard)),
            _ => Ok(None),
        }
    }

    /// A list in pages, each passed on as it comes.
    async fn list(&mut self, heard: &mut bool) -> Result<WatchEnd, kube::Error> {
        let mut params = ListParams::default().limit(PAGE_SIZE);
        loop {
            let request = Request::new(PATH).list(&params).map_err(kube::Error::BuildRequest)?;
            let page = match within_deadline(self.client.request::<ObjectList<TenantControlPlane>>(request)).await {
                Err(kube::Error::Api(status)) if status.code == 410 => return Ok(WatchEnd::Expired),
                page => page?,
            };
            for object in page.items {
                let (_, object) = object.into_parts();
                if self.seen.send(WatcherEvent::Apply(object)).await.is_err() {
                    return Ok(WatchEnd::Unheard);
                }
            }
            let Some(token) = page.metadata.continue_.filter(|token| !token.is_empty()) else {
                self.is_heard(heard);
                self.position = Position::At(page.metadata.resource_version.unwrap_or_default());
                let listening = self.seen.send(WatcherEvent::InitDone).await.is_ok();
                return Ok(if listening { WatchEnd::InOrder } else { WatchEnd::Unheard });
            };
            params = params.continue_token(&token);
        }
    }
}

/// The next event, or an error where the connection has been silent for too long.
async fn next_event(
    events: &mut (impl Stream<Item = Result<WatchEvent<TenantControlPlane>, kube::Error>> + Unpin),
) -> Result<Option<WatchEvent<TenantControlPlane>>, kube::Error> {
    tokio::time::timeout(WATCH_SILENCE, events.next()).await.map_or_else(
        |_| {
            Err(kube::Error::ReadEvents(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                format!("the watch has been silent for {} s", WATCH_SILENCE.as_secs()),
            )))
        },
        Option::transpose,
    )
}

#[cfg(test)]
mod tests;
