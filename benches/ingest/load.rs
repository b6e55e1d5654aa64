//! A load: requests of one kind, with a constant number in flight.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use uuid::Uuid;

use crate::connection::Connection;
use crate::requests::{Kind, MILLISECOND, Prepared};
use crate::samples::now;
use crate::usage;

/// The number of installations that send snapshots in turn: more than are in flight, so that those of each are in
/// order.
const INSTALLATIONS: usize = 2_000;

/// The shape of a load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) connections: usize,
    /// The number of calls in flight on each connection.
    pub(crate) depth: usize,
}

/// The outcome of a load.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) requests: usize,
    pub(crate) elapsed: Duration,
    /// The latency of each request, sorted.
    pub(crate) latencies: Vec<Duration>,
    /// The CPU time of this process.
    pub(crate) cpu: Duration,
}

/// All acknowledged records.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    pub(crate) events: u64,
    /// The time of the newest snapshot of each installation, in milliseconds.
    pub(crate) snapshots: Vec<(Uuid, u64)>,
}

/// The state that the connections share.
struct Generator<'a> {
    kind: Kind,
    prepared: Prepared,
    random: fastrand::Rng,
    next: usize,
    latencies: Vec<Duration>,
    acknowledged: &'a mut Acknowledged,
}

/// The number of the installation of a snapshot, and its time in nanoseconds.
type Call = (usize, u64);

impl Acknowledged {
    pub(crate) fn new() -> Self {
        Self { events: 0, snapshots: (0..INSTALLATIONS).map(|_| (Uuid::new_v4(), 0)).collect() }
    }
}

impl Generator<'_> {
    /// Prepares the next call.
    fn prepare(&mut self) -> Call {
        let installation = self.next % INSTALLATIONS;
        self.next += 1;
        if self.kind == Kind::Snapshot {
            let time = now();
            self.prepared.set_snapshot(self.acknowledged.snapshots[installation].0, time);
            return (installation, time);
        }
        self.prepared.set_new_events(&mut self.random);
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

/// Sends requests of this shape for `duration`, and waits for the last responses. Fails if one is not OK.
pub(crate) fn run(
    server: SocketAddr,
    shape: Shape,
    duration: Duration,
    acknowledged: &mut Acknowledged,
) -> anyhow::Result<Outcome> {
    let Shape { kind, connections, depth, .. } = shape;
    let generator = RefCell::new(Generator {
        kind,
        prepared: kind.prepare()?,
        random: fastrand::Rng::new(),
        next: 0,
        latencies: Vec::new(),
        acknowledged,
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (started, used) = (Instant::now(), usage::cpu()?);
    let connections = (0..connections).map(|_| send(server, depth, started + duration, &generator));
    runtime.block_on(try_join_all(connections))?;
    let (elapsed, cpu) = (started.elapsed(), usage::cpu()?.saturating_sub(used));
    let mut latencies = generator.into_inner().latencies;
    latencies.sort_unstable();
    Ok(Outcome { requests: latencies.len(), elapsed, latencies, cpu })
}

/// Sends requests over one connection.
async fn send(
    server: SocketAddr,
    depth: usize,
    until: Instant,
    generator: &RefCell<Generator<'_>>,
) -> anyhow::Result<()> {
    let path = generator.borrow().prepared.path.clone();
    let mut connection = Connection::open(server, &path).await?;
    loop {
        let is_over = Instant::now() >= until;
        if is_over && connection.pending() == 0 {
            return Ok(());
        }
        while !is_over && connection.pending() < depth {
            let generator = &mut *generator.borrow_mut();
            let call = generator.prepare();
            if !connection.send(&generator.prepared, call) {
                break;
            }
        }
        connection.exchange(|call, sent| generator.borrow_mut().answered(call, sent)).await?;
    }
}

impl Outcome {
    /// Returns a percentile of the latencies, in milliseconds.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get(last * percent / 100).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    }
}
