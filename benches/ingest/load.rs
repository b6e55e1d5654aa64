//! Load: calls of one kind, always as many under way, for a while.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use uuid::Uuid;

use crate::connection::Connection;
use crate::requests::{Kind, MILLISECOND, Prepared};
use crate::samples::now;
use crate::usage;

/// Installations that send snapshots, one after the other: more than are ever under way, so that those of one are in order.
const INSTALLATIONS: usize = 2_000;

/// Calls that are under way at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) connections: usize,
    /// Calls under way on each.
    pub(crate) depth: usize,
}

/// What came of a load.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) requests: usize,
    pub(crate) elapsed: Duration,
    /// Of each request, sorted.
    pub(crate) latencies: Vec<Duration>,
    /// CPU of this process.
    pub(crate) cpu: Duration,
}

/// What was acknowledged in all.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    pub(crate) events: u64,
    /// The newest snapshot of each installation, in milliseconds.
    pub(crate) snapshots: Vec<(Uuid, u64)>,
}

/// What the connections share.
struct Source<'a> {
    kind: Kind,
    prepared: Prepared,
    random: fastrand::Rng,
    next: usize,
    latencies: Vec<Duration>,
    acknowledged: &'a mut Acknowledged,
}

/// The installation of a snapshot by its number, and its time in nanoseconds.
type Call = (usize, u64);

impl Acknowledged {
    pub(crate) fn new() -> Self {
        Self { events: 0, snapshots: (0..INSTALLATIONS).map(|_| (Uuid::new_v4(), 0)).collect() }
    }
}

impl Source<'_> {
    /// Prepares the next call.
    fn prepare(&mut self) -> Call {
        let installation = self.next % INSTALLATIONS;
        self.next += 1;
        if self.kind == Kind::Snapshot {
            let time = now();
            self.prepared.of(self.acknowledged.snapshots[installation].0, time);
            return (installation, time);
        }
        self.prepared.renew(&mut self.random);
        (0, 0)
    }

    fn answered(&mut self, (installation, time): Call, sent: Instant) {
        self.latencies.push(sent.elapsed());
        self.acknowledged.events += self.kind.events() as u64;
        if self.kind == Kind::Snapshot {
            let newest = &mut self.acknowledged.snapshots[installation].1;
            *newest = (time / MILLISECOND).max(*newest);
        }
    }
}

/// Sends calls of this shape for a while, and waits for the last answers. Each must be OK.
pub(crate) fn run(
    server: SocketAddr,
    shape: Shape,
    duration: Duration,
    acknowledged: &mut Acknowledged,
) -> anyhow::Result<Outcome> {
    let Shape { kind, connections, depth, .. } = shape;
    let source = RefCell::new(Source {
        kind,
        prepared: kind.prepare()?,
        random: fastrand::Rng::new(),
        next: 0,
        latencies: Vec::new(),
        acknowledged,
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (begun, used) = (Instant::now(), usage::cpu()?);
    let loads = (0..connections).map(|_| send(server, depth, begun + duration, &source));
    runtime.block_on(try_join_all(loads))?;
    let (elapsed, cpu) = (begun.elapsed(), usage::cpu()?.saturating_sub(used));
    let mut latencies = source.into_inner().latencies;
    latencies.sort_unstable();
    Ok(Outcome { requests: latencies.len(), elapsed, latencies, cpu })
}

/// One connection.
async fn send(server: SocketAddr, depth: usize, until: Instant, source: &RefCell<Source<'_>>) -> anyhow::Result<()> {
    let path = source.borrow().prepared.path.clone();
    let mut connection = Connection::open(server, &path).await?;
    loop {
        let is_over = Instant::now() >= until;
        if is_over && connection.pending() == 0 {
            return Ok(());
        }
        while !is_over && connection.pending() < depth {
            let source = &mut *source.borrow_mut();
            let call = source.prepare();
            if !connection.send(&source.prepared, call) {
                break;
            }
        }
        connection.answers(|call, sent| source.borrow_mut().answered(call, sent)).await?;
    }
}

impl Outcome {
    /// The latency that so many percent of the requests did not exceed, in milliseconds.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get(last * percent / 100).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    }
}
