//! Leads: waits for the Lease where there are several replicas, and runs one term after another.

use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::cluster::failure::Failure;
use super::cluster::{Look, owner};
use super::journal::config_map::Place;
use super::lease::Lease;
use super::quiet::Quiet;
use super::term::{self, Context, Ended};
use super::{Config, accounts};
use crate::health::Readiness;

/// The wait between two terms; it doubles up to the longest, and begins anew with a term that outlasted that: two agents
/// that both think they lead must not make each other list without end.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// Runs terms until `shutdown`. Dropping it gives up all but the Lease, which then expires.
pub(super) async fn run(
    config: &Config,
    client: &Client,
    looks: watch::Receiver<Look>,
    readiness: &Readiness,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let place = tokio::select! {
        place = find_place(config, client) => place,
        () = shutdown.cancelled() => return Ok(()),
    };
    let context = Context { config, place: &place, looks, readiness, shutdown };
    let Some(election) = &config.election else { return terms(&context).await };
    let mut lease = Lease::new(place.clone(), election.identity.clone(), election.lease_duration);
    let ended = Box::pin(lead(&mut lease, &context)).await;
    lease.release().await;
    ended
}

/// What the agent makes goes with its Deployment: without that nothing is made.
async fn find_place(config: &Config, client: &Client) -> Place {
    let place = config.place(client, None);
    let Some(name) = &config.owner_deployment else { return place };
    let (quiet, mut backoff) = (Quiet::default(), Backoff::new(RETRY_MIN, config.retry_max));
    loop {
        match owner::find(client, &place.namespace, name).await {
            Ok(owner) => return Place { owner: Some(owner), ..place },
            Err(failure) => quiet.failed(|| {
                let namespace = &place.namespace;
                tracing::warn!("can't find the Deployment {name:?} (--owner-deployment) in {namespace:?}: {failure}");
            }),
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

/// Runs terms for as long as the Lease is held.
async fn lead(lease: &mut Lease, context: &Context<'_>) -> anyhow::Result<()> {
    while !context.shutdown.is_cancelled() {
        tokio::select! {
            // A replica that waits for another is as ready as it can be.
            () = lease.acquire(|| context.readiness.set(true)) => {}
            () = context.shutdown.cancelled() => return Ok(()),
        }
        tracing::info!("this replica leads");
        tokio::select! {
            // First, so that a process that was frozen for longer than the Lease lasts sends nothing more.
            biased;
            () = lease.keep() => tracing::info!("another replica may lead: the Lease was not renewed in time"),
            ended = terms(context) => return ended,
        }
        accounts::leader(false);
    }
    Ok(())
}

/// Runs one term after another until a shutdown ends one.
async fn terms(context: &Context<'_>) -> anyhow::Result<()> {
    let (lost, closed) = (Quiet::default(), Quiet::default());
    let mut backoff = Backoff::new(RETRY_MIN, context.config.retry_max);
    loop {
        accounts::leader(true);
        let begun = Instant::now();
        match term::run(context).await? {
            Ended::Shutdown => return Ok(()),
            Ended::Lost(why) => {
                lost.failed(|| tracing::info!("{why}; beginning anew from what is written"));
                if begun.elapsed() > context.config.retry_max {
                    backoff = Backoff::new(RETRY_MIN, context.config.retry_max);
                }
            }
            Ended::NotOpened(failure) => closed.failed(|| not_opened(&failure)),
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.wait()) => {}
            () = context.shutdown.cancelled() => return Ok(()),
        }
    }
}

fn not_opened(failure: &Failure) {
    tracing::warn!("can't open the journal: {failure}; nothing is watched or sent until that is possible");
}
