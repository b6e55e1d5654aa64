//! Runs the processes and prints the figures.

use std::sync::mpsc::Receiver;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, ensure};
use kamaji_telemetry::agent::journal::ROW_LIMIT;

use crate::access::Access;
use crate::budget::add_row;
use crate::process::Process;
use crate::program::Program;
use crate::sink::{self, Received};
use crate::spread::Spread;
use crate::{Options, fold, usage};

/// The number of changes in a round: two seconds, and some 100 ms of CPU.
const CHANGES: u32 = 1_000;

/// The longest wait for a process before the benchmark fails.
const DEADLINE: Duration = Duration::from_mins(2);

/// The figures of a reader in a round.
#[derive(Debug, Clone, Copy)]
struct Round {
    /// Milliseconds from the start to the end of the first sync.
    time: f64,
    /// Milliseconds of CPU until the end of the first sync.
    cpu: f64,
    /// Peak of memory until the end of the changes, in MB of 1,000,000 bytes.
    memory: f64,
    /// Milliseconds of CPU per change.
    change: f64,
}

/// A line of figures, in the units of the processes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    /// Microseconds since the start.
    pub(crate) time: f64,
    /// Microseconds of CPU.
    pub(crate) cpu: f64,
    /// Peak of memory in kB.
    pub(crate) memory: f64,
}

/// A running agent.
enum Agent {
    /// The library's, in a process of this program.
    Library(Process),
    Program(Program),
}

impl Agent {
    fn start(options: &Options<'_>, access: &str, sink: &str) -> anyhow::Result<Self> {
        Ok(match options.program {
            None => Self::Library(Process::start(&["agent", access, sink])?),
            Some(program) => Self::Program(Program::start(program, &Access::read(access)?, sink)?),
        })
    }

    fn figures(&mut self) -> anyhow::Result<Figures> {
        match self {
            Self::Library(process) => figures(&process.ask("")?),
            Self::Program(program) => program.figures(),
        }
    }

    fn end(self) -> anyhow::Result<()> {
        match self {
            Self::Library(process) => process.end(),
            Self::Program(program) => program.end(),
        }
    }
}

/// Runs all measurements with the simulated API, or with a real cluster.
pub(crate) fn run(options: &Options<'_>) -> anyhow::Result<()> {
    let &Options { objects, rounds, kubeconfig, program } = options;
    println!("machine: {}\ncommit:  {}", usage::machine(), usage::commit());
    let (folder, count) = (tempfile::tempdir()?, objects.to_string());
    let path = folder.path().display().to_string();
    let mut server = match kubeconfig {
        None => Process::start(&["simulated", &count, &path])?,
        Some(file) => Process::start(&["cluster", &count, &path, file])?,
    };
    let (access, bytes) = (server.line()?, server.line()?);
    println!("{objects} control planes of {bytes} bytes over TLS, {rounds} rounds, medians (least to most)");
    println!("the whole agent is {}\n", program.unwrap_or("the library's"));
    measure(&mut server, &access, options)?;
    server.end()?;
    let fold::Rates { unchanged, updated } = fold::measure(objects);
    println!(
        "\nthe fold alone: {unchanged:.0} watch events a second without a change, {updated:.0} with one record each"
    );
    Ok(())
}

/// The wait for the last change if the agent does not report it: a thousand times as long as a change takes.
const UNREPORTED_WAIT: Duration = Duration::from_secs(1);

/// Runs all readers against one server, in turns.
fn measure(server: &mut Process, access: &str, options: &Options<'_>) -> anyhow::Result<()> {
    let (endpoint, received) = sink::start()?;
    let (mut bare, mut watch, mut agent) = (Vec::new(), Vec::new(), Vec::new());
    let reports = options.objects <= ROW_LIMIT;
    for _ in 0..options.rounds {
        bare.push(round(server, &["bare", access])?);
        watch.push(round(server, &["watch", access])?);
        let started = Agent::start(options, access, &endpoint)?;
        agent.push(agent_round(server, started, reports, &received)?);
    }
    print(&bare, &watch, &agent);
    add_rows(options, &bare, &agent)
}

/// Runs a reader that detects the end of the sync and of the changes itself.
fn round(server: &mut Process, arguments: &[&str]) -> anyhow::Result<Round> {
    let mut reader = Process::start(arguments)?;
    let synced = figures(&reader.line()?)?;
    command(server, &format!("change {CHANGES}"))?;
    let changed = figures(&reader.line()?)?;
    reader.end()?;
    command(server, "restore")?;
    Ok(Round::of(synced, changed))
}

/// Runs the whole agent. The sync ends with its gauges and the changes end with the event of the deletion. If the agent
/// `reports` no events, because there are too many control planes, the end of the changes is a fixed wait.
fn agent_round(
    server: &mut Process,
    mut agent: Agent,
    reports: bool,
    received: &Receiver<Received>,
) -> anyhow::Result<Round> {
    ensure!(
        received.recv_timeout(DEADLINE).context("no gauges arrived")? == Received::Gauges,
        "events arrived before gauges"
    );
    let synced = agent.figures()?;
    command(server, &format!("change {CHANGES}"))?;
    if reports {
        ensure!(
            received.recv_timeout(DEADLINE).context("no event arrived")? == Received::Events,
            "gauges arrived a second time"
        );
    } else {
        sleep(UNREPORTED_WAIT);
    }
    let changed = agent.figures()?;
    agent.end()?;
    // An agent that ends before a response arrives sends the request again.
    received.try_iter().for_each(drop);
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

/// A row of the table: name, figure, digits after the decimal point, and budget.
type Row = (&'static str, fn(&Round) -> f64, usize, &'static str);

const ROWS: [Row; 4] = [
    ("first sync, time, ms", |round| round.time, 0, "agent <= 1.2 x bare"),
    ("first sync, CPU, ms", |round| round.cpu, 0, "agent <= 2 x bare"),
    ("peak memory, MB", |round| round.memory, 1, "agent <= 13 MB (20 MB with 100,000)"),
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

/// The number of control planes from which on the larger budget of memory holds.
const LARGE: usize = 100_000;

/// Adds what was reached to the table of budgets.
fn add_rows(options: &Options<'_>, bare: &[Round], agent: &[Round]) -> anyhow::Result<()> {
    let median = |rounds: &[Round], figure: fn(&Round) -> f64| Spread::of(rounds.iter().map(figure).collect()).median;
    let server = if options.kubeconfig.is_some() { "a real API server" } else { "the simulated API" };
    let what = |figure: &str| format!("agent, {} control planes, {server}: {figure}", options.objects);
    let budget = if options.objects < LARGE { 13.0 } else { 20.0 };
    let memory = median(agent, |round| round.memory);
    add_row(&what("peak memory"), &format!("{memory:.1} MB"), &format!("≤ {budget} MB"), memory <= budget)?;
    if options.objects >= LARGE {
        return Ok(());
    }
    let cpu = median(agent, |round| round.cpu) / median(bare, |round| round.cpu);
    add_row(&what("CPU of the first sync"), &format!("{cpu:.2} × the bare reader"), "≤ 2 ×", cpu <= 2.0)?;
    let time = median(agent, |round| round.time) / median(bare, |round| round.time);
    add_row(&what("time of the first sync"), &format!("{time:.2} × the bare reader"), "≤ 1.2 ×", time <= 1.2)?;
    let change = median(agent, |round| round.change);
    Ok(add_row(&what("CPU a change"), &format!("{change:.3} ms"), "≤ 0.15 ms", change <= 0.15)?)
}
