//! The supervisor of consent. While telemetry is off it deletes the journal and does nothing else; while telemetry is on
//! it runs the leader.

use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::config::Config;
use super::consent::DisabledReason;
use super::kubernetes::operator::{self, OperatorError};
use super::kubernetes::{self, ClusterInfo};
use super::relay_probe::RelayUse;
use super::term::TermMemory;
use super::{leader, metrics};
use crate::catalog::KamajiVersion;
use crate::process::log_throttle::LogThrottle;
use crate::process::probes::Readiness;

/// The wait before the first retry of a deletion. It doubles up to the maximum.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// The origin of the opt-out that is in effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OptOutOrigin {
    /// The agent's own switches, which are fixed at its start.
    Agent,
    /// Kamaji's operator, which may change its mind.
    Operator,
}

struct Supervisor<'a> {
    config: &'a Config,
    client: Client,
    readiness: &'a Readiness,
    shutdown: &'a CancellationToken,
    erase_throttle: LogThrottle,
    memory: TermMemory,
}

/// Runs until `shutdown`. The agent's own switches are checked first, and then Kamaji's operator.
pub(super) async fn run(
    config: Config,
    readiness: Readiness,
    relay_use: RelayUse,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    if let Some(reason) = config.opt_out.disabled_reason() {
        return run_opted_out(&config, &reason, &readiness, &shutdown).await;
    }
    config.exporter.check()?;
    let client = kubernetes::connect(config.cluster.clone()).await?;
    let (sender, cluster_info) = watch::channel(first_poll(&config, &client, &shutdown).await);
    let supervisor = Supervisor::new(&config, client.clone(), &readiness, &shutdown);
    tokio::select! {
        () = poll_operator(&config, &client, sender) => {}
        () = supervisor.run(cluster_info, &relay_use) => {}
    }
    Ok(())
}

/// Deletes the journal repeatedly until `shutdown`. An unreachable cluster is not an error, because nothing else is read
/// from it.
async fn run_opted_out(
    config: &Config,
    reason: &DisabledReason,
    readiness: &Readiness,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    log_off(reason);
    readiness.set(true);
    match kubernetes::connect(config.cluster.clone()).await {
        Ok(client) => {
            let supervisor = Supervisor::new(config, client, readiness, shutdown);
            supervisor.erase_repeatedly(std::future::pending(), OptOutOrigin::Agent).await;
        }
        Err(error) => {
            let error = format!("{error:#}");
            tracing::warn!(error, "failed to delete what an earlier run may have left in the cluster");
            shutdown.cancelled().await;
        }
    }
    Ok(())
}

/// Polls once. Ends at a shutdown, which must not wait for an API server that does not answer.
async fn first_poll(config: &Config, client: &Client, shutdown: &CancellationToken) -> ClusterInfo {
    tokio::select! {
        info = read_cluster_info(config, client) => info,
        () = shutdown.cancelled() => ClusterInfo::unknown(&config.operator_location),
    }
}

/// Reads Kamaji's operator, and the versions unless it turns telemetry off.
async fn read_cluster_info(config: &Config, client: &Client) -> ClusterInfo {
    let needs_version = |operator: &_| config.kamaji_opt_out.permits(operator);
    kubernetes::read_cluster_info(client, &config.operator_location, needs_version).await
}

/// Polls Kamaji's operator and the versions for ever. What can't be read for the moment keeps its last value.
async fn poll_operator(config: &Config, client: &Client, cluster_info: watch::Sender<ClusterInfo>) {
    loop {
        tokio::time::sleep(config.operator_poll_interval).await;
        let info = read_cluster_info(config, client).await;
        cluster_info.send_if_modified(|last| {
            let info = info.inherit_versions(last);
            let is_changed = info != *last;
            *last = info;
            is_changed
        });
    }
}

impl<'a> Supervisor<'a> {
    fn new(config: &'a Config, client: Client, readiness: &'a Readiness, shutdown: &'a CancellationToken) -> Self {
        Self {
            config,
            client,
            readiness,
            shutdown,
            erase_throttle: LogThrottle::hourly(),
            memory: TermMemory::default(),
        }
    }

    async fn run(&self, mut cluster_info: watch::Receiver<ClusterInfo>, relay_use: &RelayUse) {
        let operator_throttle = LogThrottle::hourly();
        let mut logged = None;
        while !self.shutdown.is_cancelled() {
            let reason = self.config.kamaji_opt_out.disabled_reason(&cluster_info.borrow_and_update().operator);
            let Some(reason) = reason else {
                logged = None;
                let kamaji_namespace = &self.config.operator_location.namespace;
                operator_throttle.recovered(|| tracing::info!(kamaji_namespace, "found Kamaji's operator again"));
                log_on(self.config, &cluster_info.borrow());
                self.run_while_on(&cluster_info, relay_use).await;
                continue;
            };
            self.readiness.set(true);
            if logged.as_ref() != Some(&reason) {
                if reason.is_opt_out() {
                    log_off(&reason);
                } else {
                    operator_throttle.failed(|_| tracing::warn!(%reason, "telemetry is off"));
                }
            }
            let is_decided = reason.is_opt_out();
            logged = Some(reason);
            self.stay_off(&mut cluster_info, is_decided).await;
        }
    }

