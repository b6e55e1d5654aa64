//! The agent: cluster → observe → journal → deliver, for as long as there is consent.

pub mod consent;
mod supervisor;

pub mod lease;
mod leader;
mod term;

pub mod kubernetes;
pub mod observe;
pub mod journal;
pub mod export;

pub mod preview;
pub mod status;
pub mod forget;

mod backoff;
pub mod metrics;
mod task_slot;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::catalog::KamajiVersion;
use crate::process;
use crate::process::probes::{self, Readiness};
use consent::{KamajiOptOut, OptOut};
use export::connection::ExporterConfig;
use journal::JournalStore;

/// Everything that the agent is told at its start.
#[derive(Clone)]
pub struct Config {
    /// The collector.
    pub collector: ExporterConfig,
    /// How often gauges are sent.
    pub interval: Duration,
    /// How often Kamaji's operator is looked at, and with it the versions and the consent.
    pub operator_poll_interval: Duration,
    /// How often the journal is deleted while telemetry is off.
    pub erase_interval: Duration,
    /// How long an acknowledgement waits for a write that it may ride on.
    pub acknowledge_interval: Duration,
    /// The longest wait between two tries of anything.
    pub retry_max_interval: Duration,
    /// Where Kamaji's operator runs.
    pub kamaji_namespace: String,
    /// What Kamaji's own switch means.
    pub kamaji_opt_out: KamajiOptOut,
    /// Kamaji's version, where it is not to be detected.
    pub kamaji_version: Option<KamajiVersion>,
    /// Where the agent's own state lives; where there is none, in the namespace of the cluster's configuration.
    pub namespace: Option<String>,
    /// The Deployment that owns the agent's own state.
    pub owner_deployment: Option<String>,
    /// The extended signals.
    pub extended: bool,
    /// Several replicas run, of which a Lease elects one.
    pub election: Option<Election>,
    /// Where the probes and the metrics are served.
    pub health_addr: Option<SocketAddr>,
    /// The switches that turn it off.
    pub switches: OptOut,
    /// The cluster; where there is none, that of the environment.
    pub cluster: Option<kube::Config>,
}

/// How a leader is elected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Election {
    /// Who this replica is: the same after its container was restarted.
    pub identity: String,
    /// How long the Lease lasts without being renewed.
    pub lease_duration: Duration,
}

impl Config {
    /// Where the agent keeps what it makes.
    fn place(&self, client: &Client, owner: Option<OwnerReference>) -> JournalStore {
        let namespace = self.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        JournalStore { client: client.clone(), namespace, owner }
    }
}

/// Runs the agent until `shutdown`. It fails only where it can't begin: what is amiss later is said and tried again.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let readiness = Readiness::new();
    let mut tasks = JoinSet::new();
    if let Some(address) = config.health_addr {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("--health-addr {address}: can't listen there"))?;
        let (readiness, shutdown) = (readiness.clone(), shutdown.clone());
        tasks.spawn(async move { Ok(probes::serve(listener, readiness, shutdown).await?) });
    }
    probes::recorder();
    metrics::describe();
    tasks.spawn(supervisor::run(config, readiness, shutdown));
    process::shutdown::supervise(tasks).await
}
