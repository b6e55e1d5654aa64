//! The leader: waits for the Lease if there are several replicas, and runs one term after another.

use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::config::Config;
use super::journal::JournalStore;
use super::journal::config_map::WRITTEN;
use super::kubernetes::{ClusterInfo, owner};
use super::lease::Lease;
use super::metrics::LeaderGuard;
use super::term::{self, TermContext, TermEnd, TermMemory};
use crate::process::log_throttle::LogThrottle;
use crate::process::probes::Readiness;

/// The wait between two terms. It doubles up to the maximum, and is reset by a term that outlasted the maximum. Without
/// it, two agents that both consider themselves the leader would make each other list for ever.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// The longest term that counts as ended by a rival. Two agents end each other's terms within the longest wait between two
/// of them, a minute by default, and the interval at which the journal is checked.
const RIVAL_TERM: Duration = Duration::from_mins(10);

/// Runs terms until `shutdown`. Dropping the future releases everything but the Lease, which then expires.
pub(super) async fn run(
    config: &Config,
    client: &Client,
    cluster_info: watch::Receiver<ClusterInfo>,
    readiness: &Readiness,
    shutdown: &CancellationToken,
    memory: &TermMemory,
) {
    let context = TermContext { config, client, cluster_info, readiness, shutdown, memory };
    // Boxed, because the futures of a term are large and the supervisor's own would contain them.
    let terms = async {
        match &config.election {
            None => run_terms(&context).await,
            Some(election) => {
                let store = store_with_owner(&context).await;
                let mut lease = Lease::new(store, election.identity.clone(), election.lease_duration);
                Box::pin(run_elected(&mut lease, &context)).await;
                lease.release().await;
            }
        }
    };
    Box::pin(terms).await;
}

/// Returns the store with its owner, the agent's Deployment. Without the owner nothing may be created, since nothing
/// would delete it, so this waits until the owner is found. A shutdown ends the wait.
async fn store_with_owner(context: &TermContext<'_>) -> JournalStore {
    let TermContext { config, client, shutdown, .. } = context;
    let store = config.journal_store(client, None);
    let Some(name) = &config.owner_deployment else { return store };
    let (throttle, mut backoff) = (LogThrottle::hourly(), Backoff::new(RETRY_MIN, config.retry_max_interval));
    loop {
        let found = tokio::select! {
            found = owner::find(client, &store.namespace, name) => found,
            () = shutdown.cancelled() => return store,
        };
        match found {
            Ok(owner) => return JournalStore { owner: Some(owner), ..store },
            Err(error) => throttle.failed(|_| {
                let namespace = &store.namespace;
                tracing::warn!(%error, name, namespace, "failed to find the Deployment of --owner-deployment; retrying");
            }),
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.wait()) => {}
            () = shutdown.cancelled() => return store,
        }
    }
}

/// Runs terms while the Lease is held, and acquires it again after it was lost.
async fn run_elected(lease: &mut Lease, context: &TermContext<'_>) {
    while !context.shutdown.is_cancelled() {
        let acquired_at = tokio::select! {
            // A replica that waits for the Lease is as ready as it can be.
            acquired_at = lease.acquire(|| context.readiness.set(true)) => acquired_at,
            () = context.shutdown.cancelled() => return,
        };
        tracing::info!(identity = lease.identity(), "this replica leads");
        tokio::select! {
            // The Lease is polled first, so that a process that was frozen for longer than the Lease sends nothing more.
            biased;
            () = lease.renew_until_lost(acquired_at) => {
                tracing::info!(identity = lease.identity(), "the Lease was not renewed in time; another replica may lead");
            }
            () = run_terms(context) => return,
        }
    }
}

/// The terms that somebody else has ended in a row.
#[derive(Debug)]
struct Rivalry {
    ended: u32,
    throttle: LogThrottle,
}

impl Rivalry {
    /// Counts a term, and warns about another agent where one has ended two terms in a row, each within [`RIVAL_TERM`].
    fn term_ended(&mut self, is_by_another: bool, lasted: Duration) {
        self.ended = if is_by_another && lasted < RIVAL_TERM { self.ended + 1 } else { 0 };
        if self.ended >= 2 {
            self.throttle.failed(|_| {
                tracing::warn!(
                    "another process writes this journal again and again: run one replica, or all of them with \
                     --leader-elect"
                );
            });
        }
    }
}

/// Runs one term after another until a shutdown ends one.
async fn run_terms(context: &TermContext<'_>) {
    let _leader = LeaderGuard::new();
    let (fenced_throttle, open_throttle) = (LogThrottle::hourly(), LogThrottle::hourly());
    let mut rivalry = Rivalry { ended: 0, throttle: LogThrottle::hourly() };
    let retry_max_interval = context.config.retry_max_interval;
    let mut backoff = Backoff::new(RETRY_MIN, retry_max_interval);
    while !context.shutdown.is_cancelled() {
        let store = store_with_owner(context).await;
        let started = Instant::now();
        match term::run(context, &store).await {
            TermEnd::Shutdown => return,
            TermEnd::Fenced(reason) => {
                fenced_throttle.failed(|_| {
                    tracing::info!(reason, "the term has ended; a new one begins from what is written");
                });
                if context.config.election.is_none() {
                    rivalry.term_ended(reason == WRITTEN, started.elapsed());
                }
                if started.elapsed() > retry_max_interval {
                    backoff = Backoff::new(RETRY_MIN, retry_max_interval);
                }
            }
            TermEnd::OpenFailed(error) => open_throttle.failed(|_| {
                tracing::warn!(error, "failed to begin a term; retrying");
            }),
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.wait()) => {}
            () = context.shutdown.cancelled() => return,
        }
    }
}
