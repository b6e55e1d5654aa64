//! The state of a term: what was seen, and what is to be delivered of it.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::agent::accounts;
use crate::agent::cluster::Look;
use crate::agent::deliver::events::Settled;
use crate::agent::journal::config_map::WriteError;
use crate::agent::journal::{Due, Journal, Mark, ROW_LIMIT, State};
use crate::agent::observe::{Change, Seen, SharedView};
use crate::health::Readiness;
use crate::signals::KamajiVersion;

/// Takes in what is seen, journals what changed, and settles what was delivered.
pub(super) struct Fold<'a> {
    pub(super) view: SharedView,
    pub(super) journal: Journal,
    pub(super) looks: &'a watch::Receiver<Look>,
    pub(super) kamaji_version: Option<KamajiVersion>,
    pub(super) readiness: &'a Readiness,
    /// Says to the gauges whether the view is complete.
    pub(super) synced: watch::Sender<bool>,
    pub(super) said: &'a Said,
    /// How many of the view's superseded states are accounted for.
    pub(super) coalesced: u64,
}

/// What was said of objects, whichever term said it.
#[derive(Debug, Default)]
pub(super) struct Said {
    unreadable: AtomicUsize,
    is_beyond_limit: AtomicBool,
}

impl Fold<'_> {
    pub(super) fn take_in(&mut self, batch: &mut Vec<Seen>) {
        for seen in batch.drain(..) {
            let changes = self.fold(seen);
            self.append(changes);
        }
        self.account();
    }

    fn fold(&mut self, seen: Seen) -> Vec<Change> {
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        if let Seen::Apply(object) = &seen
            && view.is_newly_unreadable(object)
        {
            say_unreadable(object.uid, 1 + self.said.unreadable.fetch_add(1, Ordering::Relaxed));
        }
        let changes = view.fold(seen, Timestamp::now(), self.journal.room());
        if view.take_unsaved() {
            self.journal.touch(if seen == Seen::Complete { Due::Now } else { Due::Later });
        }
        if let Some(is_beyond) = view.is_beyond_limit() {
            say_limit(self.said.is_beyond_limit.swap(is_beyond, Ordering::Relaxed), is_beyond);
        }
        drop(view);
        match seen {
            Seen::Restart => {
                accounts::watch_restarted();
                self.synced.send_replace(false);
            }
            Seen::Complete => {
                self.synced.send_replace(true);
                self.readiness.set(true);
            }
            Seen::Apply(_) | Seen::Gone(_) => {}
        }
        changes
    }

    fn append(&mut self, changes: Vec<Change>) {
        if !changes.is_empty() {
            accounts::observed(changes.len());
            let versions = self.looks.borrow().versions(self.kamaji_version);
            self.journal.append(changes, versions);
        }
    }

    /// The state to be written now.
    pub(super) fn snapshot(&mut self) -> (State, Mark) {
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        self.journal.snapshot(view.has_baseline(), view.kept())
    }

    /// Takes in what became of a write, or of a look where there is no mark. Some where the journal is lost.
    pub(super) fn written(&mut self, mark: Option<Mark>, result: &Result<(), WriteError>) -> Option<&'static str> {
        match (result, mark) {
            (Err(WriteError::Lost(why)), _) => return Some(why),
            (Ok(()), Some(mark)) => accounts::journalled(self.journal.wrote(mark)),
            (Err(WriteError::Failed(_)), Some(mark)) => {
                accounts::not_journalled();
                self.journal.did_not_write(mark);
            }
            (_, None) => {}
        }
        None
    }

    /// What is settled makes room for what waits.
    pub(super) fn settle(&mut self, settled: &Settled) {
        let acknowledged = (!settled.acknowledged.is_empty()).then(Timestamp::now);
        self.journal.settle(&settled.uids(), acknowledged);
        let room = self.journal.room();
        let changes = self.view.lock().unwrap_or_else(PoisonError::into_inner).report_waiting(Timestamp::now(), room);
        self.append(changes);
        self.account();
    }

    fn account(&mut self) {
        let (coalesced, waiting) = {
            let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
            (view.coalesced(), view.waiting())
        };
        accounts::coalesced(coalesced - std::mem::replace(&mut self.coalesced, coalesced));
        accounts::pending(self.journal.pending(), waiting);
        accounts::times(self.journal.oldest(), self.journal.acknowledged());
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
