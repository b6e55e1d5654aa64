//! A simulated fleet of installations, which sends to backends over the network: a test of load.
//!
//! ```text
//! schedule ──▶ requests ──▶ gateway ──OTLP/HTTP──▶ backends ──▶ stores
//!    ▲                         │                                  │
//!    └──────── outcome ◀───────┘           compared ◀─────────────┘
//! ```
//!
//! Each installation does what its agent and its relay do: a cycle of gauges every five minutes, events, one request at a time
//! of each, and retries with the agent's backoff. The requests are the agent's own, in HTTP/2 over as many connections as a
//! gateway keeps.

mod attempt;
mod figures;
mod gateway;
mod installation;
mod outage;
mod processes;
mod report;
mod requests;
mod schedule;
mod stores;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::backend::StoreLocation;
use crate::backend::admin::ready::BackendUrl;
use attempt::{Attempt, AttemptOutcome};
use gateway::{Gateway, STREAMS};
use installation::FleetInstallation;
pub use installation::MAX_INSTALLATIONS;
use processes::MeasuredProcess;
use report::LoadOutcome;
use requests::FleetEncoder;
use schedule::{LoadSchedule, ScheduleSettings};
use stores::LoadStores;

/// The time after which an agent gives up a request: the default of its `OTEL_EXPORTER_OTLP_TIMEOUT`.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The interval of the lines that are printed.
const PROGRESS: Duration = Duration::from_secs(10);

/// The interval in which the memory of processes is read. A database server has dozens of them.
const SAMPLE: Duration = Duration::from_secs(1);

/// The shortest sleep of the schedule: tokio's timer has no finer resolution.
const TICK: Duration = Duration::from_millis(1);

/// The configuration of a load.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadConfig {
    /// The number of installations, at most [`MAX_INSTALLATIONS`].
    pub installations: u32,
    /// The URLs of backends, each of which gets its part; one or more.
    pub urls: Vec<BackendUrl>,
    /// A PEM file with the CA bundle to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// The real duration. What is in flight then is still waited for.
    pub duration: Duration,
    /// The speed of the fleet's clock. Timeouts are of real time.
    pub speed: f64,
    /// The outage that ends with the beginning of the run, by the fleet's clock; zero if there was none.
    pub outage: Duration,
    /// The events of one installation in a day of the fleet's clock.
    pub events_per_day: f64,
    /// The connections to each URL.
    pub connections: usize,
    /// The stores of the backends, which are compared with what was acknowledged.
    pub stores: Vec<StoreLocation>,
    /// The processes whose CPU time and memory are measured.
    pub processes: Vec<u32>,
}

/// Writes a fleet of confirmed installations into a store that no backend serves.
pub async fn fill(location: StoreLocation, installations: u32) -> anyhow::Result<()> {
    let begin = Instant::now();
    stores::fill(location, installations).await?;
    print(&format!("{installations} confirmed installations are in the store after {:.1?}.\n", begin.elapsed()));
    Ok(())
}

/// Runs a load until its end or the shutdown, and prints its figures. Fails if something that was acknowledged is not stored.
pub async fn run(config: LoadConfig, shutdown: CancellationToken) -> anyhow::Result<()> {
    print(&report::introduction(&config));
    let LoadConfig { installations, urls, ca, duration, speed, outage, events_per_day, .. } = config;
    let processes = config.processes.iter().map(|pid| MeasuredProcess::new(*pid)).collect::<anyhow::Result<_>>()?;
    let stores = LoadStores::open(config.stores).await?;
    let settings = ScheduleSettings {
        installations,
        urls: urls.len(),
        places: config.connections * STREAMS,
        timeout: TIMEOUT.mul_f64(speed),
        outage,
        events_per_day,
    };
    let encoder = tokio::task::spawn_blocking(FleetEncoder::new).await??;
    let schedule = tokio::task::spawn_blocking(move || LoadSchedule::new(settings, fastrand::Rng::new())).await?;
    let (finished, outcomes) = unbounded_channel();
    let gateway = Gateway::new(&urls, config.connections, ca.as_deref(), TIMEOUT)?;
    let sender = LoadSender { gateway: Arc::new(gateway), encoder: Arc::new(encoder), finished };
    let mut load = Load { schedule, sender, outcomes, processes, speed, begin: Instant::now() };
    load.run(duration, shutdown).await?;
    let Load { schedule, processes, begin, .. } = load;
    let elapsed = begin.elapsed();
    let records = stores.compare(schedule.deliveries()).await?;
    let (events_waiting, events_acknowledged) = (schedule.waiting_events(), schedule.figures.events_acknowledged);
    let figures = schedule.figures;
    print(&report::report(LoadOutcome { figures, elapsed, speed, events_waiting, records, processes }));
    records.map_or(Ok(()), |records| records.check(events_acknowledged))
}

