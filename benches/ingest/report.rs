//! Runs all measurements and prints the figures.

use std::path::Path;
use std::time::Duration;

use uuid::Uuid;

use crate::budget::add_row;
use crate::load::{Acknowledged, Shape};
use crate::measured::{self, BenchServer, Measured, Row};
use crate::requests::Kind;
use crate::spread::Spread;
use crate::{Scale, growth, stored, usage};

/// The loads: a single agent; many agents with one call in flight each; eight connections of gateways with as many
/// calls as they can have; batches with at most half as many records in flight as may wait in a store; the gauges of a
/// fleet.
const SHAPES: [Shape; 5] = [
    Shape { name: "one event, 1 agent", kind: Kind::Events(1), connections: 1, depth: 1 },
    Shape { name: "one event, 256 agents", kind: Kind::Events(1), connections: 256, depth: 1 },
    Shape { name: "one event, 8 gateways x 32", kind: Kind::Events(1), connections: 8, depth: 32 },
    Shape { name: "500 events, 16 agents", kind: Kind::Events(500), connections: 16, depth: 1 },
    Shape { name: "gauge snapshot, 256 agents", kind: Kind::Snapshot, connections: 256, depth: 1 },
];

/// The number of installations that send snapshots in turn.
const INSTALLATIONS: usize = 2_000;

const ROWS: [Row; 8] = [
    ("records a second", Measured::records_per_second, 0),
    ("latency p50, ms", |measured| measured.latencies[0], 2),
    ("latency p95, ms", |measured| measured.latencies[1], 2),
    ("latency p99, ms", |measured| measured.latencies[2], 2),
    ("server's CPU a request, us", |measured| measured.server_cpu, 1),
    ("generator's CPU a request, us", |measured| measured.generator_cpu, 1),
    ("bytes written a request", |measured| measured.written, 0),
    ("write_bytes a request", |measured| measured.accounted, 0),
];

/// Prints the machine and the commit.
pub(crate) fn print_head() {
    println!("machine: {}\ncommit:  {}", usage::machine(), usage::commit());
}

/// Runs all measurements.
pub(crate) fn run(scale: Scale) -> anyhow::Result<()> {
    print_head();
    ingest(scale)?;
    growth::run(scale.growth_installations)
}

fn ingest(Scale { rounds, seconds, .. }: Scale) -> anyhow::Result<()> {
    println!("OTLP over gRPC, {rounds} rounds of {seconds} s each, medians (least to most)\n");
    let (mut none, mut sqlite) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let folder = tempfile::tempdir()?;
        none.push(round(None, seconds)?);
        sqlite.push(round(Some(&folder.path().join("telemetry.db")), seconds)?);
    }
    for (position, shape) in SHAPES.iter().enumerate() {
        let [none, sqlite] =
            [&none, &sqlite].map(|rounds| rounds.iter().map(|round| round[position]).collect::<Vec<_>>());
        measured::print(shape.name, &ROWS, &none, &sqlite);
        add_rows(shape, &none, &sqlite)?;
    }
    println!("after each round, the file has exactly the acknowledged records");
    Ok(())
}

/// Runs all loads against one server, and compares its file with the acknowledged records.
fn round(file: Option<&Path>, seconds: u64) -> anyhow::Result<Vec<Measured>> {
    let mut server = BenchServer::start(file)?;
    let mut acknowledged = Acknowledged::new((0..INSTALLATIONS).map(|_| Uuid::new_v4()));
    let mut measure = |shape| server.measure(shape, Duration::from_secs(seconds), &mut acknowledged);
    let measured = SHAPES.iter().map(&mut measure).collect::<anyhow::Result<_>>()?;
    server.end()?;
    file.map_or(Ok(()), |file| stored::check(file, 0, &acknowledged))?;
    Ok(measured)
}

/// The largest CPU time of a request with one event, in microseconds.
const MAX_CPU: f64 = 90.0;

/// The least part of the throughput of a store that does nothing, but for batches, which one writer can't reach.
const MIN_RATIO: f64 = 0.5;

/// Adds what was reached to the table of budgets.
fn add_rows(shape: &Shape, none: &[Measured], sqlite: &[Measured]) -> anyhow::Result<()> {
    let median =
        |rounds: &[Measured], figure: fn(&Measured) -> f64| Spread::of(rounds.iter().map(figure).collect()).median;
    let what = |figure: &str| format!("backend, {}: {figure}", shape.name);
    if matches!(shape.kind, Kind::Events(1)) {
        let cpu = median(sqlite, |measured| measured.server_cpu);
        add_row(&what("CPU a request, stored"), &format!("{cpu:.0} µs"), "≤ 90 µs", cpu <= MAX_CPU)?;
    }
    if shape.connections > 1 && !matches!(shape.kind, Kind::Events(2..)) {
        let [stored, none] = [sqlite, none].map(|rounds| median(rounds, Measured::records_per_second));
        let ratio = stored / none;
        add_row(&what("throughput to no store"), &format!("{ratio:.2}"), "≥ 0.5", ratio >= MIN_RATIO)?;
    }
    Ok(())
}
