//! Leads: waits for the Lease where there are several replicas, and runs one term after another.

use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Config;
use super::backoff::Backoff;
use super::journal::JournalStore;
use super::kubernetes::api_error::ApiError;
use super::kubernetes::{ClusterInfo, owner};
use super::lease::Lease;
use super::metrics::LeaderGuard;
use super::term::{self, LogThrottles, TermContext, TermEnd};
use crate::process::log_throttle::LogThrottle;
use crate::process::probes::Readiness;

/// The wait between two terms; it doubles up to the longest, and begins anew with a term that outlasted that: two agents
/// that both think they lead must not make each other list without end.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// Runs terms until `shutdown`. Dropping it gives up all but the Lease, which then expires.
pub(super) async fn run(
    config: &Config,
    client: &Client,
    cluster_info: watch::Receiver<ClusterInfo>,
    readiness: &Readiness,
    shutdown: &CancellationToken,
    throttles: &LogThrottles,
) {
    let context = TermContext { config, client, cluster_info, readiness, shutdown, throttles };
    let terms = async {
        match &config.election {
            None => terms(&context).await,
            Some(election) => {
                let place = find_place(&context).await;
                let mut lease = Lease::new(place, election.identity.clone(), election.lease_duration);
                Box::pin(lead(&mut lease, &context)).await;
                lease.release().await;
            }
        }
    };
    Box::pin(terms).await;
}

/// What the agent makes goes with its Deployment: without that nothing is made. After a shutdown it is not waited for.
async fn find_place(context: &TermContext<'_>) -> JournalStore {
    let TermContext { config, client, shutdown, .. } = context;
    let place = config.journal_store(client, None);
    let Some(name) = &config.owner_deployment else { return place };
    let (quiet, mut backoff) = (LogThrottle::hourly(), Backoff::new(RETRY_MIN, config.retry_max_interval));
    loop {
        let found = tokio::select! {
            found = owner::find(client, &place.namespace, name) => found,
            () = shutdown.cancelled() => return place,
        };
        match found {
            Ok(owner) => return JournalStore { owner: Some(owner), ..place },
            Err(failure) => quiet.failed(|_| say_no_owner(name, &place.namespace, &failure)),
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.wait()) => {}
            () = shutdown.cancelled() => return place,
        }
    }
}

/// Runs terms for as long as the Lease is held.
async fn lead(lease: &mut Lease, context: &TermContext<'_>) {
    while !context.shutdown.is_cancelled() {
        let held = tokio::select! {
            // A replica that waits for another is as ready as it can be.
            held = lease.acquire(|| context.readiness.set(true)) => held,
            () = context.shutdown.cancelled() => return,
        };
        tracing::info!("this replica leads");
        tokio::select! {
            // First, so that a process that was frozen for longer than the Lease lasts sends nothing more.
            biased;
            () = lease.keep(held) => tracing::info!("another replica may lead: the Lease was not renewed in time"),
            () = terms(context) => return,
        }
    }
}

/// Runs one term after another until a shutdown ends one.
async fn terms(context: &TermContext<'_>) {
    let _leader = LeaderGuard::new();
    let (lost, closed) = (LogThrottle::hourly(), LogThrottle::hourly());
    let retry_max_interval = context.config.retry_max_interval;
    let mut backoff = Backoff::new(RETRY_MIN, retry_max_interval);
    while !context.shutdown.is_cancelled() {
        let place = find_place(context).await;
        let begun = Instant::now();
        match term::run(context, &place).await {
            TermEnd::Shutdown => return,
            TermEnd::Fenced(why) => {
                lost.failed(|_| tracing::info!("{why}; beginning anew from what is written"));
                if begun.elapsed() > retry_max_interval {
                    backoff = Backoff::new(RETRY_MIN, retry_max_interval);
                }
            }
            TermEnd::OpenFailed(why) => closed.failed(|_| {
                tracing::warn!("can't begin: {why}; nothing is watched or sent until that is possible");
            }),
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.wait()) => {}
            () = context.shutdown.cancelled() => return,
        }
    }
}

fn say_no_owner(name: &str, namespace: &str, failure: &ApiError) {
    tracing::warn!("can't find the Deployment {name:?} (--owner-deployment) in {namespace:?}: {failure}");
}
