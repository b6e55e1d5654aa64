//! A term of leadership. It begins when the journal is opened and ends when the journal is lost, when consent or the
//! Lease ends, or at shutdown.
//!
//! ```text
//! watch ─▶ pipeline ─▶ journal ─▶ writer ─▶ event exporter ─▶ acknowledgement
//!              └─────▶ gauge exporter
//! ```
//!
//! One loop folds watch events and dispatches at most one write and one delivery at a time. While either is running,
//! further changes collect in the journal, so batching needs no timer.

mod pipeline;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::Config;
use super::export::connection::CollectorChannel;
use super::export::events::{BATCH_LIMIT, DeliveryOutcome, EventExporter};
use super::export::gauges::{GaugeExporter, GaugeOptions};
use super::export::health::ExportHealth;
use super::export::instruments::{self, GaugeInstruments};
use super::journal::config_map::{FencedJournal, JournalWriteError};
use super::journal::writer::{JournalWriter, WriterOutcome};
use super::journal::{Flush, Journal, JournalState, JournalStore, ROW_LIMIT};
use super::kubernetes::{self, ClusterInfo};
use super::metrics;
use super::observe::{Change, Index, IndexOptions, SharedIndex, WatcherEvent};
use super::task_slot::TaskSlot;
use crate::catalog::EventRecord;
use crate::process::log_throttle::LogThrottle;
use crate::process::probes::Readiness;
use pipeline::{Folded, ObjectWarnings, Pipeline};

/// The number of watch events that may wait for the loop: a page of a list. One takes about 100 bytes.
const EVENT_BUFFER: usize = 100;
/// The number of watch events that are folded before the loop turns to anything else: all that may wait.
const EVENT_BATCH: usize = EVENT_BUFFER;
/// The time that a shutdown may spend on delivering the outbox.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The parts of the process that all its terms share.
pub(super) struct TermContext<'a> {
    pub(super) config: &'a Config,
    pub(super) client: &'a Client,
    pub(super) cluster_info: watch::Receiver<ClusterInfo>,
    pub(super) readiness: &'a Readiness,
    pub(super) shutdown: &'a CancellationToken,
    pub(super) throttles: &'a LogThrottles,
}

/// Log throttles that outlive a term, so that each message appears at most once an hour whichever term logs it.
#[derive(Debug)]
pub(super) struct LogThrottles {
    export_health: Arc<ExportHealth>,
    journal: Arc<LogThrottle>,
    watch: LogThrottle,
    datastores: LogThrottle,
    objects: ObjectWarnings,
}

impl Default for LogThrottles {
    fn default() -> Self {
        Self {
            export_health: Arc::default(),
            journal: Arc::new(LogThrottle::hourly()),
            watch: LogThrottle::hourly(),
            datastores: LogThrottle::hourly(),
            objects: ObjectWarnings::default(),
        }
    }
}

/// The reason for a term's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TermEnd {
    /// The shutdown was requested, and the outbox is drained as far as possible.
    Shutdown,
    /// The journal was written or deleted by somebody else.
    Fenced(&'static str),
    /// The journal or the connection to the collector could not be opened.
    OpenFailed(String),
}

/// Runs a term with the journal in `store` until it ends.
pub(super) async fn run(context: &TermContext<'_>, store: &JournalStore) -> TermEnd {
    let TermContext { config, shutdown, .. } = context;
    // Opened again in each term, because certificate files may have been replaced since the last.
    let connected =
        config.exporter.connect().and_then(|connection| Ok((instruments::metric_exporter(&connection)?, connection)));
    let (metric_exporter, connection) = match connected {
        Ok(connected) => connected,
        Err(error) => return TermEnd::OpenFailed(format!("{error:#}")),
    };
    let opened = tokio::select! {
        opened = store.open(&config.exporter.endpoint) => opened,
        () = shutdown.cancelled() => return TermEnd::Shutdown,
    };
    match opened {
        Ok((fenced, state)) => {
            let instruments = GaugeInstruments::new(metric_exporter, state.installation);
            let span = tracing::info_span!("term", namespace = store.namespace, epoch = state.epoch);
            run_opened(context, connection, fenced, state, instruments).instrument(span).await
        }
        Err(JournalWriteError::Fenced(reason)) => TermEnd::Fenced(reason),
        Err(JournalWriteError::Failed(error)) => TermEnd::OpenFailed(error.to_string()),
    }
}

