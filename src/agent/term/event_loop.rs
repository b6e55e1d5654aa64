//! The loop of a term.
//!
//! It folds watch events, and dispatches at most one write and one delivery at a time. While either is running, further
//! changes collect in the journal, so batching needs no timer.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::pipeline::{Folded, Pipeline};
use crate::agent::config::Config;
use crate::agent::export::events::{DeliveryOutcome, EXPORT_BATCH_LIMIT, EventExporter};
use crate::agent::journal::config_map::JournalWriteError;
use crate::agent::journal::writer::{JournalWriter, WriterOutcome};
use crate::agent::journal::{Flush, Journal};
use crate::agent::kubernetes::ClusterInfo;
use crate::agent::metrics;
use crate::agent::observe::{Change, WatcherEvent};
use crate::agent::task_slot::TaskSlot;
use crate::catalog::EventRecord;

/// The number of watch events that may wait for the loop: a page of a list. One takes about 100 bytes.
pub(super) const WATCH_EVENT_BUFFER: usize = 100;
/// The number of watch events that are folded before the loop turns to anything else: all that may wait.
const WATCH_EVENT_BATCH: usize = WATCH_EVENT_BUFFER;
/// The time that a shutdown may spend on delivering the outbox.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) type ExporterSlot = TaskSlot<EventExporter, DeliveryOutcome>;

/// The state of the loop.
pub(super) struct EventLoop<'a> {
    pub(super) config: &'a Config,
    pub(super) journal: Journal,
    pub(super) pipeline: Pipeline<'a>,
    pub(super) watch_events: mpsc::Receiver<WatcherEvent>,
    pub(super) cluster_info: watch::Receiver<ClusterInfo>,
    /// The time at which a [`Flush::Later`] becomes a [`Flush::Now`].
    pub(super) flush_deadline: Option<Instant>,
    /// The time of the next check that nobody else has written or deleted the journal.
    pub(super) next_check: Instant,
    /// Notified when the journal was or may have been deleted, so that the check is due at once.
    pub(super) journal_deleted: &'a Notify,
    pub(super) writer: TaskSlot<JournalWriter, WriterOutcome>,
    pub(super) exporter: ExporterSlot,
}

