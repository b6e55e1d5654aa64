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

use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Config;
use super::cluster::{self, Look};
use super::consent::KamajiFlag;
use super::cycles::{self, Cycles};
use super::deliver::connection::Connection;
use super::deliver::egress::Egress;
use super::deliver::events::{BATCH_LIMIT, Events, Settled};
use super::deliver::gauges::{self, Gauges};
use super::journal::config_map::{Place, Stored, WriteError};
use super::journal::{Due, Journal, ROW_LIMIT, State};
use super::observe::{Options, Seen, SharedView, View};
use super::quiet::Quiet;
use super::worker::Worker;
use super::writer::{Done, Writer};
use crate::health::Readiness;
use crate::signals::EventRecord;
use fold::Fold;

/// What the watch may be ahead of the fold: a page of a list. One is about 100 bytes.
const SEEN_LIMIT: usize = 100;
/// How many of those are taken in before the loop looks at anything else: all that the watch may be ahead.
const SEEN_BATCH: usize = SEEN_LIMIT;
/// How long a shutdown may deliver what is left.
const DRAIN: Duration = Duration::from_secs(5);

/// What terms work with, one after another.
pub(super) struct Context<'a> {
    pub(super) config: &'a Config,
    pub(super) client: &'a Client,
    pub(super) looks: watch::Receiver<Look>,
    pub(super) readiness: &'a Readiness,
    pub(super) shutdown: &'a CancellationToken,
    pub(super) said: &'a Said,
}

/// What was said in the log, which no other term is to say again within the hour.
#[derive(Debug, Default)]
pub(super) struct Said {
    egress: Arc<Egress>,
    journal: Arc<Quiet>,
    watch: Quiet,
    datastores: Quiet,
    objects: fold::Said,
}

/// Why a term has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// What could be delivered is.
    Shutdown,
    /// Somebody else has written the journal, or deleted it.
    Lost(&'static str),
    /// The journal or the way to the collector could not be opened.
    NotOpened(String),
}

/// Runs a term in `place` until it ends.
pub(super) async fn run(context: &Context<'_>, place: &Place) -> Ended {
    let Context { config, shutdown, .. } = context;
    // Files may be about to be replaced: what was amiss is tried again.
    let connected = config.collector.connect().and_then(|connection| Ok((gauges::exporter(&connection)?, connection)));
    let (exporter, connection) = match connected {
        Ok(connected) => connected,
        Err(error) => return Ended::NotOpened(format!("{error:#}")),
    };
    let opened = tokio::select! {
        opened = place.open(&config.collector.endpoint) => opened,
        () = shutdown.cancelled() => return Ended::Shutdown,
    };
    match opened {
        Ok((stored, state)) => {
            let gauges = Gauges::new(exporter, state.installation);
            work(context, connection, stored, state, gauges).await
        }
        Err(WriteError::Lost(why)) => Ended::Lost(why),
        Err(WriteError::Failed(failure)) => Ended::NotOpened(failure.to_string()),
    }
}

async fn work(context: &Context<'_>, connection: Connection, stored: Stored, state: State, gauges: Gauges) -> Ended {
    let &Context { config, client, ref looks, readiness, shutdown, said } = context;
    let egress = || Arc::clone(&said.egress);
    let (synced, is_synced) = watch::channel(false);
    let (sender, seen) = mpsc::channel(SEEN_LIMIT);
    let (journal, baseline, rows) = Journal::open(state);
    let options = Options { extended: config.extended, limit: ROW_LIMIT };
    let view: SharedView = Arc::new(Mutex::new(View::restore(options, baseline, rows)));
    let cycles = Cycles {
        config,
        client,
        looks: looks.clone(),
        view: Arc::clone(&view),
        is_synced,
        gauges,
        egress: egress(),
        no_datastores: &said.datastores,
        backoff: cycles::backoff(config),
    };
    let fold = Fold {
        view,
        journal,
        looks,
        kamaji_version: config.kamaji_version,
        readiness,
        synced,
        said: &said.objects,
        coalesced: 0,
    };
    let deliverer = || Worker::Here(Events::new(&connection, config.retry_max, egress()));
    let term = Term {
        fold,
        seen,
        looks: looks.clone(),
        kamaji_flag: config.kamaji_flag,
        acknowledge_interval: config.acknowledge_interval,
        look_interval: config.look_interval,
        later: None,
        look_at: Instant::now() + config.look_interval,
        writer: Worker::Here(Writer::new(stored, config.retry_max, Arc::clone(&said.journal))),
        deliverer: deliverer(),
    };
    tokio::select! {
        ended = term.run(deliverer, shutdown) => ended,
        () = cluster::watch::run(client, config.retry_max, &said.watch, sender) => Ended::Lost("the watch has ended"),
        () = cycles.run() => Ended::Lost("the gauges' cycles have ended"),
    }
}