async fn run_opened(
    context: &TermContext<'_>,
    connection: CollectorChannel,
    fenced: FencedJournal,
    state: JournalState,
    instruments: GaugeInstruments,
) -> TermEnd {
    let &TermContext { config, client, ref cluster_info, readiness, shutdown, throttles } = context;
    let export_health = || Arc::clone(&throttles.export_health);
    let (synced, is_synced) = watch::channel(false);
    let (sender, events) = mpsc::channel(EVENT_BUFFER);
    let (journal, baseline, rows) = Journal::open(state);
    let options = IndexOptions { extended: config.extended, limit: ROW_LIMIT };
    let index: SharedIndex = Arc::new(Mutex::new(Index::restore(options, baseline, rows)));
    let gauge_exporter = GaugeExporter {
        options: GaugeOptions {
            interval: config.export_interval,
            retry_max_interval: config.retry_max_interval,
            extended: config.extended,
            kamaji_version: config.kamaji_version,
        },
        client,
        cluster_info: cluster_info.clone(),
        index: Arc::clone(&index),
        is_synced,
        instruments,
        export_health: export_health(),
        datastores_throttle: &throttles.datastores,
    };
    let new_exporter = || TaskSlot::Idle(EventExporter::new(&connection, config.retry_max_interval, export_health()));
    let term = Term {
        config,
        journal,
        pipeline: Pipeline { index, readiness, synced, warnings: &throttles.objects, counted_coalesced: 0 },
        events,
        cluster_info: cluster_info.clone(),
        flush_deadline: None,
        next_check: Instant::now() + config.operator_poll_interval,
        writer: TaskSlot::Idle(JournalWriter::new(fenced, config.retry_max_interval, Arc::clone(&throttles.journal))),
        exporter: new_exporter(),
    };
    tokio::select! {
        end = term.run(new_exporter, shutdown) => end,
        () = kubernetes::watch::run(client, config.retry_max_interval, &throttles.watch, sender) => {
            TermEnd::Fenced("the watch has ended")
        }
        () = gauge_exporter.run() => TermEnd::Fenced("the gauge exporter has ended"),
    }
}

type ExporterSlot = TaskSlot<EventExporter, DeliveryOutcome>;

/// The loop of a term.
struct Term<'a> {
    config: &'a Config,
    journal: Journal,
    pipeline: Pipeline<'a>,
    events: mpsc::Receiver<WatcherEvent>,
    cluster_info: watch::Receiver<ClusterInfo>,
    /// The time at which a [`Flush::Later`] becomes a [`Flush::Now`].
    flush_deadline: Option<Instant>,
    /// The time of the next check that nobody else has written or deleted the journal.
    next_check: Instant,
    writer: TaskSlot<JournalWriter, WriterOutcome>,
    exporter: ExporterSlot,
}

impl Term<'_> {
    /// Runs until the journal is lost or the shutdown is requested. `new_exporter` makes the exporter of the drain.
    async fn run(mut self, new_exporter: impl Fn() -> ExporterSlot, shutdown: &CancellationToken) -> TermEnd {
        let mut batch = Vec::with_capacity(EVENT_BATCH);
        loop {
            self.dispatch();
            let next_wakeup = self.next_wakeup();
            let fenced = tokio::select! {
                () = shutdown.cancelled() => break,
                _ = self.events.recv_many(&mut batch, EVENT_BATCH) => { self.apply(&mut batch); None }
                outcome = self.writer.finished() => self.on_written(&outcome),
                outcome = self.exporter.finished() => { self.on_delivered(&outcome); None }
                () = sleep_until_some(next_wakeup) => { self.promote_flush(); None }
                _ = self.cluster_info.changed() => None,
            };
            if let Some(reason) = fenced {
                return TermEnd::Fenced(reason);
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
        TermEnd::Shutdown
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
                () = sleep_until_some(next_wakeup) => {}
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
                let (state, checkpoint) = self.journal.snapshot(baseline, rows);
                self.writer.start(|writer| writer.write(state, checkpoint));
            }
            Some(_) if self.next_check <= now => {
                self.next_check = now + self.config.operator_poll_interval;
                self.writer.start(JournalWriter::check);
            }
            _ => {}
        }
        let may_send = self.exporter.is_idle() && self.config.kamaji_opt_out.is_decidable(&self.cluster_info.borrow());
        let batch = if may_send { self.journal.batch(BATCH_LIMIT) } else { Vec::new() };
        if !batch.is_empty() {
            self.exporter.start(|exporter| deliver(exporter, batch));
        }
        if self.journal.next_flush() == Flush::Later {
            self.flush_deadline.get_or_insert(now + self.config.acknowledge_interval);
        }
    }

    /// Returns the time at which [`Term::dispatch`] has something to do even if nothing happens before.
    fn next_wakeup(&self) -> Option<Instant> {
        let writer = self.writer.idle();
        let next_write = writer.filter(|_| self.journal.next_flush() == Flush::Now).map(JournalWriter::ready_at);
        let next_check = writer.map(|_| self.next_check);
        [self.flush_deadline, next_write, next_check].into_iter().flatten().min()
    }

    /// Folds watch events and appends their changes to the journal.
    fn apply(&mut self, batch: &mut Vec<WatcherEvent>) {
        for event in batch.drain(..) {
            let Folded { changes, flush } = self.pipeline.fold(event, self.journal.room());
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

    /// Removes delivered events, and fills the room with changes from the backlog.
    fn on_delivered(&mut self, outcome: &DeliveryOutcome) {
        let acknowledged_at = (!outcome.acknowledged.is_empty()).then(jiff::Timestamp::now);
        self.journal.remove(&outcome.uids(), acknowledged_at);
        let changes = self.pipeline.drain_backlog(self.journal.room());
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
