//! A backend is killed, and the server is stopped without a checkpoint.

use std::time::{Duration, Instant};

use super::scene::{Scene, milliseconds};
use crate::servers::postgres::{PostgresServers, TestDatabase};

/// The number of kills, and of stops.
const TIMES: usize = 20;

/// The time after which no further kill begins, so that a busy machine's test run stays short.
const MAX_DURATION: Duration = Duration::from_mins(1);

/// The number of requests that are acknowledged after each. The moment of the next is random.
const REQUESTS: std::ops::Range<usize> = 20..100;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_one_of_two_backends_is_killed() {
    let start = Instant::now();
    let database = TestDatabase::create().await;
    let mut scene = Scene::start(database.address().to_owned()).await;
    let (mut pauses, mut stored) = (Vec::new(), 0);
    while pauses.len() < TIMES && start.elapsed() < MAX_DURATION {
        let load = scene.load().await;
        load.goes_on(fastrand::usize(REQUESTS)).await;
        let killed = pauses.len() % 2;
        scene.backends[killed].kill();
        pauses.push(load.goes_on(fastrand::usize(REQUESTS)).await);
        stored = scene.end(load).await;
        scene.backends[killed].restart().await;
    }
    super::super::figures(
        "postgres-backend-kills",
        &format!(
            "one of two backends killed {} times under load: first acknowledged by the other after {}; {}",
            pauses.len(),
            milliseconds(pauses),
            scene.summary(stored),
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_the_server_stops_at_once() {
    let start = Instant::now();
    let mut servers = PostgresServers::start_pair().await;
    let mut scene = Scene::start(servers.empty_database("stops").await).await;
    let (mut outages, mut stored) = (Vec::new(), 0);
    while outages.len() < TIMES && start.elapsed() < MAX_DURATION {
        let load = scene.load().await;
        load.goes_on(fastrand::usize(REQUESTS)).await;
        servers.primary_mut().stop_immediately().await;
        servers.primary_mut().resume().await;
        outages.push(load.goes_on(fastrand::usize(REQUESTS)).await);
        stored = scene.end(load).await;
    }
    super::super::figures(
        "postgres-stops",
        &format!(
            "PostgreSQL stopped with `-m immediate` {} times under load: first acknowledged after its start {}; {}",
            outages.len(),
            milliseconds(outages),
            scene.summary(stored),
        ),
    );
}
