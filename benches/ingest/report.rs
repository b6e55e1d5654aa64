//! Runs everything, and prints it.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::load::{self, Acknowledged, Outcome, Shape};
use crate::process::Process;
use crate::requests::Kind;
use crate::spread::Spread;
use crate::{Scale, growth, overview, stored, usage};

/// What is sent: an agent alone; many agents, each with one call under way; as many calls as eight connections of
/// gateways have at most; batches with no more rows under way than half of what may wait in a store; a fleet's gauges.
const SHAPES: [Shape; 5] = [
    Shape { name: "one event, 1 agent", kind: Kind::Event, connections: 1, depth: 1 },
    Shape { name: "one event, 256 agents", kind: Kind::Event, connections: 256, depth: 1 },
    Shape { name: "one event, 8 gateways x 32", kind: Kind::Event, connections: 8, depth: 32 },
    Shape { name: "500 events, 16 agents", kind: Kind::Events, connections: 16, depth: 1 },
    Shape { name: "gauge snapshot, 256 agents", kind: Kind::Snapshot, connections: 256, depth: 1 },
];

/// What each kind is sent for before it is measured: until each installation has its rows, and every page its place.
const WARM_UP: Duration = Duration::from_millis(500);

/// What came of one shape in one round. Times are of a request: milliseconds, and microseconds of CPU.
#[derive(Debug, Clone, Copy)]
struct Measured {
    rows_a_second: f64,
    latencies: [f64; 3],
    server_cpu: f64,
    generator_cpu: f64,
}

/// Measures everything and prints it.
pub(crate) fn run(scale: Scale) -> anyhow::Result<()> {
    println!("machine: {}\ncommit:  {}", usage::machine(), usage::commit());
    ingest(scale)?;
    growth::run(scale.grown)?;
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
    println!("all that was acknowledged is in the file, once: checked after each round");
    Ok(())
}

/// All shapes against one server, whose file is then held against what was acknowledged.
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

/// Microseconds of CPU that the server has used.
fn cpu(server: &mut Process) -> anyhow::Result<f64> {
    let line = server.ask("")?;
    line.split(' ').next().unwrap_or_default().parse().context(line.clone())
}

impl Measured {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    fn of(shape: &Shape, outcome: &Outcome, server_cpu: f64) -> Self {
        let requests = outcome.requests as f64;
        Self {
            rows_a_second: requests * shape.kind.events().max(1) as f64 / outcome.elapsed.as_secs_f64(),
            latencies: [50, 95, 99].map(|percent| outcome.percentile(percent)),
            server_cpu: server_cpu / requests,
            generator_cpu: outcome.cpu.as_secs_f64() * 1e6 / requests,
        }
    }
}

/// A figure's name, the figure, and the digits behind the point.
type Row = (&'static str, fn(&Measured) -> f64, usize);

const ROWS: [Row; 6] = [
    ("rows a second", |measured| measured.rows_a_second, 0),
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
