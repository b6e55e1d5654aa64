//! A load: requests of one kind, with a constant number in flight.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use uuid::Uuid;

use crate::connection::Connection;
use crate::requests::{COUNTS, Kind, Prepared};
use crate::samples::now;
use crate::usage;

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
    /// The installations that send snapshots in turn: more than calls are in flight, so that those of each are in
    /// order.
    pub(crate) installations: Vec<LoadInstallation>,
}

/// An installation that sends snapshots.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoadInstallation {
    pub(crate) uuid: Uuid,
    /// The running control planes of its newest snapshot.
    pub(crate) running: u32,
    pub(crate) is_acknowledged: bool,
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

impl Acknowledged {
    /// Nothing is acknowledged of `installations`, which send in this order.
    pub(crate) fn new(installations: impl Iterator<Item = Uuid>) -> Self {
        let [running, ..] = COUNTS;
        let new = |uuid| LoadInstallation { uuid, running, is_acknowledged: false };
        Self { events: 0, installations: installations.map(new).collect() }
    }
}

impl Generator<'_> {
    /// Prepares the next call. Returns the position of the installation of a snapshot.
    fn prepare(&mut self) -> usize {
        let Self { kind, prepared, random, next, acknowledged, .. } = self;
        if let Kind::Events(_) = kind {
            prepared.set_new_events(random);
            return 0;
        }
        let position = *next % acknowledged.installations.len();
        *next += 1;
        let LoadInstallation { uuid, running, .. } = &mut acknowledged.installations[position];
        *running += u32::from(kind.changes(random));
        prepared.set_snapshot(*uuid, now(), *running);
        position
    }

    fn answered(&mut self, position: usize, sent: Instant) {
        self.latencies.push(sent.elapsed());
        self.acknowledged.events += self.kind.events() as u64;
        if self.kind.events() == 0 {
            self.acknowledged.installations[position].is_acknowledged = true;
        }
    }
}

/// Returns a condition that is true after `duration`.
pub(crate) fn after(duration: Duration) -> impl Fn() -> bool {
    let end = Instant::now() + duration;
    move || Instant::now() >= end
}

/// Sends requests of this shape until `is_over`, and waits for the last responses. Fails if one is not OK.
pub(crate) fn run(
    server: SocketAddr,
    shape: Shape,
    is_over: impl Fn() -> bool,
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
    let connections = (0..connections).map(|_| send(server, depth, &is_over, &generator));
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
    is_over: &impl Fn() -> bool,
    generator: &RefCell<Generator<'_>>,
) -> anyhow::Result<()> {
    let path = generator.borrow().prepared.path.clone();
    let mut connection = Connection::open(server, &path).await?;
    loop {
        let is_over = is_over();
        if is_over && connection.pending() == 0 {
            return Ok(());
        }
        while !is_over && connection.pending() < depth && connection.has_room(&generator.borrow().prepared) {
            let generator = &mut *generator.borrow_mut();
            let call = generator.prepare();
            connection.send(&generator.prepared, call);
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
