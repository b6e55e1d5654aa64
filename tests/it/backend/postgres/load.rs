//! Senders, and what was acknowledged to them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use prost::Message;
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::super::harness::{PROTOBUF, Reply, try_request};
use super::super::samples::{created, deleted, logs_request, metrics_request, now, state_gauges, updated};
use super::balancer::Balancer;
use crate::servers::DEADLINE;

/// Senders at once.
const SENDERS: usize = 8;

/// The number of events in a request.
const EVENTS: usize = 20;

/// Installations of each sender. Their rows are updated again and again.
const INSTALLATIONS: usize = 4;

/// The hours over which events are spread.
const HOURS: u64 = 29 * 24;

/// The time after which a sender gives up: twice the 5 s after which a backend has answered.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause after a request that was not acknowledged. An agent waits longer; a short one shows when it goes on.
const PAUSE: Duration = Duration::from_millis(50);

/// The requests of all senders, and what became of them.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The events that were acknowledged.
    pub(crate) events: Vec<Uuid>,
    /// The last acknowledged number of running control planes of each installation.
    pub(crate) running: BTreeMap<Uuid, i64>,
    pub(crate) counts: Counts,
}

/// Numbers of answers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) acknowledged: usize,
    /// Answers of 503, all with a time to try again.
    pub(crate) unavailable: usize,
    /// Connections that ended without an answer.
    pub(crate) lost: usize,
    /// The longest time to an answer.
    pub(crate) slowest: Duration,
}

/// Running senders.
pub(crate) struct Load {
    senders: JoinSet<Sender>,
    is_over: Arc<AtomicBool>,
    /// The numbers of requests that were sent and that were acknowledged.
    progress: watch::Receiver<Progress>,
    /// Ends after the senders.
    _balancer: Balancer,
}

/// Numbers of requests of all senders.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    sent: usize,
    acknowledged: usize,
}

/// The requests of one sender, each of which is sent until it is acknowledged.
struct Sender {
    installations: Vec<Uuid>,
    ledger: Ledger,
    address: SocketAddr,
    progress: Arc<watch::Sender<Progress>>,
}

impl Load {
    /// Starts senders, which send through a proxy without a pause.
    pub(crate) fn start(balancer: Balancer) -> Self {
        let (sender, progress) = watch::channel(Progress::default());
        let (sender, is_over) = (Arc::new(sender), Arc::new(AtomicBool::new(false)));
        let mut senders = JoinSet::new();
        for _ in 0..SENDERS {
            let installations = (0..INSTALLATIONS).map(|_| Uuid::new_v4()).collect();
            let ledger = Ledger::default();
            let sender = Sender { installations, ledger, address: balancer.address(), progress: Arc::clone(&sender) };
            senders.spawn(sender.run(Arc::clone(&is_over)));
        }
        Self { senders, is_over, progress, _balancer: balancer }
    }

    /// Returns the number of acknowledged requests so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.progress.borrow().acknowledged
    }

    /// Waits until this many requests were sent, whether they are acknowledged or not.
    pub(crate) async fn sends(&self, requests: usize) {
        self.wait_for("no requests are sent", |progress| progress.sent >= requests).await;
    }

    /// Waits until this many more requests were acknowledged, and returns the time until the first of them.
    pub(crate) async fn goes_on(&self, requests: usize) -> Duration {
        let (start, before) = (Instant::now(), self.acknowledged());
        self.wait_for("nothing is acknowledged", |progress| progress.acknowledged > before).await;
        let first = start.elapsed();
        self.wait_for("too little is acknowledged", |progress| progress.acknowledged >= before + requests).await;
        first
    }

    async fn wait_for(&self, otherwise: &str, condition: impl Fn(&Progress) -> bool) {
        let mut progress = self.progress.clone();
        let reached = tokio::time::timeout(DEADLINE, progress.wait_for(condition)).await;
        let reached = reached.unwrap_or_else(|_| panic!("{otherwise} in {DEADLINE:?}")).map(drop);
        // A sender that failed has printed why.
        reached.expect("the senders go on");
    }

    /// Ends the senders, each once its last request is acknowledged, and adds what they did to a ledger.
    pub(crate) async fn end(self, ledger: &mut Ledger) {
        self.is_over.store(true, Ordering::Relaxed);
        let ended = tokio::time::timeout(DEADLINE, self.senders.join_all()).await;
        for sender in ended.unwrap_or_else(|_| panic!("requests are not acknowledged in {DEADLINE:?}")) {
            ledger.events.extend(sender.ledger.events);
            ledger.running.extend(sender.ledger.running);
            ledger.counts.add(sender.ledger.counts);
        }
    }
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.unavailable += other.unavailable;
        self.lost += other.lost;
        self.slowest = self.slowest.max(other.slowest);
    }
}

impl Sender {
    /// Sends events and gauges by turns.
    async fn run(mut self, is_over: Arc<AtomicBool>) -> Self {
        for number in 1.. {
            if number % 2 == 0 {
                self.send_events().await;
            } else {
                self.send_gauges(number).await;
            }
            self.progress.send_modify(|progress| progress.acknowledged += 1);
            if is_over.load(Ordering::Relaxed) {
                break;
            }
        }
        self
    }

    async fn send_events(&mut self) {
        let uids: Vec<_> = (0..EVENTS).map(|_| Uuid::new_v4()).collect();
        let record = |uid: &Uuid| {
            let time = now() - fastrand::u64(0..HOURS) * 3_600 * 1_000_000_000;
            [created, updated, deleted][fastrand::usize(0..3)](*uid, time)
        };
        let body = logs_request(uids.iter().map(record).collect()).encode_to_vec();
        self.send_until_acknowledged("/v1/logs", &body).await;
        self.ledger.events.extend(uids);
    }

    /// Sends the gauges of the next installation: the number of its running control planes grows.
    async fn send_gauges(&mut self, number: usize) {
        let installation = self.installations[number / 2 % INSTALLATIONS];
        let running = i64::try_from(number).unwrap();
        let body = metrics_request(installation, state_gauges([running, 1, 1, 0], now())).encode_to_vec();
        self.send_until_acknowledged("/v1/metrics", &body).await;
        self.ledger.running.insert(installation, running);
    }

    async fn send_until_acknowledged(&mut self, path: &str, body: &[u8]) {
        let (address, counts) = (self.address, &mut self.ledger.counts);
        loop {
            let start = Instant::now();
            self.progress.send_modify(|progress| progress.sent += 1);
            let answer = tokio::time::timeout(PATIENCE, try_request(address, "POST", path, &[PROTOBUF], body)).await;
            let answer = answer.unwrap_or_else(|_| panic!("no answer in {PATIENCE:?}"));
            counts.slowest = counts.slowest.max(start.elapsed());
            match answer {
                Some(Reply { status: 200, .. }) => break,
                Some(reply) => {
                    let has_time = reply.header("retry-after").is_some();
                    assert!(reply.status == 503 && has_time, "{reply:?}");
                    counts.unavailable += 1;
                }
                None => counts.lost += 1,
            }
            tokio::time::sleep(PAUSE).await;
        }
        counts.acknowledged += 1;
    }
}