    /// Runs the leader until consent ends or the shutdown is complete. The end of consent drops whatever is still to be
    /// sent; a shutdown lets the leader deliver it.
    async fn run_while_on(&self, cluster_info: &watch::Receiver<ClusterInfo>, relay_use: &RelayUse) {
        metrics::enabled(true);
        relay_use.set(true);
        let mut consent = cluster_info.clone();
        // An API server that does not answer has not withdrawn consent. Meanwhile nothing is observed and no gauge is
        // sent, and its next answer decides.
        let opt_out = self.config.kamaji_opt_out;
        let withdrawn = consent.wait_for(|info| !info.is_transient() && !opt_out.permits(&info.operator));
        let Self { client, readiness, shutdown, memory, .. } = self;
        tokio::select! {
            () = leader::run(self.config, client, cluster_info.clone(), readiness, shutdown, memory) => {}
            _ = withdrawn => {}
        }
        relay_use.set(false);
        metrics::enabled(false);
    }

    /// Waits for the next change of `cluster_info`. Meanwhile deletes the journal: at once if telemetry was opted out of,
    /// and after two unchanged polls if the operator can't be read: an API server that has just started may deny requests
    /// briefly.
    async fn stay_off(&self, cluster_info: &mut watch::Receiver<ClusterInfo>, is_decided: bool) {
        let is_transient = cluster_info.borrow().is_transient();
        let changed = async { drop(cluster_info.changed().await) };
        let confirmed = async {
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
            () = confirmed => {}
            () = &mut changed => return,
        }
        self.erase_repeatedly(changed, OptOutOrigin::Operator).await;
    }

    /// Reads the operator again. Since the last poll telemetry may have been switched on, and another replica may lead.
    async fn is_still_off(&self) -> bool {
        let Config { operator_location, kamaji_opt_out, .. } = self.config;
        let operator = operator::find(&self.client, operator_location).await;
        let is_transient = operator.as_ref().is_err_and(OperatorError::is_transient);
        !is_transient && !kamaji_opt_out.permits(&operator)
    }

    /// Deletes the journal, and then again once an interval, because a replica of a rollout may have created it again.
    ///
    /// Returns at a shutdown, or once the journal was deleted and `until` is ready. What happens while telemetry is off
    /// is never reported, so telemetry stays off for as long as the journal can't be deleted.
    async fn erase_repeatedly(&self, until: impl Future<Output = ()>, origin: OptOutOrigin) {
        tokio::select! {
            () = self.erase() => {}
            () = self.shutdown.cancelled() => return,
        }
        let repeat = async {
            loop {
                tokio::time::sleep(self.config.erase_interval).await;
                if origin == OptOutOrigin::Agent || self.is_still_off().await {
                    self.erase().await;
                }
            }
        };
        tokio::select! {
            () = repeat => {}
            () = until => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    /// Deletes the journal, and retries until that succeeds.
    async fn erase(&self) {
        let mut backoff = Backoff::new(RETRY_MIN, self.config.retry_max_interval);
        let store = self.config.journal_store(&self.client, None);
        let namespace = &store.namespace;
        loop {
            match store.erase().await {
                Ok(existed) => {
                    self.erase_throttle.recovered(|| tracing::info!(namespace, "the journal can be deleted again"));
                    if existed {
                        tracing::info!(namespace, "the journal is deleted, and the installation's UUID with it");
                    }
                    return;
                }
                Err(error) => self.erase_throttle.failed(|_| {
                    tracing::warn!(%error, namespace, "failed to delete the journal; retrying");
                }),
            }
            tokio::time::sleep(backoff.wait()).await;
        }
    }
}

fn log_off(reason: &DisabledReason) {
    tracing::info!(%reason, "telemetry is off; nothing is watched and nothing is sent");
}

fn log_on(config: &Config, info: &ClusterInfo) {
    let Config { exporter, export_interval, kamaji_version, operator_location, .. } = config;
    let endpoint = &exporter.endpoint;
    let kamaji_namespace = &operator_location.namespace;
    tracing::info!(endpoint, ?export_interval, "telemetry is on; gauges and events are sent");
    if exporter.exposes_headers() {
        tracing::warn!(endpoint, "the headers are sent without encryption: use https://");
    }
    if info.operator.as_ref().is_ok_and(|operator| !operator.telemetry_disabled) {
        tracing::warn!(
            kamaji_namespace,
            "Kamaji's built-in telemetry is on too, and both report; to leave it to this agent, run Kamaji with \
             --disable-telemetry and the agent with --follow-kamaji-opt-out=false"
        );
    }
    if info.versions(*kamaji_version).kamaji == KamajiVersion::Unknown {
        let reason = match &info.operator {
            Ok(operator) => operator.version_source.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(
            reason,
            kamaji_namespace,
            "Kamaji's version is unknown; set --kamaji-version, or --kamaji-namespace and --kamaji-deployment"
        );
    }
}
