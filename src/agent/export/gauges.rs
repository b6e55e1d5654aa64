//! The gauges' cycles: the first with the first complete sync, then one an interval.

use crate::process::lock::lock;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::time::Instant;

use super::health::ExportHealth;
use super::instruments::{ExtendedValues, GaugeInstruments, GaugeValues};
use crate::agent::Config;
use crate::agent::backoff::Backoff;
use crate::agent::kubernetes::{ClusterInfo, datastores};
use crate::agent::metrics::{self, Signal};
use crate::agent::observe::SharedIndex;
use crate::process::log_throttle::LogThrottle;

/// The wait before a failed cycle is tried again; it doubles up to the longest.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// What a cycle is made of.
pub(in crate::agent) struct GaugeExporter<'a> {
    pub(in crate::agent) config: &'a Config,
    pub(in crate::agent) client: &'a Client,
    pub(in crate::agent) cluster_info: watch::Receiver<ClusterInfo>,
    pub(in crate::agent) index: SharedIndex,
    pub(in crate::agent) is_synced: watch::Receiver<bool>,
    pub(in crate::agent) gauges: GaugeInstruments,
    pub(in crate::agent) export_health: Arc<ExportHealth>,
    pub(in crate::agent) no_datastores: &'a LogThrottle,
    /// Begins anew with a success alone.
    pub(in crate::agent) backoff: Backoff,
}

impl GaugeExporter<'_> {
    pub(in crate::agent) async fn run(mut self) {
        loop {
            if self.is_synced.wait_for(|synced| *synced).await.is_err() {
                return;
            }
            let due = Instant::now() + self.config.interval;
            self.send_until(due).await;
            tokio::time::sleep_until(due).await;
        }
    }

    /// Sends a cycle; one that failed is tried again with fresh counts until the next is due.
    async fn send_until(&mut self, due: Instant) {
        loop {
            if self.send().await {
                self.backoff = backoff(self.config);
                return;
            }
            let again = Instant::now() + self.backoff.wait();
            if again >= due {
                return;
            }
            tokio::time::sleep_until(again).await;
        }
    }

    /// Sends a cycle as of now, if there is one, and says whether the collector took it.
    async fn send(&self) -> bool {
        let Some(cycle) = self.cycle().await else { return false };
        let sent = export(&self.gauges, cycle).await;
        metrics::export(Signal::Metrics, if sent.is_ok() { metrics::SUCCESS } else { metrics::FAILURE });
        match &sent {
            Ok(()) => self.export_health.recovered(Signal::Metrics),
            Err(error) => self.export_health.failed(Signal::Metrics, |_| {
                tracing::warn!("the collector does not take gauges: {error}; they are sent again with fresh counts");
            }),
        }
        sent.is_ok()
    }

    /// A cycle as of now; none while the cluster can't be read.
    async fn cycle(&self) -> Option<GaugeValues> {
        let look = self.cluster_info.borrow().clone();
        if look.is_transient() {
            return None;
        }
        let extended = if self.config.extended { Some(self.extended().await) } else { None };
        let counts = lock(&self.index).counts()?;
        Some(GaugeValues { versions: look.versions(self.config.kamaji_version), counts, extended })
    }

    /// The datastores, or none where they can't be read: those gauges are then left out.
    async fn extended(&self) -> ExtendedValues {
        let datastores = datastores::count(self.client).await;
        match &datastores {
            Ok(_) => self.no_datastores.recovered(|| tracing::info!("datastores can be read again")),
            Err(failure) => self.no_datastores.failed(|_| tracing::warn!("datastores are left out: {failure}")),
        }
        ExtendedValues { datastores: datastores.unwrap_or_default() }
    }
}

impl Drop for GaugeExporter<'_> {
    /// A blocking export can't be stopped from outside: it is told that what it sends is not wanted any more.
    fn drop(&mut self) {
        self.gauges.end();
    }
}

/// How long to wait between two tries of a cycle.
pub(in crate::agent) fn backoff(config: &Config) -> Backoff {
    Backoff::new(RETRY_MIN, config.retry_max_interval)
}

/// The SDK exports by blocking.
async fn export(gauges: &GaugeInstruments, cycle: GaugeValues) -> anyhow::Result<()> {
    let gauges = gauges.clone();
    Ok(tokio::task::spawn_blocking(move || gauges.export(cycle)).await??)
}
