//! What it costs to observe control planes: `cargo bench --bench observe`, or with another number of objects
//! `cargo bench --bench observe -- 100000`.
//!
//! A process of its own serves a simulated API with objects of real size over TLS, as every API server does; with
//! `-- --kubeconfig FILE`, such as `make cluster` prints, a real API server does, which is filled first. Beside the
//! agent, a bare reader takes the same bytes from the same server and decodes nothing: what it costs is what nobody can
//! go below. Each reader is a process of its own, so that its CPU and its peak of memory are its own; rounds of all
//! readers follow one another, so that a busy moment of the machine hits them all.

mod access;
mod cluster;
mod fold;
mod observed;
mod readers;
mod report;
mod simulated;
mod sink;
#[path = "../shared/process.rs"]
mod process;
#[path = "../shared/spread.rs"]
mod spread;
#[path = "../shared/usage.rs"]
mod usage;

use anyhow::{Context, bail};

use access::Access;

/// Objects in the cluster, unless another number is given.
const OBJECTS: usize = 10_000;

fn main() -> anyhow::Result<()> {
    // cargo adds --bench.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => report::run(OBJECTS, None),
        [objects] => report::run(number(objects)?, None),
        ["--kubeconfig", file] => report::run(OBJECTS, Some(file)),
        ["--kubeconfig", file, objects] => report::run(number(objects)?, Some(file)),
        ["simulated", objects, folder] => simulated::run(number(objects)?, folder.as_ref()),
        ["cluster", objects, folder, kubeconfig] => cluster::run(number(objects)?, folder.as_ref(), kubeconfig),
        ["bare", access] => readers::bare(Access::read(access)?),
        ["watch", access] => readers::watch(Access::read(access)?),
        ["agent", access, sink] => readers::agent(Access::read(access)?, sink),
        _ => bail!("unexpected arguments {arguments:?}: expected none, or [--kubeconfig FILE] [OBJECTS]"),
    }
}

fn number<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(text: &str) -> anyhow::Result<T> {
    text.parse().with_context(|| format!("{text:?}: expected a number"))
}
