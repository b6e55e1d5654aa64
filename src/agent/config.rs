//! The agent's configuration.

use std::net::SocketAddr;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;

use super::consent::{KamajiOptOut, OptOut};
use super::export::connection::ExporterConfig;
use super::journal::JournalStore;
use super::kubernetes::operator::OperatorLocation;
use super::relay_probe::RelayConfig;
use crate::catalog::KamajiVersion;

/// Configuration of the agent.
#[derive(Clone)]
pub struct Config {
    /// The collector, and how to connect to it.
    pub exporter: ExporterConfig,
    /// The interval between two exports of the gauges.
    pub export_interval: Duration,
    /// The interval between two reads of Kamaji's operator, for consent and versions.
    pub operator_poll_interval: Duration,
    /// The interval between two deletions of the journal while telemetry is off.
    pub erase_interval: Duration,
    /// The maximum wait before any retry.
    pub retry_max_interval: Duration,
    /// The place of Kamaji's operator.
    pub operator_location: OperatorLocation,
    /// The effect of Kamaji's opt-out on the agent.
    pub kamaji_opt_out: KamajiOptOut,
    /// Kamaji's version, if it is not to be read from the operator.
    pub kamaji_version: Option<KamajiVersion>,
    /// The agent's own namespace; by default, that of the cluster's configuration.
    pub namespace: Option<String>,
    /// The Deployment that owns what the agent creates.
    pub owner_deployment: Option<String>,
    /// Sends the extended signals.
    pub extended: bool,
    /// The election among several replicas, if there is one.
    pub election: Option<ElectionConfig>,
    /// The address of the probes and the metrics, if they are served.
    pub health_addr: Option<SocketAddr>,
    /// The relay in the same pod, if the agent answers its liveness probe.
    pub relay: Option<RelayConfig>,
    /// The agent's own switches that turn telemetry off.
    pub opt_out: OptOut,
    /// The cluster; by default, that of the environment.
    pub cluster: Option<kube::Config>,
}

/// Configuration of leader election.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElectionConfig {
    /// The identity of this replica, which a restart of its container does not change.
    pub identity: String,
    /// The time after which a Lease that is not renewed has expired.
    pub lease_duration: Duration,
}

impl Config {
    /// Returns the store of the agent's objects, in its own namespace.
    pub(super) fn journal_store(&self, client: &Client, owner: Option<OwnerReference>) -> JournalStore {
        let namespace = self.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        JournalStore { client: client.clone(), namespace, owner }
    }
}
