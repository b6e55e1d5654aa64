//! A watch as a stream of lines. It holds a version, not a queue: a slow client costs no memory, and one that falls
//! behind the history is told so, as a real API server does it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, Stream};
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

use super::Cluster;
use super::kind::Kind;
use super::object::{EventType, Filter, bookmark};
use super::status_error::StatusError;

/// Changes taken at once: what is on its way to one client stays below a megabyte with objects of 9 kB.
const BATCH: usize = 64;

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// With what is there, as added objects, closed by a bookmark if there is to be one.
    State {
        /// Says where the state ends.
        bookmarked: bool,
    },
    /// Behind this version.
    Version(u64),
}

/// A watch as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) kind: Kind,
    pub(super) filter: Filter,
    pub(super) start: Start,
    /// Tell from time to time how far the watch has come.
    pub(super) bookmarks: bool,
    /// When the server ends it.
    pub(super) timeout: Duration,
}

struct Watcher {
    cluster: Cluster,
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

/// What a watch waits for.
enum Woken {
    Changed,
    Tick,
    End,
}

/// Starts a watch. An expired or future version is refused by the first line, as the API server's watch cache does.
pub(super) fn stream(cluster: Cluster, request: Request) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(Watcher::new(cluster, request), |mut watcher| async move {
        // A body that has nothing for the moment is flushed: a real API server flushes each event.
        tokio::task::yield_now().await;
        let line = watcher.next().await?;
        Some((Ok(line), watcher))
    })
}

impl Watcher {
    fn new(cluster: Cluster, request: Request) -> Self {
        let Request { kind, filter, start, bookmarks, timeout } = request;
        let changed = cluster.changed();
        let (pending, reached) = match start {
            Start::Version(version) => (VecDeque::new(), version),
            Start::State { bookmarked } => {
                let (lines, version) = cluster.store().initial_lines(kind, &filter);
                let end = bookmarked.then(|| bookmark(kind, version, true));
                (lines.into_iter().chain(end).collect(), version)
            }
        };
        let every = cluster.bookmark_interval();
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let deadline = Instant::now() + timeout;
        Self { cluster, kind, filter, bookmarks, reached, pending, changed, ticks, deadline, ended: false }
    }

    /// The next line; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.pending.pop_front() {
                return Some(line);
            }
            if self.ended {
                return None;
            }
            self.changed.mark_unchanged();
            if let Err(refusal) = self.pull() {
                self.ended = true;
                return Some(EventType::Error.line(refusal.to_status().to_string().as_bytes()));
            }
            if self.pending.is_empty() {
                match self.wait().await {
                    Woken::Changed => {}
                    Woken::Tick => self.pending.extend(self.bookmark()),
                    Woken::End => {
                        self.pending.extend(self.bookmark());
                        self.ended = true;
                    }
                }
            }
        }
    }

    /// Takes the next changes that this watch sees, past those that it does not.
    fn pull(&mut self) -> Result<(), StatusError> {
        while self.pending.is_empty() {
            let (lines, reached) = self.cluster.store().lines_since(self.kind, &self.filter, self.reached, BATCH)?;
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

    async fn wait(&mut self) -> Woken {
        let Self { cluster, bookmarks, changed, ticks, deadline, .. } = self;
        tokio::select! {
            changed = changed.changed() => if changed.is_ok() { Woken::Changed } else { Woken::End },
            _ = ticks.tick(), if *bookmarks => Woken::Tick,
            () = sleep_until(*deadline) => Woken::End,
            () = cluster.stopped() => Woken::End,
        }
    }
}
