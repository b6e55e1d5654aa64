//! The time of each question and page on the rollups of a large fleet: `cargo bench --bench insights`, or `cargo bench
//! --bench insights -- INSTALLATIONS DAYS` at another size.
//!
//! The rollups are those of 24 versions of Kamaji, 12 of Kubernetes and 3 of agents, with a row for each combination on
//! each day. Each question is asked alone, and then while gauges come in; each page is read over HTTP, without what
//! readers share.

#[path = "../shared/budget.rs"]
mod budget;
mod fill;
mod pages;
mod questions;
#[path = "../shared/usage.rs"]
#[allow(dead_code, reason = "the CPU time and memory are for other benchmarks")]
mod usage;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use jiff::Timestamp;
use kamaji_telemetry::backend::store::{Hour, SqliteStore};
use rusqlite::Connection;

fn main() -> anyhow::Result<()> {
    // cargo adds --bench.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match &arguments[..] {
        [] => run(1_000_000, 365),
        [installations, days] => run(number(installations)?, number(days)?),
        _ => bail!("unexpected arguments {arguments:?}: expected none, or a number of installations and one of days"),
    }
}

fn number(text: &str) -> anyhow::Result<i64> {
    text.parse().with_context(|| format!("{text:?}: expected a number"))
}

fn run(installations: i64, days: i64) -> anyhow::Result<()> {
    println!("machine: {}\ncommit:  {}", usage::machine(), usage::commit());
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("telemetry.db");
    drop(SqliteStore::open(&file)?);
    let started = Instant::now();
    let today = Hour::of(Timestamp::now()).day().number();
    fill::fill(&mut Connection::open(&file)?, installations, days, today.into())?;
    println!(
        "\nrollups of {installations} installations and {days} days: {} MB, written in {:.1?}\n",
        file.metadata()?.len() / 1_000_000,
        started.elapsed()
    );
    let store = Arc::new(SqliteStore::open(&file)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        questions::measure(&store).await?;
        pages::measure(store).await
    })
}

/// The times of one thing, in their order.
struct Times(Vec<Duration>);

impl Times {
    /// Measures something so many times.
    async fn of<E>(times: usize, mut run: impl AsyncFnMut() -> Result<(), E>) -> Result<Self, E> {
        let mut all = Vec::with_capacity(times);
        for _ in 0..times {
            let started = Instant::now();
            run().await?;
            all.push(started.elapsed());
        }
        all.sort_unstable();
        Ok(Self(all))
    }

    /// Returns a percentile in milliseconds.
    fn at(&self, percent: usize) -> f64 {
        self.0[(self.0.len() - 1) * percent / 100].as_secs_f64() * 1_000.0
    }

    /// Returns the median, the 99th percentile and the longest, in milliseconds.
    fn show(&self) -> String {
        format!("{:8.1} {:8.1} {:8.1}", self.at(50), self.at(99), self.at(100))
    }
}
