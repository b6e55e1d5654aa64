//! Runs the processes and prints the figures.

use std::sync::mpsc::Receiver;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, ensure};
use kamaji_telemetry::agent::journal::ROW_LIMIT;

use crate::process::Process;
use crate::sink::{self, Received};
use crate::spread::Spread;
use crate::{fold, usage};

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
struct Figures {
    time: f64,
    cpu: f64,
    memory: f64,
}

/// Runs all measurements with the simulated API, or with the cluster of `kubeconfig`.
pub(crate) fn run(objects: usize, rounds: usize, kubeconfig: Option<&str>) -> anyhow::Result<()> {
    println!("machine: {}\ncommit:  {}", usage::machine(), usage::commit());
    let (folder, count) = (tempfile::tempdir()?, objects.to_string());
    let path = folder.path().display().to_string();
    let mut server = match kubeconfig {
        None => Process::start(&["simulated", &count, &path])?,
        Some(file) => Process::start(&["cluster", &count, &path, file])?,
    };
    let (access, bytes) = (server.line()?, server.line()?);
    println!("{objects} control planes of {bytes} bytes over TLS, {rounds} rounds, medians (least to most)\n");
    measure(&mut server, &access, objects, rounds)?;
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
fn measure(server: &mut Process, access: &str, objects: usize, rounds: usize) -> anyhow::Result<()> {
    let (endpoint, received) = sink::start()?;
    let (mut bare, mut watch, mut agent) = (Vec::new(), Vec::new(), Vec::new());
    let reports = objects <= ROW_LIMIT;
    for _ in 0..rounds {
        bare.push(round(server, &["bare", access])?);
        watch.push(round(server, &["watch", access])?);
        agent.push(agent_round(server, &["agent", access, &endpoint], reports, &received)?);
    }
    print(&bare, &watch, &agent);
    Ok(())
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
    arguments: &[&str],
    reports: bool,
    received: &Receiver<Received>,
) -> anyhow::Result<Round> {
    let mut agent = Process::start(arguments)?;
    ensure!(
        received.recv_timeout(DEADLINE).context("no gauges arrived")? == Received::Gauges,
        "events arrived before gauges"
    );
    let synced = figures(&agent.ask("")?)?;
    command(server, &format!("change {CHANGES}"))?;
    if reports {
        ensure!(
            received.recv_timeout(DEADLINE).context("no event arrived")? == Received::Events,
            "gauges arrived a second time"
        );
    } else {
        sleep(UNREPORTED_WAIT);
    }
    let changed = figures(&agent.ask("")?)?;
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