type Deliverer = Worker<Events, Settled>;

/// The loop of a term.
struct Term<'a> {
    fold: Fold<'a>,
    seen: mpsc::Receiver<Seen>,
    looks: watch::Receiver<Look>,
    kamaji_flag: KamajiFlag,
    acknowledge_interval: Duration,
    look_interval: Duration,
    /// When what may ride on another write gets one of its own.
    later: Option<Instant>,
    /// When it is next looked whether the journal is still there.
    look_at: Instant,
    writer: Worker<Writer, Done>,
    deliverer: Deliverer,
}

impl Term<'_> {
    /// Runs until the journal is lost, or a shutdown; `afresh` makes another deliverer.
    async fn run(mut self, afresh: impl Fn() -> Deliverer, shutdown: &CancellationToken) -> Ended {
        let mut batch = Vec::with_capacity(SEEN_BATCH);
        loop {
            self.give_out();
            let next_at = self.next_at();
            let lost = tokio::select! {
                () = shutdown.cancelled() => break,
                _ = self.seen.recv_many(&mut batch, SEEN_BATCH) => { self.fold.take_in(&mut batch); None }
                (mark, result) = self.writer.back() => self.fold.written(mark, &result),
                settled = self.deliverer.back() => { self.fold.settle(&settled); None }
                () = at(next_at) => { self.wake(); None }
                _ = self.looks.changed() => None,
            };
            if let Some(why) = lost {
                return Ended::Lost(why);
            }
        }
        // One that is away may be waiting to try again; what is left is tried at once.
        self.deliverer = afresh();
        self.look_at = Instant::now() + 2 * DRAIN;
        if tokio::time::timeout(DRAIN, self.drain()).await.is_err() {
            let (pending, seconds) = (self.fold.journal.pending(), DRAIN.as_secs());
            tracing::warn!(
                "the shutdown took longer than {seconds} s: {pending} events could not be delivered; they are kept"
            );
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
            if self.writer.is_here() && self.deliverer.is_here() && self.fold.journal.due() != Due::Now {
                return;
            }
            let next_at = self.next_at();
            tokio::select! {
                (mark, result) = self.writer.back() => {
                    if self.fold.written(mark, &result).is_some() {
                        return;
                    }
                }
                settled = self.deliverer.back() => self.fold.settle(&settled),
                () = at(next_at) => {}
            }
        }
    }

    /// Begins a write and a delivery, where there is something to do and nothing of the kind is under way.
    fn give_out(&mut self) {
        let now = Instant::now();
        match self.writer.here() {
            Some(writer) if self.fold.journal.due() == Due::Now && writer.ready_at() <= now => {
                (self.later, self.look_at) = (None, now + self.look_interval);
                let (state, mark) = self.fold.snapshot();
                self.writer.send(|writer| writer.write(state, mark));
            }
            Some(_) if self.look_at <= now => {
                self.look_at = now + self.look_interval;
                self.writer.send(Writer::look);
            }
            _ => {}
        }
        let may_send = self.deliverer.is_here() && self.kamaji_flag.can_tell(&self.looks.borrow());
        let batch = if may_send { self.fold.journal.batch(BATCH_LIMIT) } else { Vec::new() };
        if !batch.is_empty() {
            self.deliverer.send(|events| deliver(events, batch));
        }
        if self.fold.journal.due() == Due::Later {
            self.later.get_or_insert(now + self.acknowledge_interval);
        }
    }

    /// When there is something to do, unless something happens before.
    fn next_at(&self) -> Option<Instant> {
        let writer = self.writer.here();
        let write_at = writer.filter(|_| self.fold.journal.due() == Due::Now).map(Writer::ready_at);
        let look_at = writer.map(|_| self.look_at);
        [self.later, write_at, look_at].into_iter().flatten().min()
    }

    fn wake(&mut self) {
        if self.later.take_if(|later| *later <= Instant::now()).is_some() {
            self.fold.journal.touch(Due::Now);
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
