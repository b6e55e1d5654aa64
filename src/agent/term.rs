//! A term of leadership. It begins when the journal is opened and ends when the journal is lost, when consent or the
//! Lease ends, or at shutdown.
//!
//! ```text
//! watch ─▶ pipeline ─▶ journal ─▶ writer ─▶ event exporter ─▶ acknowledgement
//!              └─────▶ gauge exporter
//! ```
//!
//! [`event_loop`] drives the flow.

mod event_loop;
mod pipeline;

use std::sync::{Arc, Mutex, Once};

use kube::Client;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::config::Config;
use super::export::connection::CollectorChannel;
use super::export::events::EventExporter;
use super::export::gauges::{GaugeExporter, GaugeOptions};
use super::export::health::ExportHealth;
use super::export::instruments::GaugeInstruments;
use super::export::metric_exporter::OtlpMetricExporter;
use super::journal::config_map::{FencedJournal, JournalWriteError};
use super::journal::writer::JournalWriter;
use super::journal::{Journal, JournalState, JournalStore, ROW_LIMIT};
use super::kubernetes::watch::{WatchIntervals, WatchMemory};
use super::kubernetes::{self, ClusterInfo};
use super::observe::{Index, IndexOptions, SharedIndex};
use super::task_slot::TaskSlot;
use crate::process::log_throttle::LogThrottle;
use crate::process::probes::Readiness;
use event_loop::{EventLoop, WATCH_EVENT_BUFFER};
use pipeline::{ObjectWarnings, Pipeline};

/// The parts of the process that all its terms share.
pub(super) struct TermContext<'a> {
    pub(super) config: &'a Config,
    pub(super) client: &'a Client,
    pub(super) cluster_info: watch::Receiver<ClusterInfo>,
    pub(super) readiness: &'a Readiness,
    pub(super) shutdown: &'a CancellationToken,
    pub(super) memory: &'a TermMemory,
}

/// The state that outlives a term: log throttles, so that each message appears at most once an hour whichever term logs
/// it, and what the watch has learnt about the API server.
#[derive(Debug)]
pub(super) struct TermMemory {
    export_health: Arc<ExportHealth>,
    journal: Arc<LogThrottle>,
    journal_check: LogThrottle,
    journal_watch_denied: Once,
    watch: WatchMemory,
    datastores: LogThrottle,
    objects: ObjectWarnings,
}

impl Default for TermMemory {
    fn default() -> Self {
        Self {
            export_health: Arc::default(),
            journal: Arc::new(LogThrottle::hourly()),
            journal_check: LogThrottle::hourly(),
            journal_watch_denied: Once::new(),
            watch: WatchMemory::default(),
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
    /// The journal was written or deleted by somebody else, or what is in memory is of a history that was replaced.
    Fenced(&'static str),
    /// The journal or the connection to the collector could not be opened.
    OpenFailed(String),
}

/// Runs a term with the journal in `store` until it ends.
pub(super) async fn run(context: &TermContext<'_>, store: &JournalStore) -> TermEnd {
    let TermContext { config, shutdown, .. } = context;
    let connection = match config.exporter.connect() {
        Ok(connection) => connection,
        Err(error) => return TermEnd::OpenFailed(format!("{error:#}")),
    };
    let opened = tokio::select! {
        opened = store.open(&config.exporter.endpoint) => opened,
        () = shutdown.cancelled() => return TermEnd::Shutdown,
    };
    match opened {
        Ok((fenced, state)) => {
            let instruments = GaugeInstruments::new(OtlpMetricExporter::new(&connection), state.installation);
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
    let &TermContext { config, client, ref cluster_info, readiness, shutdown, memory } = context;
    let export_health = || Arc::clone(&memory.export_health);
    let (synced, is_synced) = watch::channel(false);
    let (sender, watch_events) = mpsc::channel(WATCH_EVENT_BUFFER);
    let (handle, journal_deleted) = (fenced.handle(), Notify::new());
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
        journal: &handle,
        journal_deleted: &journal_deleted,
        journal_throttle: &memory.journal_check,
        instruments,
        export_health: export_health(),
        datastores_throttle: &memory.datastores,
    };
    let new_exporter = || TaskSlot::Idle(EventExporter::new(&connection, config.retry_max_interval, export_health()));
    let event_loop = EventLoop {
        config,
        journal,
        pipeline: Pipeline { index, readiness, synced, warnings: &memory.objects, counted_coalesced: 0 },
        watch_events,
        cluster_info: cluster_info.clone(),
        flush_deadline: None,
        next_check: Instant::now() + config.operator_poll_interval,
        journal_deleted: &journal_deleted,
        writer: TaskSlot::Idle(JournalWriter::new(fenced, config.retry_max_interval, Arc::clone(&memory.journal))),
        exporter: new_exporter(),
    };
    let intervals = WatchIntervals { retry_max: config.retry_max_interval, compare: config.operator_poll_interval };
    tokio::select! {
        fenced = event_loop.run(new_exporter, shutdown) => fenced.map_or(TermEnd::Shutdown, TermEnd::Fenced),
        () = kubernetes::watch::run(client, intervals, &memory.watch, sender) => {
            TermEnd::Fenced("the API server has another history than the one that was watched")
        }
        () = gauge_exporter.run() => TermEnd::Fenced("the gauge exporter has ended"),
        never = connection.reload_on_change(&config.exporter) => match never {},
        never = Box::pin(handle.watch_deletion(&journal_deleted, &memory.journal_watch_denied)) => match never {},
    }
}
