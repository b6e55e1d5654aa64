//! Whether telemetry is on, and how far its delivery is, as the cluster tells it.

use std::fmt;

use anyhow::{Context, anyhow};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use serde::Serialize;
use uuid::Uuid;

use super::Config;
use super::cluster::{self, operator, owner};
use super::journal::config_map::Account;
use crate::agent::consent::is_set;

/// What the cluster says of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Nothing switches telemetry off.
    enabled: bool,
    /// What switches it off.
    reason: Option<String>,
    /// The collector that the agent sends to, or would.
    endpoint: String,
    /// The installation's identity; none where no agent keeps any state.
    installation: Option<Uuid>,
    /// Events are reported: the first complete list was recorded, and there are not too many control planes.
    baseline: bool,
    /// Events that the collector has not acknowledged, as last written.
    pending: usize,
    /// When the oldest of them happened.
    oldest_pending: Option<Timestamp>,
    /// When the collector last acknowledged an event, as last written.
    last_acknowledgement: Option<Timestamp>,
}

/// Reads the agent's state and what switches it off: the switches given here, those of its Deployment where that is
/// named, and Kamaji's. It writes nothing, and connects to no collector.
pub async fn read(config: &Config) -> anyhow::Result<Status> {
    let client = cluster::connect(config.cluster.clone()).await?;
    let reason = why_off(config, &client).await?;
    let account = config.place(&client, None).read().await.context("the agent's state can't be read")?;
    Ok(Status::new(config.collector.endpoint.clone(), reason, account))
}

async fn why_off(config: &Config, client: &Client) -> anyhow::Result<Option<String>> {
    if let Some(off) = config.switches.off() {
        return Ok(Some(off.to_string()));
    }
    if let Some(name) = &config.owner_deployment {
        let namespace = config.place(client, None).namespace;
        let found = owner::get(client, &namespace, name).await;
        let deployment = found.map_err(|failure| anyhow!("--owner-deployment {name:?} in {namespace:?}: {failure}"))?;
        if let Some(switch) = switch_of(&deployment) {
            return Ok(Some(format!("{switch} is set in the Deployment {name:?}")));
        }
    }
    let look = cluster::look(client, &config.kamaji_namespace, config.kamaji_flag).await;
    Ok(config.kamaji_flag.off(&look.operator).map(|off| off.to_string()))
}

/// The switch with which a Deployment's own arguments or environment turn telemetry off.
fn switch_of(deployment: &Deployment) -> Option<&'static str> {
    if operator::read(std::slice::from_ref(deployment)).telemetry_disabled {
        return Some("--disable-telemetry");
    }
    let containers = deployment.spec.template.spec.iter().flat_map(|spec| &spec.containers);
    let mut variables = containers.flat_map(|container| container.env.iter().flatten());
    let switches = ["KAMAJI_TELEMETRY_DISABLE_TELEMETRY", "DO_NOT_TRACK", "OTEL_SDK_DISABLED"];
    variables.find_map(|variable| {
        let value = variable.value.as_deref().unwrap_or_default();
        switches.into_iter().find(|switch| variable.name == *switch).filter(|_| is_set(value))
    })
}

impl Status {
    fn new(endpoint: String, reason: Option<String>, account: Option<Account>) -> Self {
        let (state, kept) = account.map(|account| (account.state, account.endpoint)).unzip();
        let outbox = state.iter().flat_map(|state| &state.outbox);
        Self {
            enabled: reason.is_none(),
            reason,
            endpoint: kept.flatten().unwrap_or(endpoint),
            installation: state.as_ref().map(|state| state.installation),
            baseline: state.as_ref().is_some_and(|state| state.baseline),
            pending: outbox.clone().count(),
            oldest_pending: outbox.map(|event| event.time).min(),
            last_acknowledgement: state.as_ref().and_then(|state| state.acknowledged),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { enabled: _, reason, endpoint, installation, baseline, pending, oldest_pending, .. } = self;
        let or_none = |time: &Option<Timestamp>| time.map_or_else(|| "none".to_owned(), |time| time.to_string());
        match reason {
            None => writeln!(f, "Telemetry is on.")?,
            Some(reason) => writeln!(f, "Telemetry is off: {reason}.")?,
        }
        let Some(installation) = installation else {
            return writeln!(f, "No agent keeps any state in this namespace.");
        };
        let events = if *baseline { "reported" } else { "not reported: the control planes are counted only" };
        writeln!(f, "\ninstallation          {installation}")?;
        writeln!(f, "endpoint              {endpoint}")?;
        writeln!(f, "events                {events}")?;
        writeln!(f, "pending               {pending}")?;
        writeln!(f, "oldest pending        {}", or_none(oldest_pending))?;
        writeln!(f, "last acknowledgement  {}", or_none(&self.last_acknowledgement))
    }
}
