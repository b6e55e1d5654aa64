//! A term of leadership: from the opening of the journal until that is lost, consent or the Lease ends, or a shutdown.
//!
//! ```text
//! watch ─▶ fold ─▶ journal ─▶ write ─▶ deliver ─▶ settle
//!            └──▶ gauges
//! ```
//!
//! One loop folds, and gives out one write and one delivery at a time: while either is under way the next collects, so
//! batching needs no timer.

mod fold;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Config;
use super::cluster::failure::Failure;
use super::cluster::{self, Look};
use super::cycles::{self, Cycles};
use super::deliver::connection::Connection;
use super::deliver::events::{BATCH_LIMIT, Events, Settled};
use super::deliver::gauges::{self, Gauges};
use super::journal::config_map::{Place, Stored, WriteError};
use super::journal::{Due, Journal, ROW_LIMIT, Snapshot, State};
use super::observe::{Options, Seen, View};
use super::quiet::Quiet;
use super::worker::Worker;
use super::writer::Writer;
use crate::health::Readiness;
use crate::signals::EventRecord;
use fold::Fold;

/// What the watch may be ahead of the fold: a page of a list. One is about 100 bytes.
const SEEN_LIMIT: usize = 100;
/// How many of those are taken in before the loop looks at anything else: all that the watch may be ahead.
const SEEN_BATCH: usize = SEEN_LIMIT;
/// How long a shutdown may deliver what is left.
const DRAIN: Duration = Duration::from_secs(5);

/// The view, which the fold writes and the gauges read.
pub(super) type SharedView = Arc<Mutex<View>>;

/// What a term works with.
pub(super) struct Context<'a> {
    pub(super) config: &'a Config,
    pub(super) place: &'a Place,
    pub(super) looks: watch::Receiver<Look>,
    pub(super) readiness: &'a Readiness,
    pub(super) shutdown: &'a CancellationToken,
}

/// Why a term has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// What could be delivered is.
    Shutdown,
    /// Somebody else has written the journal, or deleted it.
    Lost(&'static str),
    /// The journal was not opened.
    NotOpened(Failure),
}

/// Runs a term until it ends.
pub(super) async fn run(context: &Context<'_>) -> anyhow::Result<Ended> {
    let Context { config, place, shutdown, .. } = context;
    let connection = config.collector.connect()?;
    let opened = tokio::select! {
        opened = place.open(&config.collector.endpoint) => opened,
        () = shutdown.cancelled() => return Ok(Ended::Shutdown),
    };
    let (stored, state) = match opened {
        Ok(opened) => opened,
        Err(WriteError::Lost(why)) => return Ok(Ended::Lost(why)),
        Err(WriteError::Failed(failure)) => return Ok(Ended::NotOpened(failure)),
    };
    let gauges = Gauges::new(gauges::exporter(&connection)?, state.installation);
    Ok(work(context, connection, stored, state, gauges).await)
}

async fn work(context: &Context<'_>, connection: Connection, stored: Stored, state: State, gauges: Gauges) -> Ended {
    let &Context { config, place, ref looks, readiness, shutdown } = context;
    let quiet = Arc::new(Quiet::default());
    let (synced, is_synced) = watch::channel(false);
    let (sender, seen) = mpsc::channel(SEEN_LIMIT);
    let (journal, baseline, rows) = Journal::open(state);
    let options = Options { extended: config.extended, limit: ROW_LIMIT };
    let view: SharedView = Arc::new(Mutex::new(View::restore(options, baseline, rows)));
    let cycles = Cycles {
        config,
        client: &place.client,
        looks: looks.clone(),
        view: Arc::clone(&view),
        is_synced,
        gauges,
        quiet: Arc::clone(&quiet),
        no_datastores: Quiet::default(),
        backoff: cycles::backoff(config),
    };
    let fold = Fold {
        view,
        journal,
        looks,
        kamaji_version: config.kamaji_version,
        readiness,
        synced,
        unreadable: 0,
        coalesced: 0,
        is_beyond_limit: false,
    };
    let deliverer = || Worker::Here(Events::new(&connection, config.retry_max, Arc::clone(&quiet)));
    let writer = Worker::Here(Writer::new(stored, config.retry_max));
    let acknowledge_interval = config.acknowledge_interval;
    let term = Term { fold, seen, acknowledge_interval, later: None, writer, deliverer: deliverer() };
    tokio::select! {
        ended = term.run(deliverer, shutdown) => ended,
        () = cluster::watch::run(place.client.clone(), config.retry_max, sender) => Ended::Lost("the watch has ended"),
        () = cycles.run() => Ended::Lost("the gauges' cycles have ended"),
    }
}

