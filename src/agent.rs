//! The agent: cluster → observe → journal → deliver, for as long as there is consent.

pub mod consent;

pub mod cluster;
pub mod observe;
pub mod journal;
pub mod deliver;

mod session;
mod cycles;
pub mod preview;
mod backoff;
pub mod quiet;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::health::{self, Readiness};
use crate::process;
use crate::signals::KamajiVersion;
use cluster::Look;
use consent::{KamajiFlag, Off, Switches};
use deliver::connection::Collector;
use quiet::Quiet;

/// Everything that the agent is told at its start.
#[derive(Clone)]
pub struct Config {
    /// The collector.
    pub collector: Collector,
    /// How often gauges are sent.
    pub interval: Duration,
    /// How often Kamaji's operator is looked at, and with it the versions and the consent.
    pub look_interval: Duration,
    /// Where Kamaji's operator runs.
    pub kamaji_namespace: String,
    /// What Kamaji's own switch means.
    pub kamaji_flag: KamajiFlag,
    /// Kamaji's version, where it is not to be detected.
    pub kamaji_version: Option<KamajiVersion>,
    /// Where the agent's own state lives.
    pub namespace: Option<String>,
    /// The Deployment that owns the agent's own state.
    pub owner_deployment: Option<String>,
    /// The extended signals.
    pub extended: bool,
    /// Where the probes are served.
    pub health_addr: Option<SocketAddr>,
    /// The switches that turn it off.
    pub switches: Switches,
    /// The cluster; where there is none, that of the environment.
    pub cluster: Option<kube::Config>,
}

/// Runs the agent until `shutdown`. It fails only where it can't begin: what is amiss later is said and tried again.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let readiness = Readiness::new();
    let mut tasks = JoinSet::new();
    if let Some(address) = config.health_addr {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("--health-addr {address}: can't listen there"))?;
        let (readiness, shutdown) = (readiness.clone(), shutdown.clone());
        tasks.spawn(async move { Ok(health::serve(listener, readiness, shutdown).await?) });
    }
    tasks.spawn(run_by_consent(config, readiness, shutdown));
    process::supervise(tasks).await
}

async fn run_by_consent(config: Config, readiness: Readiness, shutdown: CancellationToken) -> anyhow::Result<()> {
    if let Some(off) = config.switches.off() {
        say_off(&off);
        readiness.set(true);
        shutdown.cancelled().await;
        return Ok(());
    }
    config.collector.check()?;
    let client = cluster::connect(config.cluster.clone()).await?;
    let (looks, seen) = watch::channel(first_look(&config, &client, &shutdown).await);
    tokio::select! {
        () = keep_looking(&config, &client, looks) => Ok(()),
        result = follow_consent(&config, &client, seen, &readiness, &shutdown) => result,
    }
}

/// A shutdown must not wait for an API server that does not answer.
async fn first_look(config: &Config, client: &Client, shutdown: &CancellationToken) -> Look {
    tokio::select! {
        look = cluster::look(client, &config.kamaji_namespace, config.kamaji_flag) => look,
        () = shutdown.cancelled() => Look::nothing(&config.kamaji_namespace),
    }
}

/// Looks again and again. What can't be read for the moment stays as it was last read.
async fn keep_looking(config: &Config, client: &Client, looks: watch::Sender<Look>) {
    loop {
        tokio::time::sleep(config.look_interval).await;
        let look = cluster::look(client, &config.kamaji_namespace, config.kamaji_flag).await;
        looks.send_modify(|last| *last = look.after(last));
    }
}

/// Runs a session whenever there is consent.
async fn follow_consent(
    config: &Config,
    client: &Client,
    mut looks: watch::Receiver<Look>,
    readiness: &Readiness,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let amiss = Quiet::default();
    let mut said = None;
    while !shutdown.is_cancelled() {
        let off = config.kamaji_flag.off(&looks.borrow_and_update().operator);
        let Some(off) = off else {
            said = None;
            amiss.recovered(|| tracing::info!("Kamaji's operator is seen again"));
            say_on(config, &looks.borrow());
            run_while_on(config, client, &looks, readiness, shutdown).await?;
            continue;
        };
        readiness.set(true);
        if said.as_ref() != Some(&off) {
            if off.is_decided() {
                say_off(&off);
            } else {
                amiss.failed(|| tracing::warn!("telemetry is off: {off}"));
            }
            said = Some(off);
        }
        tokio::select! {
            _ = looks.changed() => {}
            () = shutdown.cancelled() => {}
        }
    }
    Ok(())
}

/// One session. It is dropped, with all that it has not sent, as soon as consent ends; a shutdown lets it deliver.
async fn run_while_on(
    config: &Config,
    client: &Client,
    looks: &watch::Receiver<Look>,
    readiness: &Readiness,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    readiness.set(false);
    let mut consent = looks.clone();
    // An API server that does not answer for a while has not said no. Nothing is observed meanwhile, nor any gauge
    // sent, and the next answer decides.
    let ends = consent.wait_for(|look| !look.is_passing() && config.kamaji_flag.off(&look.operator).is_some());
    tokio::select! {
        ended = session::run(config, client, looks.clone(), readiness, shutdown) => ended,
        _ = ends => Ok(()),
    }
}

fn say_off(off: &Off) {
    tracing::info!("telemetry is off: {off}. Nothing is watched and nothing is sent");
}

fn say_on(config: &Config, look: &Look) {
    let (endpoint, interval) = (&config.collector.endpoint, config.interval);
    tracing::info!("telemetry is on: gauges every {interval:?} and events go to {endpoint}");
    let Config { kamaji_version, kamaji_namespace, .. } = config;
    match &look.operator {
        Ok(operator) if !operator.telemetry_disabled => {
            tracing::warn!(
                "Kamaji's own telemetry is on too, so both report; to leave it to this one, run Kamaji with \
                 --disable-telemetry and this agent with --kamaji-flag=replaces"
            );
        }
        _ => {}
    }
    if look.versions(*kamaji_version).kamaji == KamajiVersion::Unknown {
        let why = look.operator.as_ref().err().map_or_else(
            || "neither its image's tag nor its label app.kubernetes.io/version is a version".to_owned(),
            ToString::to_string,
        );
        tracing::warn!(
            "Kamaji's version is unknown in the namespace {kamaji_namespace:?}: {why}. Set --kamaji-version or \
             --kamaji-namespace"
        );
    }
}
