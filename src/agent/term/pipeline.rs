//! The pipeline of a term: watch events in, changes to report out.

use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::agent::journal::{Flush, ROW_LIMIT};
use crate::agent::metrics;
use crate::agent::observe::{Change, PersistedRow, SharedIndex, WatcherEvent};
use crate::process::lock::lock;
use crate::process::log_throttle::LogThrottle;
use crate::process::probes::Readiness;

/// The number of unreadable control planes that are logged one by one. If there are more, something else is wrong, and
/// the first lines say where to look.
const MAX_UNREADABLE_LOGGED: usize = 10;

/// Folds watch events into the index. It holds no journal: the term appends the changes that it returns.
pub(super) struct Pipeline<'a> {
    pub(super) index: SharedIndex,
    pub(super) readiness: &'a Readiness,
    /// Tells the gauge exporter that the index is complete, and the watch continues.
    pub(super) synced: watch::Sender<bool>,
    pub(super) warnings: &'a ObjectWarnings,
    /// Superseded states that the metrics count already.
    pub(super) counted_coalesced: u64,
}

/// The result of folding one watch event.
pub(super) struct Folded {
    /// Changes to append to the journal, oldest first.
    pub(super) changes: Vec<Change>,
    /// The flush that is needed for rows that changed without an event.
    pub(super) flush: Flush,
}

/// Warnings about objects, shared by all terms of the process so that a new term doesn't repeat them.
#[derive(Debug)]
pub(super) struct ObjectWarnings {
    /// A counter and not a [`LogThrottle`], because each line names another object: the first lines are logged at once
    /// rather than one an hour.
    unreadable: AtomicUsize,
    over_limit: LogThrottle,
}

impl Pipeline<'_> {
    /// Folds `event` and returns at most `remaining_capacity` changes. What doesn't fit goes to the backlog.
    pub(super) fn fold(&self, event: WatcherEvent, remaining_capacity: usize) -> Folded {
        let mut index = lock(&self.index);
        if let WatcherEvent::Apply(object) = &event
            && index.is_newly_unreadable(object)
        {
            self.warnings.unreadable(object.uid);
        }
        let changes = index.fold(event, Timestamp::now(), remaining_capacity);
        // A new baseline is written at once, since nothing is reported as created before it is.
        let flush = match index.take_dirty() {
            true if event == WatcherEvent::InitDone => Flush::Now,
            true => Flush::Later,
            false => Flush::Never,
        };
        if let Some(is_over) = index.is_beyond_limit() {
            self.warnings.over_limit(is_over);
        }
        drop(index);
        match event {
            WatcherEvent::Init => {
                metrics::watch_relisted();
                self.synced.send_replace(false);
            }
            WatcherEvent::InitDone => {
                self.synced.send_replace(true);
                self.readiness.set(true);
            }
            WatcherEvent::Interrupted => {
                self.synced.send_replace(false);
            }
            WatcherEvent::Resumed => {
                self.synced.send_replace(true);
            }
            WatcherEvent::Apply(_) | WatcherEvent::Delete(_) => {}
        }
        Folded { changes, flush }
    }

    /// Returns at most `remaining_capacity` changes of control planes in the backlog, oldest first.
    pub(super) fn drain_backlog(&self, remaining_capacity: usize) -> Vec<Change> {
        lock(&self.index).report_backlog(Timestamp::now(), remaining_capacity)
    }

    /// Returns whether there is a baseline, and the rows to persist.
    pub(super) fn persisted(&self) -> (bool, Vec<PersistedRow>) {
        let index = lock(&self.index);
        (index.has_baseline(), index.persisted_rows())
    }

    /// Updates the metrics of the backlog.
    pub(super) fn record_metrics(&mut self) {
        let (coalesced, backlogged) = {
            let index = lock(&self.index);
            (index.coalesced(), index.backlog_len())
        };
        metrics::events_coalesced(coalesced - std::mem::replace(&mut self.counted_coalesced, coalesced));
        metrics::control_planes_backlogged(backlogged);
    }
}

impl ObjectWarnings {
    fn unreadable(&self, uid: uuid::Uuid) {
        let count = 1 + self.unreadable.fetch_add(1, Ordering::Relaxed);
        if count <= MAX_UNREADABLE_LOGGED {
            tracing::warn!(
                %uid,
                count,
                "failed to read a control plane; counting its last known state"
            );
        }
    }

    fn over_limit(&self, is_over: bool) {
        if is_over {
            self.over_limit.failed(|_| {
                tracing::warn!(limit = ROW_LIMIT, "more control planes than the journal holds; events are paused");
            });
        } else {
            self.over_limit.recovered(|| {
                tracing::info!(limit = ROW_LIMIT, "the journal holds all control planes again; events are resumed");
            });
        }
    }
}

impl Default for ObjectWarnings {
    fn default() -> Self {
        Self { unreadable: AtomicUsize::default(), over_limit: LogThrottle::hourly() }
    }
}
