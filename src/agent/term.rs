//! A term of leadership: from the opening of the journal until that is lost, consent or the Lease ends, or a shutdown.
//!
//! ```text
//! watch ─▶ fold ─▶ journal ─▶ write ─▶ deliver ─▶ settle
//!            └──▶ gauges
//! ```
//!
//! One loop folds, and gives out one write and one delivery at a time: while either is under way the next collects, so
//! batching needs no timer.

mod pipeline;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Config;
use super::consent::KamajiOptOut;
use super::export::connection::CollectorChannel;
use super::export::events::{BATCH_LIMIT, DeliveryOutcome, EventExporter};
use super::export::gauges::{self, GaugeExporter};
use super::export::health::ExportHealth;
use super::export::instruments::{self, GaugeInstruments};
use super::journal::config_map::{FencedJournal, JournalStore, JournalWriteError};
use super::journal::writer::{Done, JournalWriter};
use super::journal::{Flush, Journal, JournalState, ROW_LIMIT};
use super::kubernetes::{self, ClusterInfo};
use super::observe::{Index, IndexOptions, SharedIndex, WatcherEvent};
use super::task_slot::TaskSlot;
use crate::catalog::EventRecord;
use crate::process::log_throttle::LogThrottle;
use crate::process::probes::Readiness;
use pipeline::Pipeline;

/// What the watch may be ahead of the pipeline: a page of a list. One is about 100 bytes.
const SEEN_LIMIT: usize = 100;
/// How many of those are taken in before the loop looks at anything else: all that the watch may be ahead.
const SEEN_BATCH: usize = SEEN_LIMIT;
/// How long a shutdown may deliver what is left.
const DRAIN: Duration = Duration::from_secs(5);

/// What terms work with, one after another.
pub(super) struct Context<'a> {
    pub(super) config: &'a Config,
    pub(super) client: &'a Client,
    pub(super) cluster_info: watch::Receiver<ClusterInfo>,
    pub(super) readiness: &'a Readiness,
    pub(super) shutdown: &'a CancellationToken,
    pub(super) throttles: &'a LogThrottles,
}

/// What was said in the log, which no other term is to say again within the hour.
#[derive(Debug)]
pub(super) struct LogThrottles {
    export_health: Arc<ExportHealth>,
    journal: Arc<LogThrottle>,
    watch: LogThrottle,
    datastores: LogThrottle,
    objects: pipeline::ObjectWarnings,
}

impl Default for LogThrottles {
    fn default() -> Self {
        Self {
            export_health: Arc::default(),
            journal: Arc::new(LogThrottle::hourly()),
            watch: LogThrottle::hourly(),
            datastores: LogThrottle::hourly(),
            objects: pipeline::ObjectWarnings::default(),
        }
    }
}

/// Why a term has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TermEnd {
    /// What could be delivered is.
    Shutdown,
    /// Somebody else has written the journal, or deleted it.
    Fenced(&'static str),
    /// The journal or the way to the collector could not be opened.
    OpenFailed(String),
}

/// Runs a term in `place` until it ends.
pub(super) async fn run(context: &Context<'_>, place: &JournalStore) -> TermEnd {
    let Context { config, shutdown, .. } = context;
    // Files may be about to be replaced: what was degraded is tried again.
    let connected =
        config.collector.connect().and_then(|connection| Ok((instruments::exporter(&connection)?, connection)));
    let (exporter, connection) = match connected {
        Ok(connected) => connected,
        Err(error) => return TermEnd::OpenFailed(format!("{error:#}")),
    };
    let opened = tokio::select! {
        opened = place.open(&config.collector.endpoint) => opened,
        () = shutdown.cancelled() => return TermEnd::Shutdown,
    };
    match opened {
        Ok((stored, state)) => {
            let gauges = GaugeInstruments::new(exporter, state.installation);
            work(context, connection, stored, state, gauges).await
        }
        Err(JournalWriteError::Fenced(why)) => TermEnd::Fenced(why),
        Err(JournalWriteError::Failed(failure)) => TermEnd::OpenFailed(failure.to_string()),
    }
}

async fn work(
    context: &Context<'_>,
    connection: CollectorChannel,
    stored: FencedJournal,
    state: JournalState,
    gauges: GaugeInstruments,
) -> TermEnd {
    let &Context { config, client, ref cluster_info, readiness, shutdown, throttles } = context;
    let export_health = || Arc::clone(&throttles.export_health);
    let (synced, is_synced) = watch::channel(false);
    let (sender, seen) = mpsc::channel(SEEN_LIMIT);
    let (journal, baseline, rows) = Journal::open(state);
    let options = IndexOptions { extended: config.extended, limit: ROW_LIMIT };
    let index: SharedIndex = Arc::new(Mutex::new(Index::restore(options, baseline, rows)));
    let gauge_exporter = GaugeExporter {
        config,
        client,
        cluster_info: cluster_info.clone(),
        index: Arc::clone(&index),
        is_synced,
        gauges,
        export_health: export_health(),
        no_datastores: &throttles.datastores,
        backoff: gauges::backoff(config),
    };
    let pipeline = Pipeline {
        index,
        journal,
        cluster_info,
        kamaji_version: config.kamaji_version,
        readiness,
        synced,
        warnings: &throttles.objects,
        coalesced: 0,
    };
    let exporter = || TaskSlot::Idle(EventExporter::new(&connection, config.retry_max_interval, export_health()));
    let term = Term {
        pipeline,
        seen,
        cluster_info: cluster_info.clone(),
        kamaji_opt_out: config.kamaji_opt_out,
        acknowledge_interval: config.acknowledge_interval,
        operator_poll_interval: config.operator_poll_interval,
        later: None,
        look_at: Instant::now() + config.operator_poll_interval,
        writer: TaskSlot::Idle(JournalWriter::new(stored, config.retry_max_interval, Arc::clone(&throttles.journal))),
        exporter: exporter(),
    };
    tokio::select! {
        ended = term.run(exporter, shutdown) => ended,
        () = kubernetes::watch::run(client, config.retry_max_interval, &throttles.watch, sender) => TermEnd::Fenced("the watch has ended"),
        () = gauge_exporter.run() => TermEnd::Fenced("the gauges' cycles have ended"),
    }
}

