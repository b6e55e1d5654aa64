//! The cost of receiving and storing telemetry: `cargo bench --bench ingest`, or `cargo bench --bench ingest --
//! --quick`, which takes a minute with smaller sizes and fewer rounds.
//!
//! A separate process serves a backend, once with a store in a file and once with a store that does nothing. This
//! process sends prepared bytes over real sockets and counts the acknowledged records, which must equal those in the
//! file. The two servers take turns, so that other load on the machine affects both. A further figure is the growth of the
//! file.
//!
//! Stores as large as in production are measured one at a time, since each is filled first:
//! - `-- --stored EVENTS [HOURS]`: loads of events on a store that has as many events, of the last 720 hours or fewer;
//! - `-- --installations NUMBER`: gauges of installations that are known;
//! - `-- --start EVENTS`: time and memory of the start, which reads the uids of events;
//! - `-- --backup GIGABYTES`: a backup beside a load;
//! - `-- --shrink GIGABYTES`: the file's size after most of its rows were deleted.

#[path = "../shared/backend.rs"]
mod backend;
mod backup;
#[path = "../shared/budget.rs"]
mod budget;
mod connection;
mod fill;
mod generated;
mod growth;
mod load;
mod measured;
mod null_store;
#[path = "../shared/process.rs"]
mod process;
mod report;
mod requests;
#[path = "../../tests/it/backend/samples.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the tests' own, of which not all is sent here")]
mod samples;
mod server;
mod sized;
#[path = "../shared/spread.rs"]
mod spread;
mod start;
mod stored;
#[path = "../shared/usage.rs"]
mod usage;

use anyhow::{Context, bail};

/// The size of the measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// The number of rounds of both servers, odd so that the median is a measured value.
    pub(crate) rounds: usize,
    /// The duration of each load in a round, in seconds.
    pub(crate) seconds: u64,
    /// The number of installations whose year is stored.
    pub(crate) growth_installations: u32,
}

const FULL: Scale = Scale { rounds: 5, seconds: 3, growth_installations: 500 };

const QUICK: Scale = Scale { rounds: 1, seconds: 2, growth_installations: 50 };

fn main() -> anyhow::Result<()> {
    // cargo adds --bench.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => report::run(FULL),
        ["--quick"] => report::run(QUICK),
        ["--stored", events] => sized::events(number(events)?, start::HOURS),
        ["--stored", events, hours] => sized::events(number(events)?, number(hours)?),
        ["--installations", installations] => sized::installations(number(installations)?),
        ["--start", events] => start::run(number(events)?),
        ["--backup", gigabytes] => backup::run(number(gigabytes)?),
        ["--shrink", gigabytes] => backup::shrink(number(gigabytes)?),
        ["open", file] => start::open(file.as_ref()),
        ["backup", file, copy] => backup::run_backup(file.as_ref(), copy.as_ref()),
        ["serve"] => server::run(None),
        ["serve", file] => server::run(Some(file.as_ref())),
        _ => bail!("unexpected arguments {arguments:?}: expected none, or those that benches/ingest/main.rs explains"),
    }
}

fn number(text: &str) -> anyhow::Result<u32> {
    text.parse().with_context(|| format!("{text:?}: expected a number"))
}
