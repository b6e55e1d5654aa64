//! The standby stops, and commits that wait for it are cancelled: nothing is acknowledged that it does not have.

use std::time::{Duration, Instant};

use tonic::Code;
use tonic_types::StatusExt;
use uuid::Uuid;

use super::super::samples::{created, logs_request, now};
use super::load::Load;
use super::scene::{Scene, milliseconds};
use crate::servers::eventually;
use crate::servers::postgres::PostgresServers;

/// The time for which the standby is stopped.
const STOPPED: Duration = Duration::from_secs(20);

/// The interval at which connections are counted.
const INTERVAL: Duration = Duration::from_millis(250);

/// The number of requests that are acknowledged before and after.
const REQUESTS: usize = 200;

/// The largest number of connections of one backend: 4 that commit, 2 for questions, and 4 for everything else.
const CONNECTIONS: usize = 10;

/// The time in which a sender is answered, before a relay gives up.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// The number of times that commits are cancelled.
const CANCELLATIONS: usize = 10;

/// Waits until commits wait for the standby.
async fn commits_wait(servers: &PostgresServers) {
    eventually("a commit to wait for the standby", async || (servers.waiting_commits().await > 0).then_some(())).await;
}

/// Returns how long the answer to a request with an event over gRPC took, which is UNAVAILABLE with a time to try again.
async fn unavailable(scene: &Scene, event: Uuid) -> Duration {
    let mut client = scene.backends[0].logs_client().await;
    let start = Instant::now();
    let status = client.export(logs_request(vec![created(event, now())])).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()), "{status:?}");
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_are_told_to_try_again_while_the_standby_is_stopped_and_go_on_when_it_is_back() {
    let servers = PostgresServers::start_pair().await;
    let mut scene = Scene::start(servers.empty_database("stopped").await).await;
    let load = scene.load().await;
    load.goes_on(REQUESTS).await;
    servers.standby().suspend().await;
    commits_wait(&servers).await;
    let (stopped, mut connections) = (Instant::now(), 0);
    let counting = async {
        while stopped.elapsed() < STOPPED {
            connections = connections.max(servers.connections().await);
            tokio::time::sleep(INTERVAL).await;
        }
    };
    // What had been replicated was acknowledged by then, and nothing is after it.
    let event = Uuid::new_v4();
    let (answered, ()) = tokio::join!(unavailable(&scene, event), counting);
    let frozen = load.acknowledged();
    servers.standby().unsuspend();
    let outage = load.goes_on(REQUESTS).await;
    let mut client = scene.backends[1].logs_client().await;
    client.export(logs_request(vec![created(event, now())])).await.unwrap();
    scene.ledger.events.push(event);
    let stored = scene.end(load).await;
    super::super::figures(
        "postgres-standby",
        &format!(
            "standby stopped for {} s under load: UNAVAILABLE after {} ms, at most {connections} connections of two backends, \
             {frozen} requests acknowledged before, the next {} ms after it was back; {}",
            STOPPED.as_secs(),
            answered.as_millis(),
            outage.as_millis(),
            scene.summary(stored),
        ),
    );
    assert!(answered <= MAX_WAIT, "{answered:?}");
    assert!(connections <= scene.backends.len() * CONNECTIONS, "{connections}");
    let counts = &scene.ledger.counts;
    assert!(counts.unavailable > 0, "{counts:?}");
}

/// Cancels all waiting commits again and again, while the standby is away. Returns how many.
async fn cancel(servers: &PostgresServers, load: &Load) -> usize {
    let (mut cancelled, before) = (0, load.acknowledged());
    for _ in 0..CANCELLATIONS {
        commits_wait(servers).await;
        cancelled += servers.cancel_waiting_commits().await;
    }
    assert_eq!(load.acknowledged(), before, "a cancelled commit was acknowledged");
    cancelled
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_cancelled_while_it_waits_for_the_standby_is_not_acknowledged() {
    let mut servers = PostgresServers::start_pair().await;
    let mut scene = Scene::start(servers.empty_database("cancelled").await).await;
    let load = scene.load().await;
    load.goes_on(REQUESTS).await;
    servers.standby_mut().stop_immediately().await;
    commits_wait(&servers).await;
    // Answers to what the standby had are on their way.
    eventually("the last acknowledgement", async || {
        let before = load.acknowledged();
        tokio::time::sleep(INTERVAL).await;
        (load.acknowledged() == before).then_some(())
    })
    .await;
    let cancelled = cancel(&servers, &load).await;
    // The standby never had what was cancelled.
    servers.primary_mut().kill();
    servers.standby_mut().resume().await;
    servers.promote().await;
    let outage = load.goes_on(REQUESTS).await;
    let stored = scene.end(load).await;
    super::super::figures(
        "postgres-cancel",
        &format!(
            "{cancelled} waiting commits cancelled, then the standby promoted without them: next acknowledged after {}; {}",
            milliseconds(vec![outage]),
            scene.summary(stored),
        ),
    );
}
