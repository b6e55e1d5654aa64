//! The primary is killed, and the standby promoted.

use std::time::Duration;

use super::scene::{Scene, milliseconds};
use crate::servers::postgres::{PostgresServers, Rejoined};

/// The number of times that a primary is killed.
const KILLS: usize = 5;

/// The number of requests that are acknowledged before a kill, and after it.
const REQUESTS: usize = 200;

/// The time after a promotion within which something is acknowledged.
const MAX_OUTAGE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_the_primary_is_killed_and_the_standby_promoted() {
    let mut servers = PostgresServers::start_pair().await;
    let database = servers.empty_database("failover").await;
    let mut scene = Scene::start(database).await;
    let (mut outages, mut rewound, mut stored) = (Vec::new(), 0, 0);
    for _ in 0..KILLS {
        let load = scene.load().await;
        load.goes_on(REQUESTS).await;
        servers.primary_mut().kill();
        servers.promote().await;
        outages.push(load.goes_on(REQUESTS).await);
        rewound += usize::from(servers.rejoin().await == Rejoined::Rewound);
        load.goes_on(REQUESTS).await;
        stored = scene.end(load).await;
    }
    let slowest = outages.iter().max().copied().unwrap_or_default();
    let figures = format!(
        "primary killed and standby promoted {KILLS} times under load, the old primary back by pg_rewind {rewound} times: first \
         acknowledged after the promotion {}; {}",
        milliseconds(outages),
        scene.summary(stored),
    );
    super::super::figures("postgres-failover", &figures);
    assert!(slowest <= MAX_OUTAGE, "{figures}");
}
