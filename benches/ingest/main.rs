//! What it costs to take telemetry in and to keep it: `cargo bench --bench ingest`, or in a minute, with less of
//! everything, `cargo bench --bench ingest -- --quick`.
//!
//! A process of its own serves a backend, once with a store in a file and once with one that does nothing; this process
//! sends it prepared bytes over real sockets, and counts what was acknowledged, which must be what is in the file. The
//! two take turns, so that a busy moment of the machine hits both. Then: how a file grows, and how long the overview
//! takes on a large one. `-- overview INSTALLATIONS DAYS` measures the last alone, with another size.

mod connection;
mod growth;
mod load;
mod nothing;
mod overview;
#[path = "../shared/process.rs"]
mod process;
mod report;
mod requests;
#[path = "../../tests/it/backend/samples.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the tests' own, of which not all is sent here")]
mod samples;
mod server;
#[path = "../shared/spread.rs"]
mod spread;
mod stored;
#[path = "../shared/usage.rs"]
mod usage;

use anyhow::{Context, bail};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// Rounds of both servers: an odd number has a median that was measured.
    pub(crate) rounds: usize,
    /// How long each kind of request is sent in a round.
    pub(crate) seconds: u64,
    /// Installations whose year is stored.
    pub(crate) grown: u32,
    /// Sizes of the stores of which the overview is asked: installations, and days with rows.
    pub(crate) overviews: &'static [(u32, u32)],
}

const WHOLE: Scale = Scale { rounds: 5, seconds: 3, grown: 500, overviews: &[(10_000, 365), (1_000_000, 2)] };

const QUICK: Scale = Scale { rounds: 1, seconds: 2, grown: 50, overviews: &[(10_000, 30)] };

fn main() -> anyhow::Result<()> {
    // cargo adds --bench.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => report::run(WHOLE),
        ["--quick"] => report::run(QUICK),
        ["overview", installations, days] => overview::run(number(installations)?, number(days)?),
        ["serve"] => server::run(None),
        ["serve", file] => server::run(Some(file.as_ref())),
        _ => bail!("unexpected arguments {arguments:?}: expected none, --quick, or overview INSTALLATIONS DAYS"),
    }
}

fn number(text: &str) -> anyhow::Result<u32> {
    text.parse().with_context(|| format!("{text:?}: expected a number"))
}
