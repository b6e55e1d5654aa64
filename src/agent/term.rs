//! A term of leadership: from the opening of the journal until that is lost, consent or the Lease ends, or a shutdown.
//!
//! ```text
//! watch ─▶ fold ─▶ journal ─▶ write ─▶ deliver ─▶ settle
//!            └──▶ gauges
//! ```
//!
//! One loop folds, and gives out one write and one delivery at a time: while either is under way the next collects, so
//! batching needs no timer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Config;
use super::accounts;
use super::cluster::failure::Failure;
use super::cluster::{self, Look};
use super::cycles::Cycles;
use super::deliver::connection::Connection;
use super::deliver::events::{BATCH_LIMIT, Events, Settled};
use super::deliver::gauges::{self, Gauges};
use super::journal::config_map::{Place, Stored, WriteError};
use super::journal::{Due, Journal, ROW_LIMIT, Snapshot, State};
use super::observe::{Change, Options, Seen, View};
use super::quiet::Quiet;
use super::worker::Worker;
use super::writer::Writer;
use crate::health::Readiness;

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
    };
    let term = Term {
        config,
        looks,
        view,
        journal,
        seen,
        synced,
        readiness,
        unreadable: 0,
        coalesced: 0,
        is_beyond_limit: false,
        later: None,
        writer: Worker::Here(Writer::new(stored, config.retry_max)),
        deliverer: Worker::Here(Events::new(&connection, config.retry_max, Arc::clone(&quiet))),
    };
    let afresh = || Events::new(&connection, config.retry_max, Arc::clone(&quiet));
    tokio::select! {
        ended = term.run(afresh, shutdown) => ended,
        () = cluster::watch::run(place.client.clone(), config.retry_max, sender) => Ended::Lost("the watch has ended"),
        () = cycles.run() => Ended::Lost("the gauges' cycles have ended"),
    }
}

/// The loop of a term.
struct Term<'a> {
    config: &'a Config,
    looks: &'a watch::Receiver<Look>,
    view: SharedView,
    journal: Journal,
    seen: mpsc::Receiver<Seen>,
    synced: watch::Sender<bool>,
    readiness: &'a Readiness,
    unreadable: usize,
    /// How many of the view's superseded states are accounted for.
    coalesced: u64,
    is_beyond_limit: bool,
    /// When what may ride on another write gets one of its own.
    later: Option<Instant>,
    writer: Worker<Writer, (Snapshot, Result<(), WriteError>)>,
    deliverer: Worker<Events, Settled>,
}

impl Term<'_> {
    async fn run(mut self, afresh: impl Fn() -> Events, shutdown: &CancellationToken) -> Ended {
        let mut batch = Vec::with_capacity(SEEN_BATCH);
        loop {
            self.give_out();
            let lost = tokio::select! {
                () = shutdown.cancelled() => break,
                _ = self.seen.recv_many(&mut batch, SEEN_BATCH) => { self.take_in(&mut batch); None }
                (snapshot, result) = self.writer.back() => self.written(&snapshot, &result),
                settled = self.deliverer.back() => { self.settle(&settled); None }
                () = at(self.later) => { self.journal.touch(Due::Now); None }
            };
            if let Some(why) = lost {
                return Ended::Lost(why);
            }
        }
        // One that is away may be waiting to try again; what is left is tried at once.
        self.deliverer = Worker::Here(afresh());
        if tokio::time::timeout(DRAIN, self.drain()).await.is_err() {
            let (pending, seconds) = (self.journal.pending(), DRAIN.as_secs());
            tracing::warn!("{pending} events could not be delivered within {seconds} s of the shutdown; they are kept");
        }
        Ended::Shutdown
    }

    /// Delivers what is left, and writes that it is.
    async fn drain(&mut self) {
        loop {
            if self.journal.pending() == 0 && self.journal.due() == Due::Later {
                self.journal.touch(Due::Now);
            }
            self.give_out();
            if self.writer.is_here() && self.deliverer.is_here() {
                return;
            }
            tokio::select! {
                (snapshot, result) = self.writer.back() => if self.written(&snapshot, &result).is_some() { return },
                settled = self.deliverer.back() => self.settle(&settled),
            }
        }
    }

    /// Begins a write and a delivery, where there is something to do and nothing of the kind is under way.
    fn give_out(&mut self) {
        if self.writer.is_here() && self.journal.due() == Due::Now {
            self.later = None;
            let snapshot = {
                let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
                self.journal.snapshot(view.has_baseline(), view.kept())
            };
            self.writer.send(|writer| writer.write(snapshot));
        }
        if self.deliverer.is_here() {
            let batch = self.journal.batch(BATCH_LIMIT);
            if !batch.is_empty() {
                self.deliverer.send(|events| deliver(events, batch));
            }
        }
        if self.journal.due() == Due::Later {
            self.later.get_or_insert_with(|| Instant::now() + self.config.acknowledge_interval);
        }
    }

    fn take_in(&mut self, batch: &mut Vec<Seen>) {
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
            self.unreadable += 1;
            say_unreadable(object.uid, self.unreadable);
        }
        let changes = view.fold(seen, Timestamp::now(), self.journal.room());
        if view.take_unsaved() {
            self.journal.touch(if seen == Seen::Complete { Due::Now } else { Due::Later });
        }
        self.is_beyond_limit = say_limit(self.is_beyond_limit, &view);
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
            let versions = self.looks.borrow().versions(self.config.kamaji_version);
            self.journal.append(changes, versions);
        }
    }

    /// Some where the journal is lost.
    fn written(&mut self, snapshot: &Snapshot, result: &Result<(), WriteError>) -> Option<&'static str> {
        match result {
            Ok(()) => {
                accounts::journalled(self.journal.wrote(snapshot));
                None
            }
            Err(WriteError::Lost(why)) => Some(why),
            Err(WriteError::Failed(_)) => {
                accounts::not_journalled();
                self.journal.did_not_write(snapshot);
                None
            }
        }
    }

    /// What is settled makes room for what waits.
    fn settle(&mut self, settled: &Settled) {
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

async fn deliver(mut events: Events, batch: Vec<crate::signals::EventRecord>) -> (Events, Settled) {
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

/// Says when there begin, or cease, to be more control planes than are reported of; gives whether there are.
fn say_limit(was_beyond: bool, view: &View) -> bool {
    let is_beyond = view.is_beyond_limit();
    if is_beyond && !was_beyond {
        tracing::warn!(
            "there are more than {ROW_LIMIT} control planes, which is what the journal holds: they are counted, and \
             their events are not reported until there are a tenth fewer"
        );
    } else if was_beyond && !is_beyond && view.has_baseline() {
        tracing::info!("the journal holds all control planes again: their events are reported from here on");
    }
    is_beyond
}
