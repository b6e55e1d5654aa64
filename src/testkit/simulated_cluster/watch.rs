//! A watch, as a stream of lines. It holds a version instead of a queue, so that a slow client costs no memory. A
//! client that falls behind the history receives an error, as from a real API server.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, Stream};
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

use super::SimulatedCluster;
use super::kind::Kind;
use super::object::{EventType, Filter, bookmark};
use super::status_error::StatusError;

/// The number of changes that are read at once. With objects of 9 kB, less than a megabyte is in flight to a client.
const BATCH_SIZE: usize = 64;

/// The beginning of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// The current objects, as added ones.
    State {
        /// A bookmark follows the last of them.
        has_bookmark: bool,
    },
    /// The changes after this version.
    Version(u64),
}

/// A request for a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WatchRequest {
    pub(super) kind: Kind,
    pub(super) filter: Filter,
    pub(super) start: Start,
    /// The client requests bookmarks.
    pub(super) bookmarks: bool,
    /// The time after which the server ends the watch.
    pub(super) timeout: Duration,
}

struct Watcher {
    cluster: SimulatedCluster,
    kind: Kind,
    filter: Filter,
    bookmarks: bool,
    reached: u64,
    pending: VecDeque<Bytes>,
    changed: Receiver<u64>,
    ticks: Interval,
    deadline: Instant,
    ended: bool,
}

/// The reason for which a waiting watch continues.
enum WakeReason {
    Changed,
    Tick,
    End,
}

/// Starts a watch. The first line is an error if the version has expired or does not exist yet, as with the watch cache
/// of a real API server.
pub(super) fn stream(
    cluster: SimulatedCluster,
    request: WatchRequest,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(Watcher::new(cluster, request), |mut watcher| async move {
        // hyper flushes a body that is pending. A real API server flushes after each event.
        tokio::task::yield_now().await;
        let line = watcher.next().await?;
        Some((Ok(line), watcher))
    })
}

impl Watcher {
    fn new(cluster: SimulatedCluster, request: WatchRequest) -> Self {
        let WatchRequest { kind, filter, start, bookmarks, timeout } = request;
        let changed = cluster.changed();
        let (pending, reached) = match start {
            Start::Version(version) => (VecDeque::new(), version),
            Start::State { has_bookmark } => {
                let (lines, version) = cluster.store().initial_lines(kind, &filter);
                let end = has_bookmark.then(|| bookmark(kind, version, true));
                (lines.into_iter().chain(end).collect(), version)
            }
        };
        let period = cluster.bookmark_interval();
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let deadline = Instant::now() + timeout;
        Self { cluster, kind, filter, bookmarks, reached, pending, changed, ticks, deadline, ended: false }
    }

    /// Returns the next line, or `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.pending.pop_front() {
                return Some(line);
            }
            if self.ended {
                return None;
            }
            self.changed.mark_unchanged();
            if let Err(error) = self.pull() {
                self.ended = true;
                return Some(EventType::Error.line(error.to_status().to_string().as_bytes()));
            }
            if self.pending.is_empty() {
                match self.wait().await {
                    WakeReason::Changed => {}
                    WakeReason::Tick => self.pending.extend(self.bookmark()),
                    WakeReason::End => {
                        self.pending.extend(self.bookmark());
                        self.ended = true;
                    }
                }
            }
        }
    }

    /// Reads the next changes, past those that the filter excludes.
    fn pull(&mut self) -> Result<(), StatusError> {
        while self.pending.is_empty() {
            let (lines, reached) =
                self.cluster.store().lines_since(self.kind, &self.filter, self.reached, BATCH_SIZE)?;
            if reached == self.reached {
                break;
            }
            self.pending.extend(lines);
            self.reached = reached;
        }
        Ok(())
    }

    fn bookmark(&self) -> Option<Bytes> {
        self.bookmarks.then(|| bookmark(self.kind, self.reached, false))
    }

    async fn wait(&mut self) -> WakeReason {
        let Self { cluster, bookmarks, changed, ticks, deadline, .. } = self;
        tokio::select! {
            changed = changed.changed() => if changed.is_ok() { WakeReason::Changed } else { WakeReason::End },
            _ = ticks.tick(), if *bookmarks => WakeReason::Tick,
            () = sleep_until(*deadline) => WakeReason::End,
            () = cluster.stopped() => WakeReason::End,
        }
    }
}
