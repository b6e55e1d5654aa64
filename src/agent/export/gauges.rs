//! The export of the gauges: first after the first complete sync, then once an interval.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::health::ExportHealth;
use super::instruments::{ExtendedValues, GaugeInstruments, GaugeValues};
use crate::agent::backoff::Backoff;
use crate::agent::journal::handle::JournalHandle;
use crate::agent::kubernetes::{ClusterInfo, datastores};
use crate::agent::metrics::{self, Signal};
use crate::agent::observe::SharedIndex;
use crate::catalog::KamajiVersion;
use crate::process::lock::lock;
use crate::process::log_throttle::LogThrottle;

/// The wait before the first retry of a failed export. It doubles up to the maximum.
pub(crate) const RETRY_MIN: Duration = Duration::from_secs(1);

/// An exporter of the gauges of one term.
pub(in crate::agent) struct GaugeExporter<'a> {
    pub(in crate::agent) options: GaugeOptions,
    pub(in crate::agent) client: &'a Client,
    pub(in crate::agent) cluster_info: watch::Receiver<ClusterInfo>,
    pub(in crate::agent) index: SharedIndex,
    pub(in crate::agent) is_synced: watch::Receiver<bool>,
    /// The journal, which has the installation's identity.
    pub(in crate::agent) journal: &'a JournalHandle,
    /// Notified when the journal is found deleted.
    pub(in crate::agent) journal_deleted: &'a Notify,
    pub(in crate::agent) journal_throttle: &'a LogThrottle,
    pub(in crate::agent) instruments: GaugeInstruments,
    pub(in crate::agent) export_health: Arc<ExportHealth>,
    pub(in crate::agent) datastores_throttle: &'a LogThrottle,
}

/// Configuration of the gauges' export.
#[derive(Debug, Clone, Copy)]
pub(in crate::agent) struct GaugeOptions {
    pub(in crate::agent) interval: Duration,
    pub(in crate::agent) retry_max_interval: Duration,
    /// Sends the extended signals.
    pub(in crate::agent) extended: bool,
    /// Kamaji's version, if it is not to be read from the operator.
    pub(in crate::agent) kamaji_version: Option<KamajiVersion>,
}

impl GaugeExporter<'_> {
    /// Runs until the sender of `is_synced` is dropped.
    pub(in crate::agent) async fn run(mut self) {
        let mut backoff = self.options.backoff();
        loop {
            if self.is_synced.wait_for(|synced| *synced).await.is_err() {
                return;
            }
            let next_export = Instant::now() + self.options.interval;
            self.export_until(next_export, &mut backoff).await;
            tokio::time::sleep_until(next_export).await;
        }
    }

    /// Exports once. A failed export is retried with fresh counts until `deadline`. Only a success resets the backoff.
    async fn export_until(&self, deadline: Instant, backoff: &mut Backoff) {
        loop {
            if self.export_once().await {
                *backoff = self.options.backoff();
                return;
            }
            let retry_at = Instant::now() + backoff.wait();
            if retry_at >= deadline {
                return;
            }
            tokio::time::sleep_until(retry_at).await;
        }
    }

    /// Exports the current values, and returns whether the collector took them.
    #[tracing::instrument(name = "export", skip_all, fields(signal = Signal::Metrics.as_str()))]
    async fn export_once(&self) -> bool {
        let Some(values) = self.values().await else { return false };
        let result = export(&self.instruments, values).await;
        metrics::export(Signal::Metrics, if result.is_ok() { metrics::SUCCESS } else { metrics::FAILURE });
        match &result {
            Ok(()) => self.export_health.recovered(Signal::Metrics),
            Err(error) => self.export_health.failed(Signal::Metrics, |_| {
                tracing::warn!(%error, "failed to export gauges; retrying with fresh counts");
            }),
        }
        result.is_ok()
    }

    /// Returns the current values, or `None` while the cluster can't be read or watched, or if the installation was
    /// forgotten.
    async fn values(&self) -> Option<GaugeValues> {
        let info = self.cluster_info.borrow().clone();
        if info.is_transient() || !*self.is_synced.borrow() {
            return None;
        }
        let extended = if self.options.extended { Some(self.extended_values().await) } else { None };
        if !self.journal_exists().await {
            return None;
        }
        // Counted last, so that no await makes the counts old. The watch may have ended meanwhile.
        if !*self.is_synced.borrow() {
            return None;
        }
        let counts = lock(&self.index).counts()?;
        Some(GaugeValues { versions: info.versions(self.options.kamaji_version), counts, extended })
    }

    /// Returns whether the journal is known to exist. Otherwise the identity was deleted, and what was stored under it may
    /// be erased in the backend by now.
    async fn journal_exists(&self) -> bool {
        match self.journal.exists().await {
            Ok(exists) => {
                self.journal_throttle.recovered(|| tracing::info!("the journal can be read again"));
                if !exists {
                    self.journal_deleted.notify_one();
                }
                exists
            }
            Err(error) => {
                self.journal_throttle.failed(|_| {
                    tracing::warn!(%error, "failed to read the journal; retrying, and sending no gauges meanwhile");
                });
                false
            }
        }
    }

    /// Returns the values of the datastores. If they can't be read, their gauges are left out.
    async fn extended_values(&self) -> ExtendedValues {
        let datastores = datastores::count(self.client).await;
        match &datastores {
            Ok(by_driver) => self.datastores_throttle.recovered(|| {
                tracing::info!(drivers = by_driver.len(), "datastores can be read again");
            }),
            Err(error) => self.datastores_throttle.failed(|_| {
                tracing::warn!(%error, "failed to read datastores; retrying, and leaving out their gauges");
            }),
        }
        ExtendedValues { datastores: datastores.unwrap_or_default() }
    }
}

impl Drop for GaugeExporter<'_> {
    /// Cancels a running export. It blocks a thread of its own, so dropping the future does not stop it.
    fn drop(&mut self) {
        self.instruments.cancel();
    }
}

impl GaugeOptions {
    fn backoff(&self) -> Backoff {
        Backoff::new(RETRY_MIN, self.retry_max_interval)
    }
}

/// Exports on a thread of its own, because the SDK blocks.
async fn export(instruments: &GaugeInstruments, values: GaugeValues) -> anyhow::Result<()> {
    let instruments = instruments.clone();
    Ok(tokio::task::spawn_blocking(move || instruments.export(values)).await??)
}