type Deliverer = Worker<Events, Settled>;

/// The loop of a term.
struct Term<'a> {
    fold: Fold<'a>,
    seen: mpsc::Receiver<Seen>,
    acknowledge_interval: Duration,
    /// When what may ride on another write gets one of its own.
    later: Option<Instant>,
    writer: Worker<Writer, (Snapshot, Result<(), WriteError>)>,
    deliverer: Deliverer,
}

impl Term<'_> {
    /// Runs until the journal is lost, or a shutdown; `afresh` makes another deliverer.
    async fn run(mut self, afresh: impl Fn() -> Deliverer, shutdown: &CancellationToken) -> Ended {
        let mut batch = Vec::with_capacity(SEEN_BATCH);
        loop {
            self.give_out();
            let lost = tokio::select! {
                () = shutdown.cancelled() => break,
                _ = self.seen.recv_many(&mut batch, SEEN_BATCH) => { self.fold.take_in(&mut batch); None }
                (snapshot, result) = self.writer.back() => self.fold.written(&snapshot, &result),
                settled = self.deliverer.back() => { self.fold.settle(&settled); None }
                () = at(self.later) => { self.fold.journal.touch(Due::Now); None }
            };
            if let Some(why) = lost {
                return Ended::Lost(why);
            }
        }
        // One that is away may be waiting to try again; what is left is tried at once.
        self.deliverer = afresh();
        if tokio::time::timeout(DRAIN, self.drain()).await.is_err() {
            let (pending, seconds) = (self.fold.journal.pending(), DRAIN.as_secs());
            tracing::warn!("{pending} events could not be delivered within {seconds} s of the shutdown; they are kept");
        }
        Ended::Shutdown
    }

    /// Delivers what is left, and writes that it is.
    async fn drain(&mut self) {
        loop {
            if self.fold.journal.pending() == 0 && self.fold.journal.due() == Due::Later {
                self.fold.journal.touch(Due::Now);
            }
            self.give_out();
            if self.writer.is_here() && self.deliverer.is_here() {
                return;
            }
            tokio::select! {
                (snapshot, result) = self.writer.back() => if self.fold.written(&snapshot, &result).is_some() { return },
                settled = self.deliverer.back() => self.fold.settle(&settled),
            }
        }
    }

    /// Begins a write and a delivery, where there is something to do and nothing of the kind is under way.
    fn give_out(&mut self) {
        if self.writer.is_here() && self.fold.journal.due() == Due::Now {
            self.later = None;
            let snapshot = self.fold.snapshot();
            self.writer.send(|writer| writer.write(snapshot));
        }
        let batch = if self.deliverer.is_here() { self.fold.journal.batch(BATCH_LIMIT) } else { Vec::new() };
        if !batch.is_empty() {
            self.deliverer.send(|events| deliver(events, batch));
        }
        if self.fold.journal.due() == Due::Later {
            self.later.get_or_insert_with(|| Instant::now() + self.acknowledge_interval);
        }
    }
}

async fn deliver(mut events: Events, batch: Vec<EventRecord>) -> (Events, Settled) {
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
