//! The agent: watches the control planes of a cluster, and exports their counts and changes while there is consent.
//!
//! ```text
//! kubernetes ─▶ observe ─▶ journal ─▶ export
//! ```
//!
//! The modules are declared from the top down: each imports only modules that are declared after it.

mod supervisor;
mod leader;
mod term;

pub mod preview;
pub mod status;
pub mod forget;

mod config;

pub mod export;
pub mod lease;
pub mod journal;
pub mod consent;
pub mod kubernetes;
pub mod observe;

pub mod metrics;
pub(crate) mod backoff;
mod task_slot;
mod tls_error;
pub mod relay_probe;
mod error_chain;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::relay_probe::RelayUse;
use crate::process;
use crate::process::probes::{self, Readiness};

pub use config::{Config, ElectionConfig};

/// Runs the agent until `shutdown`.
///
/// Returns an error only if it can't start. Later failures are logged and retried.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let (readiness, relay_use) = (Readiness::new(), RelayUse::default());
    let mut tasks = JoinSet::new();
    if let Some(address) = config.health_addr {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("--health-addr {address}: can't listen there"))?;
        let relay = config.relay.as_ref().map(|relay| relay_probe::routes(relay, relay_use.clone())).transpose()?;
        let (routes, shutdown) = (probes::routes(readiness.clone()).merge(relay.unwrap_or_default()), shutdown.clone());
        tasks.spawn(async move { Ok(probes::serve(listener, routes, shutdown).await?) });
    }
    probes::metrics_handle();
    metrics::describe();
    tasks.spawn(supervisor::run(config, readiness, relay_use, shutdown));
    process::shutdown::supervise(tasks).await
}
