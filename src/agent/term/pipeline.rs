//! The state of a term: what was seen, and what is to be delivered of it.

use crate::process::lock::lock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::agent::export::events::DeliveryOutcome;
use crate::agent::journal::config_map::JournalWriteError;
use crate::agent::journal::{Checkpoint, Flush, Journal, JournalState, ROW_LIMIT};
use crate::agent::kubernetes::ClusterInfo;
use crate::agent::metrics;
use crate::agent::observe::{Change, SharedIndex, WatcherEvent};
use crate::catalog::KamajiVersion;
use crate::process::probes::Readiness;

/// Takes in what is seen, journals what changed, and settles what was delivered.
pub(super) struct Pipeline<'a> {
    pub(super) index: SharedIndex,
    pub(super) journal: Journal,
    pub(super) cluster_info: &'a watch::Receiver<ClusterInfo>,
    pub(super) kamaji_version: Option<KamajiVersion>,
    pub(super) readiness: &'a Readiness,
    /// Says to the gauges whether the view is complete.
    pub(super) synced: watch::Sender<bool>,
    pub(super) warnings: &'a ObjectWarnings,
    /// How many of the view's superseded states are accounted for.
    pub(super) coalesced: u64,
}

/// What was said of objects, whichever term said it.
#[derive(Debug, Default)]
pub(super) struct ObjectWarnings {
    unreadable: AtomicUsize,
    is_beyond_limit: AtomicBool,
}

impl Pipeline<'_> {
    pub(super) fn apply(&mut self, batch: &mut Vec<WatcherEvent>) {
        for seen in batch.drain(..) {
            let changes = self.fold(seen);
            self.append(changes);
        }
        self.account();
    }

    fn fold(&mut self, seen: WatcherEvent) -> Vec<Change> {
        let mut index = lock(&self.index);
        if let WatcherEvent::Apply(object) = &seen
            && index.is_newly_unreadable(object)
        {
            say_unreadable(object.uid, 1 + self.warnings.unreadable.fetch_add(1, Ordering::Relaxed));
        }
        let changes = index.fold(seen, Timestamp::now(), self.journal.room());
        if index.take_unsaved() {
            self.journal.mark_dirty(if seen == WatcherEvent::InitDone { Flush::Now } else { Flush::Later });
        }
        if let Some(is_beyond) = index.is_beyond_limit() {
            say_limit(self.warnings.is_beyond_limit.swap(is_beyond, Ordering::Relaxed), is_beyond);
        }
        drop(index);
        match seen {
            WatcherEvent::Init => {
                metrics::watch_restarted();
                self.synced.send_replace(false);
            }
            WatcherEvent::InitDone => {
                self.synced.send_replace(true);
                self.readiness.set(true);
            }
            WatcherEvent::Apply(_) | WatcherEvent::Delete(_) => {}
        }
        changes
    }

    fn append(&mut self, changes: Vec<Change>) {
        if !changes.is_empty() {
            metrics::observed(changes.len());
            let versions = self.cluster_info.borrow().versions(self.kamaji_version);
            self.journal.append(changes, versions);
        }
    }

    /// The state to be written now.
    pub(super) fn snapshot(&mut self) -> (JournalState, Checkpoint) {
        let index = lock(&self.index);
        self.journal.snapshot(index.has_baseline(), index.kept())
    }

    /// Takes in what became of a write, or of a look where there is no mark. Some where the journal is lost.
    pub(super) fn written(
        &mut self,
        mark: Option<Checkpoint>,
        result: &Result<(), JournalWriteError>,
    ) -> Option<&'static str> {
        match (result, mark) {
            (Err(JournalWriteError::Fenced(why)), _) => return Some(why),
            (Ok(()), Some(mark)) => metrics::journalled(self.journal.commit(mark)),
            (Err(JournalWriteError::Failed(_)), Some(mark)) => {
                metrics::not_journalled();
                self.journal.rollback(mark);
            }
            (_, None) => {}
        }
        None
    }

    /// What is delivered makes room for what waits.
    pub(super) fn on_delivered(&mut self, delivered: &DeliveryOutcome) {
        let acknowledged = (!delivered.acknowledged.is_empty()).then(Timestamp::now);
        self.journal.settle(&delivered.uids(), acknowledged);
        let room = self.journal.room();
        let changes = lock(&self.index).report_waiting(Timestamp::now(), room);
        self.append(changes);
        self.account();
    }

    fn account(&mut self) {
        let (coalesced, waiting) = {
            let index = lock(&self.index);
            (index.coalesced(), index.waiting())
        };
        metrics::coalesced(coalesced - std::mem::replace(&mut self.coalesced, coalesced));
        metrics::pending(self.journal.pending(), waiting);
        metrics::times(self.journal.oldest(), self.journal.acknowledged());
    }
}

/// A few are worth a line each; if there are many, something else is wrong, and the first lines say what to look at.
fn say_unreadable(uid: uuid::Uuid, count: usize) {
    const LINES: usize = 10;
    if count <= LINES {
        let last = if count == LINES { "; further ones are not named" } else { "" };
        tracing::warn!(
            "the control plane with the uid {uid} can't be read: spec.kubernetes.version or \
             status.kubernetesResources.version.status is no text. It counts with what was last known of it{last}"
        );
    }
}

/// Says when there begin, or cease, to be more control planes than are reported of.
fn say_limit(was_beyond: bool, is_beyond: bool) {
    if is_beyond && !was_beyond {
        tracing::warn!(
            "there are more than {ROW_LIMIT} control planes, which is what the journal holds: they are counted, and \
             their events are not reported until there are a tenth fewer"
        );
    } else if was_beyond && !is_beyond {
        tracing::info!("the journal holds all control planes again: their events are reported from here on");
    }
}
