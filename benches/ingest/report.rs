//! Runs all measurements and prints the figures.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::load::{self, Acknowledged, Outcome, Shape};
use crate::process::Process;
use crate::requests::Kind;
use crate::spread::Spread;
use crate::{Scale, growth, overview, stored, usage};

/// The loads: a single agent; many agents with one call in flight each; eight connections of gateways with as many
/// calls as they can have; batches with at most half as many records in flight as may wait in a store; the gauges of a
/// fleet.
const SHAPES: [Shape; 5] = [
    Shape { name: "one event, 1 agent", kind: Kind::Event, connections: 1, depth: 1 },
    Shape { name: "one event, 256 agents", kind: Kind::Event, connections: 256, depth: 1 },
    Shape { name: "one event, 8 gateways x 32", kind: Kind::Event, connections: 8, depth: 32 },
    Shape { name: "500 events, 16 agents", kind: Kind::Events, connections: 16, depth: 1 },
    Shape { name: "gauge snapshot, 256 agents", kind: Kind::Snapshot, connections: 256, depth: 1 },
];

/// The duration of a load before it is measured: until each installation has its rows and the pages are cached.
const WARM_UP: Duration = Duration::from_millis(500);

/// The figures of a load in a round. Latencies are in milliseconds, CPU times in microseconds per request.
#[derive(Debug, Clone, Copy)]
struct Measured {
    records_per_second: f64,
    latencies: [f64; 3],
    server_cpu: f64,
    generator_cpu: f64,
}

/// Runs all measurements.
pub(crate) fn run(scale: Scale) -> anyhow::Result<()> {
    println!("machine: {}\ncommit:  {}", usage::machine(), usage::commit());
    ingest(scale)?;
    growth::run(scale.growth_installations)?;
    scale.overviews.iter().try_for_each(|(installations, days)| overview::run(*installations, *days))
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
        print(shape, &none, &sqlite);
    }
    println!("after each round, the file has exactly the acknowledged records");
    Ok(())
}

/// Runs all loads against one server, and compares its file with the acknowledged records.
fn round(file: Option<&Path>, seconds: u64) -> anyhow::Result<Vec<Measured>> {
    let path = file.map(|file| file.display().to_string());
    let arguments: Vec<_> = ["serve"].into_iter().chain(path.as_deref()).collect();
    let mut server = Process::start(&arguments)?;
    let address = server.line()?.parse().context("expected an address")?;
    let mut acknowledged = Acknowledged::new();
    let mut measure = |shape: &Shape| {
        load::run(address, *shape, WARM_UP, &mut acknowledged)?;
        let before = cpu(&mut server)?;
        let outcome = load::run(address, *shape, Duration::from_secs(seconds), &mut acknowledged)?;
        Ok(Measured::of(shape, &outcome, cpu(&mut server)? - before))
    };
    let measured = SHAPES.iter().map(&mut measure).collect::<anyhow::Result<_>>()?;
    server.end()?;
    file.map_or(Ok(()), |file| stored::check(file, &acknowledged))?;
    Ok(measured)
}

/// Returns the CPU time that the server has used, in microseconds.
fn cpu(server: &mut Process) -> anyhow::Result<f64> {
    let line = server.ask("")?;
    line.split(' ').next().unwrap_or_default().parse().context(line.clone())
}

impl Measured {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    fn of(shape: &Shape, outcome: &Outcome, server_cpu: f64) -> Self {
        let requests = outcome.requests as f64;
        Self {
            records_per_second: requests * shape.kind.events().max(1) as f64 / outcome.elapsed.as_secs_f64(),
            latencies: [50, 95, 99].map(|percent| outcome.percentile(percent)),
            server_cpu: server_cpu / requests,
            generator_cpu: outcome.cpu.as_secs_f64() * 1e6 / requests,
        }
    }
}

/// A row of the table: name, figure, and digits after the decimal point.
type Row = (&'static str, fn(&Measured) -> f64, usize);

const ROWS: [Row; 6] = [
    ("records a second", |measured| measured.records_per_second, 0),
    ("latency p50, ms", |measured| measured.latencies[0], 2),
    ("latency p95, ms", |measured| measured.latencies[1], 2),
    ("latency p99, ms", |measured| measured.latencies[2], 2),
    ("server's CPU a request, us", |measured| measured.server_cpu, 1),
    ("generator's CPU a request, us", |measured| measured.generator_cpu, 1),
];

fn print(shape: &Shape, none: &[Measured], sqlite: &[Measured]) {
    println!("{:<32}{:>28}{:>28}{:>14}", shape.name, "no store", "SQLite", "SQLite/none");
    for (name, figure, digits) in ROWS {
        let [none, sqlite] = [none, sqlite].map(|rounds| Spread::of(rounds.iter().map(figure).collect()));
        let ratio = sqlite.median / none.median;
        println!("  {name:<30}{:>28}{:>28}{ratio:>14.2}", none.show(digits), sqlite.show(digits));
    }
    println!();
}
