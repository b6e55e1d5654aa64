//! Follows consent: while telemetry is off the journal is deleted and nothing else is done, while it is on it is led.

use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::consent::DisabledReason;
use super::kubernetes::{self, ClusterInfo};
use super::term::LogThrottles;
use super::{Config, leader, metrics};
use crate::catalog::KamajiVersion;
use crate::process::log_throttle::LogThrottle;
use crate::process::probes::Readiness;

/// The wait before the journal's deletion is tried again; it doubles up to the longest.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// Whose switch has turned telemetry off: the agent's own stay as they were at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Switch {
    Own,
    Kamajis,
}

/// What consent is followed with.
struct Follow<'a> {
    config: &'a Config,
    client: Client,
    readiness: &'a Readiness,
    shutdown: &'a CancellationToken,
    not_erased: LogThrottle,
    throttles: LogThrottles,
}

/// Runs until `shutdown`, by the operator's own switches first, and then by Kamaji's.
pub(super) async fn run(config: Config, readiness: Readiness, shutdown: CancellationToken) -> anyhow::Result<()> {
    if let Some(off) = config.switches.off() {
        say_off(&off);
        readiness.set(true);
        let client = match kubernetes::connect(config.cluster.clone()).await {
            Ok(client) => client,
            Err(error) => {
                tracing::warn!("what an earlier run may have left in the cluster is not deleted: {error:#}");
                shutdown.cancelled().await;
                return Ok(());
            }
        };
        let follow = Follow::new(&config, client, &readiness, &shutdown);
        follow.keep_erased(std::future::pending(), Switch::Own).await;
        return Ok(());
    }
    config.collector.check()?;
    let client = kubernetes::connect(config.cluster.clone()).await?;
    let (cluster_info, seen) = watch::channel(first_look(&config, &client, &shutdown).await);
    let follow = Follow::new(&config, client.clone(), &readiness, &shutdown);
    tokio::select! {
        () = keep_looking(&config, &client, cluster_info) => {}
        () = follow.run(seen) => {}
    }
    Ok(())
}

/// A shutdown must not wait for an API server that does not answer.
async fn first_look(config: &Config, client: &Client, shutdown: &CancellationToken) -> ClusterInfo {
    tokio::select! {
        look = kubernetes::look(client, &config.kamaji_namespace, config.kamaji_opt_out) => look,
        () = shutdown.cancelled() => ClusterInfo::nothing(&config.kamaji_namespace),
    }
}

/// Looks again and again. What can't be read for the moment stays as it was last read.
async fn keep_looking(config: &Config, client: &Client, cluster_info: watch::Sender<ClusterInfo>) {
    loop {
        tokio::time::sleep(config.operator_poll_interval).await;
        let look = kubernetes::look(client, &config.kamaji_namespace, config.kamaji_opt_out).await;
        cluster_info.send_if_modified(|last| {
            let look = look.after(last);
            let is_other = look != *last;
            *last = look;
            is_other
        });
    }
}

impl<'a> Follow<'a> {
    fn new(config: &'a Config, client: Client, readiness: &'a Readiness, shutdown: &'a CancellationToken) -> Self {
        Self {
            config,
            client,
            readiness,
            shutdown,
            not_erased: LogThrottle::hourly(),
            throttles: LogThrottles::default(),
        }
    }

    async fn run(&self, mut cluster_info: watch::Receiver<ClusterInfo>) {
        let degraded = LogThrottle::hourly();
        let mut said = None;
        while !self.shutdown.is_cancelled() {
            let off = self.config.kamaji_opt_out.off(&cluster_info.borrow_and_update().operator);
            let Some(off) = off else {
                said = None;
                degraded.recovered(|| tracing::info!("Kamaji's operator is seen again"));
                say_on(self.config, &cluster_info.borrow());
                self.run_while_on(&cluster_info).await;
                continue;
            };
            self.readiness.set(true);
            if said.as_ref() != Some(&off) {
                if off.is_decided() {
                    say_off(&off);
                } else {
                    degraded.failed(|_| tracing::warn!("telemetry is off: {off}"));
                }
            }
            let is_decided = off.is_decided();
            said = Some(off);
            self.stay_off(&mut cluster_info, is_decided).await;
        }
    }

