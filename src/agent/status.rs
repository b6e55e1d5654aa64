//! A report on the agent, as far as the cluster shows it: whether telemetry is on, and the state of its delivery.

mod settings;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, anyhow};
use jiff::Timestamp;
use kube::Client;
use serde::Serialize;
use uuid::Uuid;

use super::consent::KamajiOptOut;
use super::journal::JournalStore;
use super::journal::config_map::JournalView;
use super::kubernetes::operator::{self, OperatorLocation, OperatorReport};
use super::kubernetes::{self, owner};
use settings::Settings;

const COPIED: &str = "The state in this namespace is a copy: it was written to another ConfigMap, in another cluster or \
    namespace, or before a\nbackup was restored. Nothing of it is sent. An agent that is on begins a new installation in \
    its place, with a new UUID.";

/// The settings of a report.
#[derive(Debug, Clone)]
pub struct StatusOptions {
    /// The namespace of the agent's state; the default is that of the cluster's configuration.
    pub namespace: Option<String>,
    /// The name of the agent's Deployment; the default is the owner of the state.
    pub deployment: Option<String>,
    /// The place of Kamaji's operator, unless the Deployment sets another.
    pub operator_location: OperatorLocation,
    /// The effect of Kamaji's own switch, unless the Deployment sets another.
    pub kamaji_opt_out: KamajiOptOut,
    /// The agent's check of its command line: the reason why it does not start with it.
    pub refusal: fn(&AgentCommandLine) -> Option<String>,
}

/// The command line of an agent, as its Deployment has it.
#[derive(Debug, Clone, Default)]
pub struct AgentCommandLine {
    /// The words after the program.
    pub words: Vec<String>,
    /// The environment variables with a literal value.
    pub variables: HashMap<String, String>,
    /// True if there are no other variables.
    pub is_complete: bool,
}

/// The report on an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusReport {
    /// True if no switch is known to turn telemetry off.
    enabled: bool,
    /// The switch that turns telemetry off.
    reason: Option<String>,
    /// The settings that could not be read, because of which telemetry may be off although `enabled` is true.
    unverified: Option<String>,
    /// Kamaji's operator, and the source of Kamaji's version.
    kamaji: OperatorReport,
    /// The address of the collector.
    endpoint: Option<String>,
    /// The identity of the installation; none if the namespace has no state of an agent, or only a copy.
    installation: Option<Uuid>,
    /// True if the state is a copy, from another cluster or namespace or a backup: the agent replaces it by that of a new
    /// installation.
    copied: bool,
    /// True if events are reported: there is a baseline, and there are not too many control planes.
    baseline: bool,
    /// The number of events whose acknowledgement by the collector is not written.
    pending: usize,
    /// The time within which an acknowledgement is written, in seconds: fewer events may be pending.
    acknowledgement_delay_seconds: Option<u64>,
    /// The time of the oldest of them.
    oldest_pending: Option<Timestamp>,
    /// The time of the last acknowledgement, as of the last write of the state.
    last_acknowledgement: Option<Timestamp>,
}

/// Reads the agent's state, the settings in its Deployment, and Kamaji's operator. Nothing is written, and no connection
/// to the collector is opened.
///
/// Switches in the environment of the caller are ignored, because they say nothing about the agent.
pub async fn read(options: StatusOptions) -> anyhow::Result<StatusReport> {
    let StatusOptions { namespace, deployment, operator_location, kamaji_opt_out, refusal } = options;
    let client = kubernetes::connect(None).await?;
    let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let store = JournalStore { client: client.clone(), namespace, owner: None };
    let view = store.read().await.context("the agent's state can't be read")?;
    let deployment = deployment.or_else(|| view.as_ref()?.owner.clone());
    let settings = match deployment {
        Some(name) => settings(&client, &store.namespace, &name, refusal).await?,
        None => Settings::unverified("its Deployment is not known: name it with --owner-deployment"),
    };
    let operator_location = OperatorLocation {
        namespace: settings.kamaji_namespace.unwrap_or(operator_location.namespace),
        deployment: settings.kamaji_deployment.or(operator_location.deployment),
    };
    let kamaji_opt_out = settings.kamaji_opt_out.unwrap_or(kamaji_opt_out);
    let operator = operator::find(&client, &operator_location).await;
    let reason =
        settings.disabled_reason.or_else(|| kamaji_opt_out.disabled_reason(&operator).map(|reason| reason.to_string()));
    let operator = OperatorReport::new(&operator, &operator_location, settings.kamaji_version);
    Ok(StatusReport::new(reason, settings.unverified, operator, view))
}