/// A load that is running.
struct Load {
    schedule: LoadSchedule,
    sender: LoadSender,
    outcomes: UnboundedReceiver<(Attempt, anyhow::Result<AttemptOutcome>)>,
    processes: Vec<MeasuredProcess>,
    speed: f64,
    begin: Instant,
}

/// The part that sends, each attempt in a task of its own.
#[derive(Clone)]
struct LoadSender {
    gateway: Arc<Gateway>,
    encoder: Arc<FleetEncoder>,
    /// Bounded by the places of the schedule.
    finished: UnboundedSender<(Attempt, anyhow::Result<AttemptOutcome>)>,
}

impl Load {
    /// Runs for `duration`, then waits for what is in flight.
    async fn run(&mut self, duration: Duration, shutdown: CancellationToken) -> anyhow::Result<()> {
        let [mut progress, mut sample] = [PROGRESS, SAMPLE].map(interval);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        sample.set_missed_tick_behavior(MissedTickBehavior::Delay);
        progress.reset();
        let end = tokio::time::sleep(duration);
        tokio::pin!(end);
        let mut is_over = false;
        while !is_over || self.schedule.in_flight() > 0 {
            self.send_due();
            let wait = self.wait();
            tokio::select! {
                Some((attempt, outcome)) = self.outcomes.recv() => self.finish(&attempt, outcome)?,
                () = tokio::time::sleep(wait) => {}
                _ = sample.tick() => self.processes.iter_mut().for_each(MeasuredProcess::sample),
                _ = progress.tick() => self.print_progress(),
                () = &mut end, if !is_over => is_over = true,
                () = shutdown.cancelled(), if !is_over => is_over = true,
            }
            if is_over {
                self.schedule.stop();
            }
        }
        self.processes.iter_mut().for_each(MeasuredProcess::sample);
        Ok(())
    }

    /// Returns the time by the fleet's clock.
    fn now(&self) -> Duration {
        self.begin.elapsed().mul_f64(self.speed)
    }

    fn send_due(&mut self) {
        let now = self.now();
        self.schedule.advance(now);
        while let Some(attempt) = self.schedule.take(now) {
            let sender = self.sender.clone();
            tokio::spawn(async move { sender.send(attempt).await });
        }
    }

    /// Returns the real time until the next attempt is due.
    fn wait(&self) -> Duration {
        let Some(due) = self.schedule.next_due() else { return PROGRESS };
        due.saturating_sub(self.now()).div_f64(self.speed).max(TICK)
    }

    /// Ends an attempt, and all others that have ended meanwhile.
    fn finish(&mut self, attempt: &Attempt, outcome: anyhow::Result<AttemptOutcome>) -> anyhow::Result<()> {
        let now = self.now();
        self.schedule.finish(attempt, outcome?, now);
        while let Ok((attempt, outcome)) = self.outcomes.try_recv() {
            self.schedule.finish(&attempt, outcome?, now);
        }
        Ok(())
    }

    fn print_progress(&self) {
        let line = report::progress(&self.schedule.figures, self.begin.elapsed(), self.schedule.in_flight());
        print(&format!("{line}\n"));
    }
}

impl LoadSender {
    async fn send(&self, attempt: Attempt) {
        let outcome = match self.encoder.request(&attempt) {
            Ok(request) => {
                let address = FleetInstallation::new(attempt.installation).address();
                Ok(self.gateway.send(attempt.url, request, address).await)
            }
            Err(error) => Err(error),
        };
        // A run that was given up takes no outcome.
        let _ = self.finished.send((attempt, outcome));
    }
}

/// Writes to standard output. A closed terminal does not end the load.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