    /// Leads while there is consent. All that it has not sent is dropped as soon as that ends; a shutdown lets it
    /// deliver.
    async fn run_while_on(&self, cluster_info: &watch::Receiver<ClusterInfo>) {
        metrics::enabled(true);
        let mut consent = cluster_info.clone();
        // An API server that does not answer for a while has not said no. Nothing is observed meanwhile, nor any gauge
        // sent, and the next answer decides.
        let flag = self.config.kamaji_opt_out;
        let ends = consent.wait_for(|look| !look.is_transient() && flag.off(&look.operator).is_some());
        let Self { client, readiness, shutdown, throttles, .. } = self;
        tokio::select! {
            () = leader::run(self.config, client, cluster_info.clone(), readiness, shutdown, throttles) => {}
            _ = ends => {}
        }
        metrics::enabled(false);
    }

    /// Waits for another look. What was kept is deleted where somebody has decided that telemetry is off, or where
    /// nothing else was seen for longer than a look takes: an API server that has just started refuses what it will
    /// allow in a moment, and that is no reason to lose events.
    async fn stay_off(&self, cluster_info: &mut watch::Receiver<ClusterInfo>, is_decided: bool) {
        let is_transient = cluster_info.borrow().is_transient();
        let changed = async { drop(cluster_info.changed().await) };
        let stays = async {
            match (is_transient, is_decided) {
                (true, _) => std::future::pending().await,
                (false, true) => {}
                (false, false) => tokio::time::sleep(self.config.operator_poll_interval * 2).await,
            }
        };
        tokio::pin!(changed);
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return,
            () = stays => {}
            () = &mut changed => return,
        }
        self.keep_erased(changed, Switch::Kamajis).await;
    }

    /// Looks once more: since the last look it may have been switched on, and another replica may lead already.
    async fn is_still_off(&self) -> bool {
        let Config { kamaji_namespace, kamaji_opt_out, .. } = self.config;
        let look = kubernetes::look(&self.client, kamaji_namespace, *kamaji_opt_out).await;
        !look.is_transient() && kamaji_opt_out.off(&look.operator).is_some()
    }

    /// Deletes the journal, and then once an interval again where it is still off, since a replica that is still
    /// rolling out may have brought it back; until it was deleted and `until` has come, or a shutdown. What happens while
    /// telemetry is off is never reported, so it stays off for as long as the journal can't be deleted.
    async fn keep_erased(&self, until: impl Future<Output = ()>, switch: Switch) {
        tokio::select! {
            () = self.erase() => {}
            () = self.shutdown.cancelled() => return,
        }
        let again = async {
            loop {
                tokio::time::sleep(self.config.erase_interval).await;
                if switch == Switch::Own || self.is_still_off().await {
                    self.erase().await;
                }
            }
        };
        tokio::select! {
            () = again => {}
            () = until => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    /// Deletes the journal, however often that takes.
    async fn erase(&self) {
        let mut backoff = Backoff::new(RETRY_MIN, self.config.retry_max_interval);
        loop {
            match self.config.place(&self.client, None).erase().await {
                Ok(was_there) => {
                    self.not_erased.recovered(|| tracing::info!("the journal can be deleted again"));
                    if was_there {
                        tracing::info!("the journal is deleted, and the installation's UUID with it");
                    }
                    return;
                }
                Err(failure) => self.not_erased.failed(|_| {
                    tracing::warn!("can't delete the journal: {failure}; trying again, and staying off until then");
                }),
            }
            tokio::time::sleep(backoff.wait()).await;
        }
    }
}

fn say_off(off: &DisabledReason) {
    tracing::info!("telemetry is off: {off}. Nothing is watched and nothing is sent");
}

fn say_on(config: &Config, look: &ClusterInfo) {
    let Config { collector, interval, kamaji_version, kamaji_namespace, .. } = config;
    tracing::info!("telemetry is on: gauges every {interval:?} and events go to {}", collector.endpoint);
    if collector.shows_headers() {
        tracing::warn!("the headers for {} are sent without encryption: use https://", collector.endpoint);
    }
    if look.operator.as_ref().is_ok_and(|operator| !operator.telemetry_disabled) {
        tracing::warn!(
            "Kamaji's own telemetry is on too, so both report; to leave it to this one, run Kamaji with \
             --disable-telemetry and this agent with --follow-kamaji-opt-out=false"
        );
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
