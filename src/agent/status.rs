//! Whether telemetry is on, and how far its delivery is, as the cluster tells it.

mod settings;

use std::fmt;

use anyhow::{Context, anyhow};
use jiff::Timestamp;
use kube::Client;
use serde::Serialize;
use uuid::Uuid;

use super::consent::KamajiOptOut;
use super::journal::JournalStore;
use super::journal::config_map::JournalView;
use super::kubernetes::{self, operator, owner};
use settings::Settings;

/// What is read.
#[derive(Debug, Clone)]
pub struct Question {
    /// Where the agent's own state lives; where there is none, in the namespace of the cluster's configuration.
    pub namespace: Option<String>,
    /// The Deployment that the agent runs in; where there is none, the one that the state says.
    pub deployment: Option<String>,
    /// Where Kamaji's operator runs, unless the Deployment says otherwise.
    pub kamaji_namespace: String,
    /// What Kamaji's own switch means, unless the Deployment says otherwise.
    pub kamaji_opt_out: KamajiOptOut,
}

/// What the cluster says of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusReport {
    /// Nothing that can be seen switches telemetry off.
    enabled: bool,
    /// What switches it off.
    reason: Option<String>,
    /// What could not be seen, so that telemetry may be off all the same.
    unseen: Option<String>,
    /// The collector that the agent sends to.
    endpoint: Option<String>,
    /// The installation's identity; none where no agent keeps any state.
    installation: Option<Uuid>,
    /// EventExporter are reported: the first complete list was recorded, and there are not too many control planes.
    baseline: bool,
    /// EventExporter that the collector has not acknowledged, as last written.
    pending: usize,
    /// When the oldest of them happened.
    oldest_pending: Option<Timestamp>,
    /// When the collector last acknowledged an event, as last written.
    last_acknowledgement: Option<Timestamp>,
}

/// Reads the agent's state, the settings of its Deployment, and Kamaji's operator. What switches telemetry off where
/// this is run says nothing of the agent, and is not looked at. It writes nothing, and connects to no collector.
pub async fn read(question: Question) -> anyhow::Result<StatusReport> {
    let Question { namespace, deployment, kamaji_namespace, kamaji_opt_out } = question;
    let client = kubernetes::connect(None).await?;
    let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let place = JournalStore { client: client.clone(), namespace, owner: None };
    let account = place.read().await.context("the agent's state can't be read")?;
    let deployment = deployment.or_else(|| account.as_ref()?.owner.clone());
    let settings = match deployment {
        Some(name) => settings(&client, &place.namespace, &name).await?,
        None => Settings::unseen("its Deployment is not known: name it with --owner-deployment"),
    };
    let Settings { off, unseen, kamaji_opt_out: own_flag, kamaji_namespace: own_namespace } = settings;
    let kamaji_namespace = own_namespace.unwrap_or(kamaji_namespace);
    let kamaji_opt_out = own_flag.unwrap_or(kamaji_opt_out);
    let operator = operator::read(&client, &kamaji_namespace).await;
    let reason = off.or_else(|| kamaji_opt_out.disabled_reason(&operator).map(|reason| reason.to_string()));
    Ok(StatusReport::new(reason, unseen, account))
}

async fn settings(client: &Client, namespace: &str, name: &str) -> anyhow::Result<Settings> {
    let found = owner::get(client, namespace, name).await;
    let deployment = found.map_err(|failure| anyhow!("the Deployment {name:?} in {namespace:?}: {failure}"))?;
    Ok(Settings::of(&deployment))
}

impl StatusReport {
    fn new(reason: Option<String>, unseen: Option<String>, account: Option<JournalView>) -> Self {
        let (state, endpoint) = account.map(|account| (account.state, account.endpoint)).unzip();
        let outbox = state.iter().flat_map(|state| &state.outbox);
        Self {
            enabled: reason.is_none(),
            reason,
            unseen,
            endpoint: endpoint.flatten(),
            installation: state.as_ref().map(|state| state.installation),
            baseline: state.as_ref().is_some_and(|state| state.baseline),
            pending: outbox.clone().count(),
            oldest_pending: outbox.map(|event| event.time).min(),
            last_acknowledgement: state.as_ref().and_then(|state| state.acknowledged),
        }
    }
}

impl fmt::Display for StatusReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { enabled: _, reason, unseen, endpoint, installation, baseline, pending, .. } = self;
        match reason {
            None => writeln!(f, "Telemetry is on, as far as can be seen.")?,
            Some(reason) => writeln!(f, "Telemetry is off: {reason}.")?,
        }
        if let Some(unseen) = unseen {
            writeln!(f, "The agent's own switches can't be seen: {unseen}.")?;
        }
        let Some(installation) = installation else {
            return writeln!(f, "No agent keeps any state in this namespace.");
        };
        if reason.is_some() {
            writeln!(f, "There is state all the same, which an agent that is off deletes: one may still be on.")?;
        }
        let or_none = |time: &Option<Timestamp>| time.map_or_else(|| "none".to_owned(), |time| time.to_string());
        let events = if *baseline { "reported" } else { "not reported: the control planes are counted only" };
        writeln!(f, "\ninstallation          {installation}")?;
        writeln!(f, "endpoint              {}", endpoint.as_deref().unwrap_or("unknown"))?;
        writeln!(f, "events                {events}")?;
        writeln!(f, "pending               {pending}")?;
        writeln!(f, "oldest pending        {}", or_none(&self.oldest_pending))?;
        writeln!(f, "last acknowledgement  {}", or_none(&self.last_acknowledgement))
    }
}
