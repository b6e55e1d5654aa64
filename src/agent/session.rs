//! What runs while telemetry is on: the watch, the fold with its journal and delivery, and the gauges.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, OptionFuture};
use jiff::Timestamp;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::cluster::{self, Look};
use super::deliver::connection::Connection;
use super::deliver::events::{BATCH_LIMIT, Events, Settled};
use super::deliver::gauges::{self, Gauges};
use super::journal::{Journal, Memory};
use super::observe::{Change, Seen, View};
use super::quiet::Quiet;
use super::{Config, cycles};
use crate::health::Readiness;

/// What the watch may be ahead of the fold: a page of a list. One is about 100 bytes.
const SEEN_LIMIT: usize = 100;
/// What one write of the journal covers at the most: all that the watch may be ahead.
const SEEN_BATCH: usize = SEEN_LIMIT;
/// How long a shutdown may deliver what is left.
const DRAIN: Duration = Duration::from_secs(5);

/// The view, which the fold writes and the gauges read.
pub(super) type SharedView = Arc<Mutex<View>>;

/// Runs until `shutdown`, then delivers what it can.
pub(super) async fn run(
    config: &Config,
    client: &Client,
    looks: watch::Receiver<Look>,
    readiness: &Readiness,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let connection = config.collector.connect()?;
    let quiet = Arc::new(Quiet::default());
    let journal = Journal::new(Memory);
    let gauges = Gauges::new(gauges::exporter(&connection)?, journal.installation());
    let view: SharedView = Arc::new(Mutex::new(View::new(config.extended)));
    let (synced, is_synced) = watch::channel(false);
    let (sender, seen) = mpsc::channel(SEEN_LIMIT);
    let fold = Fold {
        view: Arc::clone(&view),
        journal,
        seen,
        synced,
        looks: looks.clone(),
        config: config.clone(),
        readiness: readiness.clone(),
        unreadable: 0,
    };
    let cycles = cycles::Cycles {
        config,
        client,
        looks,
        view,
        is_synced,
        gauges,
        quiet: Arc::clone(&quiet),
        no_datastores: Quiet::default(),
    };
    tokio::select! {
        result = fold.run(&connection, &quiet, shutdown) => result,
        () = cluster::watch::run(client.clone(), sender) => Ok(()),
        () = cycles.run() => Ok(()),
    }
}

/// Takes in what is seen, journals what changed, and has it delivered.
struct Fold {
    view: SharedView,
    journal: Journal<Memory>,
    seen: mpsc::Receiver<Seen>,
    synced: watch::Sender<bool>,
    looks: watch::Receiver<Look>,
    config: Config,
    readiness: Readiness,
    unreadable: usize,
}

/// A delivery under way gives its exporter back with what became of the batch.
type Delivery = BoxFuture<'static, (Events, Settled)>;

impl Fold {
    /// While one batch is delivered the next collects, so that batching needs no timer.
    async fn run(
        mut self,
        connection: &Connection,
        quiet: &Arc<Quiet>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut idle = Some(Events::new(connection, Arc::clone(quiet)));
        let mut delivery: OptionFuture<Delivery> = None.into();
        let mut batch = Vec::with_capacity(SEEN_BATCH);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                count = self.seen.recv_many(&mut batch, SEEN_BATCH) => {
                    anyhow::ensure!(count > 0, "the watch ended");
                    self.take_in(&mut batch).await?;
                }
                Some((events, settled)) = &mut delivery => {
                    idle = Some(events);
                    delivery = None.into();
                    self.settle(&settled).await?;
                }
            }
            let next = self.journal.batch(BATCH_LIMIT);
            if let Some(events) = (!next.is_empty()).then(|| idle.take()).flatten() {
                delivery = Some(deliver(events, next).boxed()).into();
            }
        }
        self.drain(Events::new(connection, Arc::clone(quiet))).await;
        Ok(())
    }

    async fn take_in(&mut self, batch: &mut Vec<Seen>) -> anyhow::Result<()> {
        for seen in batch.drain(..) {
            let changes = self.fold(seen);
            self.append(changes);
        }
        self.journal.write().await?;
        Ok(())
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
        match seen {
            Seen::Restart => drop(self.synced.send_replace(false)),
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
            let versions = self.looks.borrow().versions(self.config.kamaji_version);
            self.journal.append(changes, versions);
        }
    }

    /// What is settled makes room for what waits.
    async fn settle(&mut self, settled: &Settled) -> anyhow::Result<()> {
        self.journal.settle(&settled.uids());
        let room = self.journal.room();
        let changes = self.view.lock().unwrap_or_else(PoisonError::into_inner).report_waiting(Timestamp::now(), room);
        self.append(changes);
        self.journal.write().await?;
        Ok(())
    }

    /// Delivers what is left, as far as the time goes.
    async fn drain(&mut self, mut events: Events) {
        let all = async {
            while self.journal.pending() > 0 {
                let settled = events.deliver(&self.journal.batch(BATCH_LIMIT)).await;
                self.journal.settle(&settled.uids());
            }
        };
        if tokio::time::timeout(DRAIN, all).await.is_err() {
            tracing::warn!(
                "{} events could not be delivered within {} s of the shutdown",
                self.journal.pending(),
                DRAIN.as_secs()
            );
        }
    }
}

async fn deliver(mut events: Events, batch: Vec<crate::signals::EventRecord>) -> (Events, Settled) {
    let settled = events.deliver(&batch).await;
    (events, settled)
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
