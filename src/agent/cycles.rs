//! The gauges' cycles: the first with the first complete sync, then one an interval.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Config;
use super::accounts::{self, Signal};
use super::backoff::Backoff;
use super::cluster::{Look, datastores};
use super::deliver::egress::Egress;
use super::deliver::gauges::{Cycle, Extended, Gauges};
use super::observe::SharedView;
use super::quiet::Quiet;

/// The wait before a failed cycle is tried again; it doubles up to the longest.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// What a cycle is made of.
pub(super) struct Cycles<'a> {
    pub(super) config: &'a Config,
    pub(super) client: &'a Client,
    pub(super) looks: watch::Receiver<Look>,
    pub(super) view: SharedView,
    pub(super) is_synced: watch::Receiver<bool>,
    pub(super) gauges: Gauges,
    pub(super) egress: Arc<Egress>,
    pub(super) no_datastores: &'a Quiet,
    /// Begins anew with a success alone.
    pub(super) backoff: Backoff,
}

impl Cycles<'_> {
    pub(super) async fn run(mut self) {
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
        accounts::exported(Signal::Metrics, if sent.is_ok() { "OK" } else { "FAILED" });
        match &sent {
            Ok(()) => self.egress.recovered(Signal::Metrics),
            Err(error) => self.egress.failed(Signal::Metrics, || {
                tracing::warn!("the collector does not take gauges: {error}; they are sent again with fresh counts");
            }),
        }
        sent.is_ok()
    }

    /// A cycle as of now; none while the cluster can't be read.
    async fn cycle(&self) -> Option<Cycle> {
        let look = self.looks.borrow().clone();
        if look.is_passing() {
            return None;
        }
        let extended = if self.config.extended { Some(self.extended().await) } else { None };
        let counts = self.view.lock().unwrap_or_else(PoisonError::into_inner).counts()?;
        Some(Cycle { versions: look.versions(self.config.kamaji_version), counts, extended })
    }

    /// The datastores, or none where they can't be read: those gauges are then left out.
    async fn extended(&self) -> Extended {
        let datastores = datastores::count(self.client).await;
        match &datastores {
            Ok(_) => self.no_datastores.recovered(|| tracing::info!("datastores can be read again")),
            Err(failure) => self.no_datastores.failed(|| tracing::warn!("datastores are left out: {failure}")),
        }
        Extended { datastores: datastores.unwrap_or_default() }
    }
}

impl Drop for Cycles<'_> {
    /// A blocking export can't be stopped from outside: it is told that what it sends is not wanted any more.
    fn drop(&mut self) {
        self.gauges.end();
    }
}

/// How long to wait between two tries of a cycle.
pub(super) fn backoff(config: &Config) -> Backoff {
    Backoff::new(RETRY_MIN, config.retry_max)
}

/// The SDK exports by blocking.
async fn export(gauges: &Gauges, cycle: Cycle) -> anyhow::Result<()> {
    let gauges = gauges.clone();
    Ok(tokio::task::spawn_blocking(move || gauges.export(cycle)).await??)
}
