//! The cost of observing control planes: `cargo bench --bench observe`, with another number of objects `cargo bench
//! --bench observe -- 100000`, or with fewer of them and one round `cargo bench --bench observe -- --quick`.
//!
//! A separate process serves the simulated API with objects of real size over TLS. With `-- --kubeconfig FILE`, such as
//! `make cluster` prints, the objects are created in a real API server instead. The agent is compared with a bare
//! reader, which reads the same bytes and decodes nothing: its cost is the lower bound. Each reader is a separate
//! process, whose CPU and peak of memory can be measured. The readers take turns, so that other load on the machine
//! affects all.
//!
//! The whole agent is the library's, in this program. With `-- --program FILE` it is the program of that file, such as
//! one that was built with the feature `agent` alone.

mod access;
#[path = "../shared/budget.rs"]
mod budget;
mod cluster;
mod fold;
mod observed;
mod program;
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

use anyhow::Context;

use access::Access;

/// The default number of objects in the cluster.
const OBJECTS: usize = 10_000;

/// The number of objects of a quick run.
const QUICK_OBJECTS: usize = 2_000;

/// The number of rounds, odd so that the median is a measured value.
const ROUNDS: usize = 5;

fn main() -> anyhow::Result<()> {
    // cargo adds --bench.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["simulated", objects, folder] => simulated::run(number(objects)?, folder.as_ref()),
        ["cluster", objects, folder, kubeconfig] => cluster::run(number(objects)?, folder.as_ref(), kubeconfig),
        ["bare", access] => readers::bare(Access::read(access)?),
        ["watch", access] => readers::watch(Access::read(access)?),
        ["agent", access, sink] => readers::agent(Access::read(access)?, sink),
        _ => report::run(&Options::parse(&arguments)?),
    }
}

/// The options of a run.
struct Options<'a> {
    /// The number of objects in the cluster.
    objects: usize,
    rounds: usize,
    /// The kubeconfig of a real cluster.
    kubeconfig: Option<&'a str>,
    /// The file of the agent's program.
    program: Option<&'a str>,
}

impl<'a> Options<'a> {
    fn parse(arguments: &[&'a str]) -> anyhow::Result<Self> {
        let mut options = Self { objects: OBJECTS, rounds: ROUNDS, kubeconfig: None, program: None };
        let mut arguments = arguments.iter();
        while let Some(&argument) = arguments.next() {
            let mut file = || arguments.next().copied().with_context(|| format!("{argument}: expected a file"));
            match argument {
                "--quick" => (options.objects, options.rounds) = (QUICK_OBJECTS, 1),
                "--kubeconfig" => options.kubeconfig = Some(file()?),
                "--program" => options.program = Some(file()?),
                objects => options.objects = number(objects)?,
            }
        }
        Ok(options)
    }
}

fn number<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(text: &str) -> anyhow::Result<T> {
    text.parse().with_context(|| {
        format!("{text:?}: expected --quick, or a number of objects, --kubeconfig FILE and --program FILE")
    })
}
