//! The cost of a connection: `cargo bench --bench handshake`, or `cargo bench --bench handshake -- --quick`, with fewer
//! connections and rounds.
//!
//! A separate process serves a backend with a store that does nothing. This process connects to it as a relay does: it
//! makes a TLS handshake and sends one gauge snapshot over HTTP/2, with gzip. It counts the bytes that it hands to TCP
//! and gets from it, so that the headers of TCP and IP come on top. Further figures are the cost of a new connection
//! while idle ones have all slots, and the memory of an idle connection. `-- serve MAX_CONNECTIONS [CERTIFICATE KEY]`
//! serves alone, and prints CPU in microseconds and resident memory in kB for each line of its input.

#[path = "../shared/backend.rs"]
mod backend;
mod certificate;
mod client;
mod cycles;
#[path = "../../src/backend/net/eviction_order.rs"]
#[allow(dead_code, reason = "the backend's own, of which not all is measured")]
mod eviction_order;
mod idle;
#[path = "../ingest/null_store.rs"]
mod null_store;
mod order;
#[path = "../shared/process.rs"]
mod process;
#[path = "../../tests/it/backend/samples.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the tests' own, of which not all is sent here")]
mod samples;
mod server;
#[path = "../shared/spread.rs"]
mod spread;
mod table;
#[path = "../shared/usage.rs"]
mod usage;

use std::path::Path;

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The size of the measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// The number of rounds, odd so that the median is a measured value.
    pub(crate) rounds: usize,
    /// The number of cycles in a round.
    pub(crate) cycles: usize,
    /// The numbers of idle connections while others connect.
    pub(crate) tables: &'static [usize],
    /// The number of idle connections whose memory is measured.
    pub(crate) idle: usize,
}

const FULL: Scale = Scale { rounds: 5, cycles: 2_000, tables: &[900, 9_000], idle: 2_000 };

const QUICK: Scale = Scale { rounds: 1, cycles: 500, tables: &[900], idle: 500 };

fn main() -> anyhow::Result<()> {
    // cargo adds --bench.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => report(FULL),
        ["--quick"] => report(QUICK),
        ["serve", max_connections] => server::run(number(max_connections)?, None),
        ["serve", max_connections, certificate, key] => {
            server::run(number(max_connections)?, Some((Path::new(certificate), Path::new(key))))
        }
        _ => bail!("unexpected arguments {arguments:?}: expected none, --quick, or serve MAX_CONNECTIONS [CERT KEY]"),
    }
}

fn report(scale: Scale) -> anyhow::Result<()> {
    raise_open_files()?;
    println!("machine: {}\ncommit:  {}\n", usage::machine(), usage::commit());
    order::report();
    // One thread: the server has the other core.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        table::report(scale).await?;
        cycles::report(scale).await?;
        idle::report(scale).await
    })
}

fn number(text: &str) -> anyhow::Result<usize> {
    text.parse().with_context(|| format!("{text:?}: expected a number"))
}

/// Raises the limit of open files to what the machine allows. Both processes have a descriptor for each connection.
fn raise_open_files() -> anyhow::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
