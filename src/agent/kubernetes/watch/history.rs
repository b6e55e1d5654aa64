//! The history that the watch follows, and whether the API server still has it.
//!
//! A position in a history that was replaced (etcd restored from a backup, or another API server at the same address)
//! must not be resumed: the server accepts it, is silent until its own revision has passed it, and then continues from
//! the wrong place. So the server's position is compared with the watch's, which a server of the same history has always
//! reached.

use std::sync::Mutex;
use std::time::Duration;

use kube::Client;
use kube::api::ListParams;
use kube::core::{ListMeta, Request};
use serde::Deserialize;
use tokio::time::Instant;

use super::PATH;
use crate::agent::kubernetes::client::within_deadline;
use crate::agent::kubernetes::resource_version;
use crate::process::lock::lock;
use crate::process::log_throttle::LogThrottle;

/// The longest time for which a server that is behind is given to catch up. A healthy one needs none: a consistent read
/// is never behind, and an API server waits at most 3 s for its cache. What remains is a proxy or a load balancer that
/// serves something older for a moment, such as during a failover, which takes seconds.
const MAX_CATCH_UP: Duration = Duration::from_secs(30);

/// The position of the watch, shared by all terms of the process: the first list of a term must not come from a server
/// that is behind what the term before has seen.
#[derive(Debug)]
pub(super) struct History {
    state: Mutex<HistoryState>,
    throttle: LogThrottle,
}

#[derive(Debug, Default)]
struct HistoryState {
    /// The resourceVersion up to which everything was received, if it is known and has an order.
    position: Option<u64>,
    /// The time at which the server was first seen behind the position, if it was at the last comparison.
    behind_since: Option<Instant>,
    /// True once the server was behind and has caught up, until the next list: it may have another history, which has passed
    /// the position.
    must_list: bool,
}

/// The result of comparing the server with the position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerPosition {
    /// The server has reached the position.
    Reached,
    /// The server has reached the position, but was behind it at a comparison since the last list.
    CaughtUp,
    /// The server is behind the position, and has time to catch up.
    Behind,
    /// The server has stayed behind. The position is dropped.
    Replaced,
}

impl History {
    pub(super) const fn new() -> Self {
        let state = HistoryState { position: None, behind_since: None, must_list: false };
        Self { state: Mutex::new(state), throttle: LogThrottle::hourly() }
    }

    /// Records the resourceVersion up to which everything was received.
    pub(super) fn advance(&self, version: &str) {
        lock(&self.state).position = resource_version::parse(version);
    }

    /// Reads the server's position, and compares it. A server that is behind twice, at least `interval` or 30 s apart
    /// and never ahead in between, has replaced its history.
    ///
    /// # Errors
    ///
    /// Fails if the position can't be read, which decides nothing.
    pub(super) async fn compare(&self, client: &Client, interval: Duration) -> Result<ServerPosition, kube::Error> {
        // Taken before the request, since the watch goes on meanwhile.
        let Some(position) = lock(&self.state).position else { return Ok(ServerPosition::Reached) };
        let server = read_position(client).await?;
        Ok(self.judge(position, server, interval.min(MAX_CATCH_UP)))
    }

    fn judge(&self, position: u64, server: Option<u64>, catch_up: Duration) -> ServerPosition {
        let mut state = lock(&self.state);
        let Some(server) = server.filter(|server| *server < position) else {
            state.must_list |= state.behind_since.take().is_some();
            return if state.must_list { ServerPosition::CaughtUp } else { ServerPosition::Reached };
        };
        if state.behind_since.get_or_insert_with(Instant::now).elapsed() < catch_up {
            return ServerPosition::Behind;
        }
        *state = HistoryState::default();
        self.throttle.failed(|times| {
            tracing::warn!(
                position,
                server,
                times,
                "the API server is behind what was watched, as after a restore of etcd; beginning with a new list"
            );
        });
        ServerPosition::Replaced
    }

    /// Records that a list has begun.
    pub(super) fn listed(&self) {
        lock(&self.state).must_list = false;
    }

    /// Compares at each `interval`, and returns once the history was replaced.
    pub(super) async fn wait_until_replaced(&self, client: &Client, interval: Duration) {
        let mut wait = interval;
        loop {
            tokio::time::sleep(wait).await;
            // A comparison that fails decides nothing. If the server can't be reached, the watch says so.
            wait = match self.compare(client, interval).await {
                Ok(ServerPosition::Replaced) => return,
                Ok(ServerPosition::Behind) => interval.min(MAX_CATCH_UP),
                Ok(ServerPosition::Reached | ServerPosition::CaughtUp) | Err(_) => interval,
            };
        }
    }
}

/// A list without its items.
#[derive(Deserialize)]
struct ListHead {
    metadata: ListMeta,
}

/// Reads the server's position: the resourceVersion of a consistent list. That of an object is of its last change, which
/// may be long ago.
async fn read_position(client: &Client) -> Result<Option<u64>, kube::Error> {
    let request =
        Request::new(PATH).list_metadata(&ListParams::default().limit(1)).map_err(kube::Error::BuildRequest)?;
    let ListHead { metadata } = within_deadline(client.request(request)).await?;
    Ok(metadata.resource_version.as_deref().and_then(resource_version::parse))
}
