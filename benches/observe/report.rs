//! Runs the processes, and prints what they used.

use std::sync::mpsc::Receiver;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, ensure};
use kamaji_telemetry::agent::journal::ROW_LIMIT;

use crate::process::Process;
use crate::sink::{self, Came};
use crate::spread::Spread;
use crate::{fold, usage};

/// Rounds: an odd number has a median that was measured.
const ROUNDS: usize = 5;

/// Changes a round: two seconds, and some 100 ms of CPU.
const CHANGES: u32 = 1_000;

/// How long anything may take before something is wrong.
const DEADLINE: Duration = Duration::from_mins(2);

/// What one reader used in one round.
#[derive(Debug, Clone, Copy)]
struct Round {
    /// Milliseconds from the start to the end of the first sync.
    time: f64,
    /// Milliseconds of CPU until then.
    cpu: f64,
    /// Peak of memory until the end of the changes, in MB of 1,000,000 bytes.
    memory: f64,
    /// Milliseconds of CPU a change.
    change: f64,
}

/// One line of figures, in the units of the processes.
#[derive(Debug, Clone, Copy)]
struct Figures {
    time: f64,
    cpu: f64,
    memory: f64,
}

/// Measures everything and prints it: with the simulated API, or with the cluster of `kubeconfig`.
pub(crate) fn run(objects: usize, kubeconfig: Option<&str>) -> anyhow::Result<()> {
    println!("machine: {}\ncommit:  {}", usage::machine(), usage::commit());
    let (folder, count) = (tempfile::tempdir()?, objects.to_string());
    let path = folder.path().display().to_string();
    let mut server = match kubeconfig {
        None => Process::start(&["simulated", &count, &path])?,
        Some(file) => Process::start(&["cluster", &count, &path, file])?,
    };
    let (access, bytes) = (server.line()?, server.line()?);
    println!("{objects} control planes of {bytes} bytes over TLS, {ROUNDS} rounds, medians (least to most)\n");
    measure(&mut server, &access, objects)?;
    server.end()?;
    let fold::Rates { unchanged, updated } = fold::measure(objects);
    println!(
        "\nthe fold alone: {unchanged:.0} watch events a second that change nothing, {updated:.0} that yield a record"
    );
    Ok(())
}

/// How long an agent is given to see the last change where it reports none: a thousand times what a change takes.
const UNREPORTED: Duration = Duration::from_secs(1);

/// All readers against one server, in turns.
fn measure(server: &mut Process, access: &str, objects: usize) -> anyhow::Result<()> {
    let (endpoint, came) = sink::start()?;
    let (mut bare, mut watch, mut agent) = (Vec::new(), Vec::new(), Vec::new());
    let reports = objects <= ROW_LIMIT;
    for _ in 0..ROUNDS {
        bare.push(round(server, &["bare", access])?);
        watch.push(round(server, &["watch", access])?);
        agent.push(agent_round(server, &["agent", access, &endpoint], reports, &came)?);
    }
    print(&bare, &watch, &agent);
    Ok(())
}

/// A reader that knows itself when it has seen everything.
fn round(server: &mut Process, arguments: &[&str]) -> anyhow::Result<Round> {
    let mut reader = Process::start(arguments)?;
    let synced = figures(&reader.line()?)?;
    command(server, &format!("change {CHANGES}"))?;
    let changed = figures(&reader.line()?)?;
    reader.end()?;
    command(server, "restore")?;
    Ok(Round::of(synced, changed))
}

/// The whole agent: it has synced when its gauges came, and seen the deletion when its event came. Where there are more
/// control planes than it `reports` of no event comes, and it is given time instead.
fn agent_round(
    server: &mut Process,
    arguments: &[&str],
    reports: bool,
    came: &Receiver<Came>,
) -> anyhow::Result<Round> {
    let mut agent = Process::start(arguments)?;
    ensure!(came.recv_timeout(DEADLINE).context("no gauges came")? == Came::Gauges, "events came before gauges");
    let synced = figures(&agent.ask("")?)?;
    command(server, &format!("change {CHANGES}"))?;
    if reports {
        ensure!(came.recv_timeout(DEADLINE).context("no event came")? == Came::Events, "gauges came a second time");
    } else {
        sleep(UNREPORTED);
    }
    let changed = figures(&agent.ask("")?)?;
    agent.end()?;
    // An agent that ends while an answer is on its way sends once more.
    came.try_iter().for_each(drop);
    command(server, "restore")?;
    Ok(Round::of(synced, changed))
}

impl Round {
    fn of(synced: Figures, changed: Figures) -> Self {
        Self {
            time: synced.time / 1e3,
            cpu: synced.cpu / 1e3,
            memory: changed.memory * 1024.0 / 1e6,
            change: (changed.cpu - synced.cpu) / 1e3 / f64::from(CHANGES),
        }
    }
}

fn figures(line: &str) -> anyhow::Result<Figures> {
    let numbers: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>().context(line.to_owned())?;
    let [time, cpu, memory] = numbers[..] else { anyhow::bail!("expected three figures, not {line:?}") };
    Ok(Figures { time, cpu, memory })
}

fn command(server: &mut Process, command: &str) -> anyhow::Result<()> {
    let answer = server.ask(command)?;
    ensure!(answer == "done", "{command}: {answer}");
    Ok(())
}

/// A row of the table: its name, its figure, the digits behind the point, and the budget.
type Row = (&'static str, fn(&Round) -> f64, usize, &'static str);

const ROWS: [Row; 4] = [
    ("first sync, time, ms", |round| round.time, 0, "agent <= 1.2 x bare"),
    ("first sync, CPU, ms", |round| round.cpu, 0, "agent <= 2 x bare"),
    ("peak memory, MB", |round| round.memory, 1, "agent <= 16 MB (32 MB with 100,000)"),
    ("CPU a change, ms", |round| round.change, 3, "agent <= 0.15 ms"),
];

fn print(bare: &[Round], watch: &[Round], agent: &[Round]) {
    println!(
        "{:<22}{:>24}{:>24}{:>24}{:>12}{:>12}  budget",
        "", "bare reader", "watch and fold", "whole agent", "watch/bare", "agent/bare"
    );
    for (name, figure, digits, budget) in ROWS {
        let [bare, watch, agent] = [bare, watch, agent].map(|rounds| Spread::of(rounds.iter().map(figure).collect()));
        println!(
            "{name:<22}{:>24}{:>24}{:>24}{:>12.2}{:>12.2}  {budget}",
            bare.show(digits),
            watch.show(digits),
            agent.show(digits),
            watch.median / bare.median,
            agent.median / bare.median,
        );
    }
}
