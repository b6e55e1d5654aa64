//! A load on a server, and the figures of it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::load::{self, Acknowledged, Outcome, Shape};
use crate::process::Process;
use crate::spread::Spread;

/// The duration of a load before it is measured: until each installation has its rows and the pages are cached.
const WARM_UP: Duration = Duration::from_millis(500);

/// A process that serves a store.
pub(crate) struct BenchServer {
    process: Process,
    address: SocketAddr,
}

/// The use of the machine by a server since its start.
#[derive(Debug, Clone, Copy)]
struct Usage {
    /// In microseconds.
    cpu: f64,
    /// In bytes, by system calls.
    written: f64,
    /// In bytes, by pages that became dirty.
    accounted: f64,
}

/// The figures of a load in a round. Latencies are in milliseconds, CPU times in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) requests_per_second: f64,
    /// The number of records in a request.
    pub(crate) records: f64,
    pub(crate) latencies: [f64; 3],
    /// Of a request.
    pub(crate) server_cpu: f64,
    /// Of a request.
    pub(crate) generator_cpu: f64,
    /// Bytes of a request, by system calls: without a store, those to sockets.
    pub(crate) written: f64,
    /// Bytes of a request, by pages that became dirty.
    pub(crate) accounted: f64,
}

/// A row of a table: name, figure, and digits after the decimal point.
pub(crate) type Row = (&'static str, fn(&Measured) -> f64, usize);

impl BenchServer {
    /// Starts a server of the store in `file`, or of one that does nothing.
    pub(crate) fn start(file: Option<&Path>) -> anyhow::Result<Self> {
        let path = file.map(|file| file.display().to_string());
        let arguments: Vec<_> = ["serve"].into_iter().chain(path.as_deref()).collect();
        let mut process = Process::start(&arguments)?;
        let address = process.line()?.parse().context("expected an address")?;
        Ok(Self { process, address })
    }

    /// Puts a load on the server, and measures it after a while.
    pub(crate) fn measure(
        &mut self,
        shape: &Shape,
        duration: Duration,
        acknowledged: &mut Acknowledged,
    ) -> anyhow::Result<Measured> {
        load::run(self.address, *shape, load::after(WARM_UP), acknowledged)?;
        self.measure_until(shape, load::after(duration), acknowledged)
    }

    /// Puts a load on the server until `is_over`.
    pub(crate) fn measure_until(
        &mut self,
        shape: &Shape,
        is_over: impl Fn() -> bool,
        acknowledged: &mut Acknowledged,
    ) -> anyhow::Result<Measured> {
        let before = self.usage()?;
        let outcome = load::run(self.address, *shape, is_over, acknowledged)?;
        Ok(Measured::of(shape, &outcome, before, self.usage()?))
    }

    fn usage(&mut self) -> anyhow::Result<Usage> {
        let line = self.process.ask("")?;
        let figures: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [cpu, written, accounted] = figures[..] else { bail!("{line:?}: expected three figures") };
        Ok(Usage { cpu, written, accounted })
    }

    /// Ends the server, which writes what is queued.
    pub(crate) fn end(self) -> anyhow::Result<()> {
        self.process.end()
    }
}

impl Measured {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    fn of(shape: &Shape, outcome: &Outcome, before: Usage, after: Usage) -> Self {
        let requests = outcome.requests as f64;
        Self {
            requests_per_second: requests / outcome.elapsed.as_secs_f64(),
            records: shape.kind.records() as f64,
            latencies: [50, 95, 99].map(|percent| outcome.percentile(percent)),
            server_cpu: (after.cpu - before.cpu) / requests,
            generator_cpu: outcome.cpu.as_secs_f64() * 1e6 / requests,
            written: (after.written - before.written) / requests,
            accounted: (after.accounted - before.accounted) / requests,
        }
    }

    pub(crate) fn records_per_second(&self) -> f64 {
        self.requests_per_second * self.records
    }
}

/// Prints the figures of a load: those without a store, those with one, and the ratio of the medians.
pub(crate) fn print(name: &str, rows: &[Row], none: &[Measured], sqlite: &[Measured]) {
    println!("{name:<32}{:>28}{:>32}{:>14}", "no store", "SQLite", "SQLite/none");
    for (name, figure, digits) in rows {
        let [none, sqlite] = [none, sqlite].map(|rounds| Spread::of(rounds.iter().map(figure).collect()));
        let ratio = if none.median > 0.0 { format!("{:.2}", sqlite.median / none.median) } else { String::new() };
        println!("  {name:<30}{:>28}{:>32}{ratio:>14}", none.show(*digits), sqlite.show(*digits));
    }
    println!();
}