impl EventLoop<'_> {
    /// Runs until the journal is lost, and returns the reason, or until the shutdown is requested and the outbox is drained
    /// as far as possible. `new_exporter` makes the exporter of the drain.
    pub(super) async fn run(
        mut self,
        new_exporter: impl Fn() -> ExporterSlot,
        shutdown: &CancellationToken,
    ) -> Option<&'static str> {
        let mut batch = Vec::with_capacity(WATCH_EVENT_BATCH);
        loop {
            self.dispatch();
            let next_wakeup = self.next_wakeup();
            let fenced = tokio::select! {
                () = shutdown.cancelled() => break,
                _ = self.watch_events.recv_many(&mut batch, WATCH_EVENT_BATCH) => { self.apply(&mut batch); None }
                outcome = self.writer.finished() => self.on_written(&outcome),
                outcome = self.exporter.finished() => { self.on_delivered(&outcome); None }
                () = sleep_until_some(next_wakeup) => { self.promote_flush(); None }
                () = self.journal_deleted.notified() => { self.next_check = Instant::now(); None }
                _ = self.cluster_info.changed() => None,
            };
            if fenced.is_some() {
                return fenced;
            }
        }
        // The running exporter may be sleeping before a retry; a new one tries at once.
        self.exporter = new_exporter();
        // No check is worth delaying the last write.
        self.next_check = Instant::now() + 2 * DRAIN_TIMEOUT;
        if tokio::time::timeout(DRAIN_TIMEOUT, self.drain()).await.is_err() {
            tracing::warn!(
                pending = self.journal.pending(),
                timeout = ?DRAIN_TIMEOUT,
                "events could not be delivered before the shutdown; they stay in the journal"
            );
        }
        None
    }

    /// Delivers the outbox, and writes the acknowledgements.
    async fn drain(&mut self) {
        loop {
            if self.journal.pending() == 0 && self.journal.next_flush() == Flush::Later {
                self.journal.mark_dirty(Flush::Now);
            }
            self.dispatch();
            if self.writer.is_idle() && self.exporter.is_idle() && self.journal.next_flush() != Flush::Now {
                return;
            }
            let next_wakeup = self.next_wakeup();
            tokio::select! {
                outcome = self.writer.finished() => {
                    if self.on_written(&outcome).is_some() {
                        return;
                    }
                }
                outcome = self.exporter.finished() => self.on_delivered(&outcome),
                () = sleep_until_some(next_wakeup) => self.promote_flush(),
            }
        }
    }

    /// Starts a write and a delivery, if there is something to do and none of its kind is running.
    fn dispatch(&mut self) {
        let now = Instant::now();
        match self.writer.idle() {
            Some(writer) if self.journal.next_flush() == Flush::Now && writer.ready_at() <= now => {
                self.flush_deadline = None;
                self.next_check = now + self.config.operator_poll_interval;
                let (baseline, rows) = self.pipeline.persisted();
                let (state, checkpoint) = self.journal.begin_flush(baseline, rows);
                self.writer.start(|writer| writer.write(state, checkpoint));
            }
            Some(_) if self.next_check <= now => {
                self.next_check = now + self.config.operator_poll_interval;
                self.writer.start(JournalWriter::check);
            }
            _ => {}
        }
        let may_send = self.exporter.is_idle() && self.config.kamaji_opt_out.is_decidable(&self.cluster_info.borrow());
        let batch = if may_send { self.journal.batch(EXPORT_BATCH_LIMIT) } else { Vec::new() };
        if !batch.is_empty() {
            self.exporter.start(|exporter| deliver(exporter, batch));
        }
        if let (Flush::Later, Some(writer)) = (self.journal.next_flush(), self.writer.idle()) {
            self.flush_deadline.get_or_insert(now + writer.acknowledgement_delay());
        }
    }

    /// Returns the time at which [`EventLoop::dispatch`] has something to do even if nothing happens before.
    fn next_wakeup(&self) -> Option<Instant> {
        let writer = self.writer.idle();
        let next_write = writer.filter(|_| self.journal.next_flush() == Flush::Now).map(JournalWriter::ready_at);
        let next_check = writer.map(|_| self.next_check);
        [self.flush_deadline, next_write, next_check].into_iter().flatten().min()
    }

    /// Folds watch events and appends their changes to the journal.
    fn apply(&mut self, batch: &mut Vec<WatcherEvent>) {
        for event in batch.drain(..) {
            let Folded { changes, flush } = self.pipeline.fold(event, self.journal.remaining_capacity());
            self.append(changes);
            self.journal.mark_dirty(flush);
        }
        self.record_metrics();
    }

    fn append(&mut self, changes: Vec<Change>) {
        if !changes.is_empty() {
            metrics::events_observed(changes.len());
            let versions = self.cluster_info.borrow().versions(self.config.kamaji_version);
            self.journal.append(changes, versions);
        }
    }

    /// Commits a write or rolls it back. Returns the reason if the journal is lost.
    fn on_written(&mut self, outcome: &WriterOutcome) -> Option<&'static str> {
        match outcome {
            (_, Err(JournalWriteError::Fenced(reason))) => return Some(reason),
            (Some(checkpoint), Ok(())) => metrics::events_persisted(self.journal.commit(*checkpoint)),
            (Some(checkpoint), Err(JournalWriteError::Failed(_))) => {
                metrics::journal_write_failed();
                self.journal.rollback(*checkpoint);
            }
            // A check that failed is repeated at its next time.
            (None, _) => {}
        }
        None
    }

    /// Removes delivered events, and fills the outbox with changes from the backlog.
    fn on_delivered(&mut self, outcome: &DeliveryOutcome) {
        let acknowledged_at = (!outcome.acknowledged.is_empty()).then(Timestamp::now);
        self.journal.remove(&outcome.uids(), acknowledged_at);
        let changes = self.pipeline.drain_backlog(self.journal.remaining_capacity());
        self.append(changes);
        self.record_metrics();
    }

    fn promote_flush(&mut self) {
        if self.flush_deadline.take_if(|deadline| *deadline <= Instant::now()).is_some() {
            self.journal.mark_dirty(Flush::Now);
        }
    }

    fn record_metrics(&mut self) {
        self.pipeline.record_metrics();
        metrics::events_pending(self.journal.pending());
        metrics::event_timestamps(self.journal.oldest_pending(), self.journal.last_acknowledgement());
    }
}

async fn deliver(mut exporter: EventExporter, batch: Vec<EventRecord>) -> (EventExporter, DeliveryOutcome) {
    let outcome = exporter.deliver(&batch).await;
    (exporter, outcome)
}

/// Sleeps until `deadline`, or for ever without one.
async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
