//! The cost of storing telemetry in a store as large as in production, beside that of a store that does nothing.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use jiff::Timestamp;
use kamaji_telemetry::backend::store::Hour;
use uuid::Uuid;

use crate::load::{Acknowledged, Shape};
use crate::measured::{self, BenchServer, Measured, Row};
use crate::report::print_head;
use crate::requests::Kind;
use crate::{fill, stored};

/// The number of rounds of both servers, odd so that the median is a measured value.
const ROUNDS: usize = 3;

/// The duration of each load in a round: some tens of merges and checkpoints.
const DURATION: Duration = Duration::from_secs(5);

/// The most calls in flight, with which each installation's snapshots are still in order.
const AGENTS: usize = 256;

/// The loads of events: from agents directly, and in the batches of gateways and of agents that were away.
const EVENTS: [Shape; 4] = [
    Shape { name: "one event, 256 agents", kind: Kind::Events(1), connections: AGENTS, depth: 1 },
    Shape { name: "64 events, 16 agents", kind: Kind::Events(64), connections: 16, depth: 1 },
    Shape { name: "256 events, 16 agents", kind: Kind::Events(256), connections: 16, depth: 1 },
    Shape { name: "500 events, 16 agents", kind: Kind::Events(500), connections: 16, depth: 1 },
];

const SNAPSHOTS: [Shape; 1] =
    [Shape { name: "gauge snapshot, 256 agents", kind: Kind::ChangingSnapshot, connections: AGENTS, depth: 1 }];

const ROWS: [Row; 6] = [
    ("records a second", Measured::records_per_second, 0),
    ("latency p50, ms", |measured| measured.latencies[0], 2),
    ("latency p99, ms", |measured| measured.latencies[2], 2),
    ("server's CPU a record, us", |measured| measured.server_cpu / measured.records, 1),
    ("bytes written a record", |measured| measured.written / measured.records, 0),
    ("write_bytes a record", |measured| measured.accounted / measured.records, 0),
];

/// A filled store.
struct FilledStore<'a> {
    file: &'a Path,
    events: u64,
    installations: Vec<Uuid>,
}

/// Measures loads of events on a store of `events` events, evenly over the last `hours` hours. The load's are of the
/// current hour.
pub(crate) fn events(events: u32, hours: u32) -> anyhow::Result<()> {
    ensure!((1..=720).contains(&hours), "{hours} hours: expected 1 to 720, of which events are accepted");
    print_head();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("filled.db");
    print_filled(&file, &format!("{events} events of the last {hours} hours"), || fill::events(&file, events, hours))?;
    FilledStore { file: &file, events: events.into(), installations: vec![] }.measure(&EVENTS)
}

/// Measures snapshots of installations, in random order, of which all were received before and one in twelve says
/// something new.
pub(crate) fn installations(installations: u32) -> anyhow::Result<()> {
    let least = 2 * AGENTS;
    ensure!(installations as usize >= least, "{installations} installations: expected {least} or more");
    print_head();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("filled.db");
    let mut uuids: Vec<_> = (0..installations).map(|_| Uuid::new_v4()).collect();
    uuids.sort_unstable();
    let hour = Hour::of(Timestamp::now());
    print_filled(&file, &format!("{installations} installations"), || fill::installations(&file, &uuids))?;
    fastrand::shuffle(&mut uuids);
    FilledStore { file: &file, events: 0, installations: uuids }.measure(&SNAPSHOTS)?;
    if Hour::of(Timestamp::now()) != hour {
        println!("an hour has begun meanwhile: the next snapshot of each installation said something new");
    }
    Ok(())
}

fn print_filled(path: &Path, what: &str, fill: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let start = Instant::now();
    fill()?;
    println!("{what}: stored in {:.1?}, file {} MB", start.elapsed(), path.metadata()?.len() / 1_000_000);
    Ok(())
}

impl FilledStore<'_> {
    /// Measures each load on a copy of the file.
    fn measure(&self, shapes: &[Shape]) -> anyhow::Result<()> {
        println!("OTLP over gRPC, {ROUNDS} rounds of {DURATION:?} each, medians (least to most)\n");
        for shape in shapes {
            let (mut none, mut sqlite) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                none.push(self.round(shape, None)?);
                let copy = self.file.with_file_name("telemetry.db");
                fs::copy(self.file, &copy)?;
                sqlite.push(self.round(shape, Some(&copy))?);
            }
            measured::print(shape.name, &ROWS, &none, &sqlite);
        }
        println!("after each round, the file has exactly the acknowledged records");
        Ok(())
    }

    /// Runs a load, and compares the file with the acknowledged records.
    fn round(&self, shape: &Shape, copy: Option<&Path>) -> anyhow::Result<Measured> {
        let mut server = BenchServer::start(copy)?;
        let mut acknowledged = Acknowledged::new(self.installations.iter().copied());
        let measured = server.measure(shape, DURATION, &mut acknowledged)?;
        server.end()?;
        copy.map_or(Ok(()), |copy| stored::check(copy, self.events, &acknowledged))?;
        Ok(measured)
    }
}