type ExporterSlot = TaskSlot<EventExporter, DeliveryOutcome>;

/// The loop of a term.
struct Term<'a> {
    pipeline: Pipeline<'a>,
    seen: mpsc::Receiver<WatcherEvent>,
    cluster_info: watch::Receiver<ClusterInfo>,
    kamaji_opt_out: KamajiOptOut,
    acknowledge_interval: Duration,
    operator_poll_interval: Duration,
    /// When what may ride on another write gets one of its own.
    later: Option<Instant>,
    /// When it is next looked whether the journal is still there.
    look_at: Instant,
    writer: TaskSlot<JournalWriter, Done>,
    exporter: ExporterSlot,
}

impl Term<'_> {
    /// Runs until the journal is lost, or a shutdown; `new_exporter` makes another exporter.
    async fn run(mut self, new_exporter: impl Fn() -> ExporterSlot, shutdown: &CancellationToken) -> TermEnd {
        let mut batch = Vec::with_capacity(SEEN_BATCH);
        loop {
            self.dispatch();
            let next_at = self.next_at();
            let lost = tokio::select! {
                () = shutdown.cancelled() => break,
                _ = self.seen.recv_many(&mut batch, SEEN_BATCH) => { self.pipeline.apply(&mut batch); None }
                (mark, result) = self.writer.finished() => self.pipeline.written(mark, &result),
                settled = self.exporter.finished() => { self.pipeline.on_delivered(&settled); None }
                () = at(next_at) => { self.wake(); None }
                _ = self.cluster_info.changed() => None,
            };
            if let Some(why) = lost {
                return TermEnd::Fenced(why);
            }
        }
        // One that is away may be waiting to try again; what is left is tried at once.
        self.exporter = new_exporter();
        self.look_at = Instant::now() + 2 * DRAIN;
        if tokio::time::timeout(DRAIN, self.drain()).await.is_err() {
            let (pending, seconds) = (self.pipeline.journal.pending(), DRAIN.as_secs());
            tracing::warn!(
                "the shutdown took longer than {seconds} s: {pending} events could not be delivered; they are kept"
            );
        }
        TermEnd::Shutdown
    }

    /// Delivers what is left, and writes that it is.
    async fn drain(&mut self) {
        loop {
            if self.pipeline.journal.pending() == 0 && self.pipeline.journal.due() == Flush::Later {
                self.pipeline.journal.mark_dirty(Flush::Now);
            }
            self.dispatch();
            if self.writer.is_idle() && self.exporter.is_idle() && self.pipeline.journal.due() != Flush::Now {
                return;
            }
            let next_at = self.next_at();
            tokio::select! {
                (mark, result) = self.writer.finished() => {
                    if self.pipeline.written(mark, &result).is_some() {
                        return;
                    }
                }
                settled = self.exporter.finished() => self.pipeline.on_delivered(&settled),
                () = at(next_at) => {}
            }
        }
    }

    /// Begins a write and a delivery, where there is something to do and nothing of the kind is under way.
    fn dispatch(&mut self) {
        let now = Instant::now();
        match self.writer.idle() {
            Some(writer) if self.pipeline.journal.due() == Flush::Now && writer.ready_at() <= now => {
                (self.later, self.look_at) = (None, now + self.operator_poll_interval);
                let (state, mark) = self.pipeline.snapshot();
                self.writer.start(|writer| writer.write(state, mark));
            }
            Some(_) if self.look_at <= now => {
                self.look_at = now + self.operator_poll_interval;
                self.writer.start(JournalWriter::look);
            }
            _ => {}
        }
        let may_send = self.exporter.is_idle() && self.kamaji_opt_out.can_tell(&self.cluster_info.borrow());
        let batch = if may_send { self.pipeline.journal.batch(BATCH_LIMIT) } else { Vec::new() };
        if !batch.is_empty() {
            self.exporter.start(|events| deliver(events, batch));
        }
        if self.pipeline.journal.due() == Flush::Later {
            self.later.get_or_insert(now + self.acknowledge_interval);
        }
    }

    /// When there is something to do, unless something happens before.
    fn next_at(&self) -> Option<Instant> {
        let writer = self.writer.idle();
        let write_at = writer.filter(|_| self.pipeline.journal.due() == Flush::Now).map(JournalWriter::ready_at);
        let look_at = writer.map(|_| self.look_at);
        [self.later, write_at, look_at].into_iter().flatten().min()
    }

    fn wake(&mut self) {
        if self.later.take_if(|later| *later <= Instant::now()).is_some() {
            self.pipeline.journal.mark_dirty(Flush::Now);
        }
    }
}

async fn deliver(mut events: EventExporter, batch: Vec<EventRecord>) -> (EventExporter, DeliveryOutcome) {
    let settled = events.deliver(&batch).await;
    (events, settled)
}

/// Waits until then; for ever where there is no such time.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