async fn settings(
    client: &Client,
    namespace: &str,
    name: &str,
    refusal: fn(&AgentCommandLine) -> Option<String>,
) -> anyhow::Result<Settings> {
    let deployment = owner::get(client, namespace, name).await;
    let deployment = deployment.map_err(|error| anyhow!("the Deployment {name:?} in {namespace:?}: {error}"))?;
    Ok(Settings::from_deployment(&deployment, refusal))
}

/// Rounds up to whole seconds.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

impl StatusReport {
    fn new(
        reason: Option<String>,
        unverified: Option<String>,
        kamaji: OperatorReport,
        view: Option<JournalView>,
    ) -> Self {
        let copied = view.as_ref().is_some_and(|view| view.is_copy);
        let view = view.filter(|view| !view.is_copy);
        let acknowledgement_delay = view.as_ref().map(|view| view.acknowledgement_delay);
        let (state, endpoint) = view.map(|view| (view.state, view.endpoint)).unzip();
        let outbox = state.iter().flat_map(|state| &state.outbox);
        Self {
            enabled: reason.is_none(),
            reason,
            unverified,
            kamaji,
            endpoint: endpoint.flatten(),
            installation: state.as_ref().map(|state| state.installation),
            copied,
            baseline: state.as_ref().is_some_and(|state| state.baseline),
            pending: outbox.clone().count(),
            acknowledgement_delay_seconds: acknowledgement_delay.map(whole_seconds),
            oldest_pending: outbox.map(|event| event.time).min(),
            last_acknowledgement: state.as_ref().and_then(|state| state.acknowledged),
        }
    }
}

impl StatusReport {
    fn pending(&self) -> String {
        let pending = self.pending;
        match self.acknowledgement_delay_seconds.filter(|_| pending > 0) {
            Some(seconds) => format!("{pending}  (or fewer: an acknowledgement is written within {seconds} s)"),
            None => pending.to_string(),
        }
    }
}

impl fmt::Display for StatusReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { enabled: _, reason, unverified, kamaji, endpoint, installation, copied, baseline, .. } = self;
        match reason {
            None => writeln!(f, "Telemetry is on, as far as can be seen.")?,
            Some(reason) => writeln!(f, "Telemetry is off: {reason}.")?,
        }
        if let Some(unverified) = unverified {
            writeln!(f, "The agent's own switches can't be seen: {unverified}.")?;
        }
        if reason.is_some() && installation.is_some() {
            writeln!(f, "There is state all the same, which an agent that is off deletes: one may still be on.")?;
        }
        writeln!(f, "\nKamaji's operator     {}", kamaji.operator())?;
        writeln!(f, "Kamaji's version      {}", kamaji.sourced_version())?;
        if *copied {
            return writeln!(f, "\n{COPIED}");
        }
        let Some(installation) = installation else {
            return writeln!(f, "\nThis namespace has no state of an agent.");
        };
        let or_none = |time: &Option<Timestamp>| time.map_or_else(|| "none".to_owned(), |time| time.to_string());
        let events = if *baseline { "reported" } else { "not reported: the control planes are counted only" };
        writeln!(f, "installation          {installation}")?;
        writeln!(f, "endpoint              {}", endpoint.as_deref().unwrap_or("unknown"))?;
        writeln!(f, "events                {events}")?;
        writeln!(f, "pending               {}", self.pending())?;
        writeln!(f, "oldest pending        {}", or_none(&self.oldest_pending))?;
        writeln!(f, "last acknowledgement  {}", or_none(&self.last_acknowledgement))
    }
}
