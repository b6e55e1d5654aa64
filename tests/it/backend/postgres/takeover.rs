//! The backend that does a job for all is killed in the middle of it.
//!
//! A lock on rows that the job changes holds it there, so that each kill is within the job.

use std::time::{Duration, Instant};

use super::scene::Scene;
use crate::servers::postgres::{RowLock, TestDatabase, psql};
use crate::servers::within;

/// The number of requests that are acknowledged beforehand.
const REQUESTS: usize = 200;

/// The time within which another backend has done the job: the lease of the one that was killed, and the interval of the job.
const MAX_DELAY: Duration = Duration::from_secs(150);

/// Flags of a retention that the older events of the load are past, and of the first deletion at once.
const RETENTION: [&str; 3] = ["--retention-events=7d", "--retention-delay=1s", "--retention-interval=1s"];

/// Counts the statements of backends that wait for a lock.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
                       WHERE usename = current_user AND datname = current_database() AND wait_event_type = 'Lock'";

/// A job, and how it is seen.
struct Job {
    flags: &'static [&'static str],
    /// Makes work for it.
    prepare: &'static str,
    /// Locks rows that it changes.
    lock: &'static str,
    /// Counts what it has not done.
    left: &'static str,
}

const PRUNING: Job = Job {
    flags: &RETENTION,
    prepare: "SELECT 1",
    lock: "SELECT count(*) FROM (SELECT 1 FROM events WHERE hour < extract(epoch FROM now()) / 3600 - 200 FOR UPDATE) AS old;
           SELECT count(*) FROM (SELECT 1 FROM arrivals WHERE hour < extract(epoch FROM now()) / 3600 - 200 FOR UPDATE) AS old",
    left: "SELECT count(*) FROM (SELECT source, hour FROM events UNION ALL SELECT source, hour FROM arrivals) AS events
           WHERE source > 0 AND hour < extract(epoch FROM now()) / 3600 - 200",
};

const CHECKPOINT: Job = Job {
    flags: &[],
    // Their hour is over.
    prepare: "UPDATE arrivals SET received = received - 2",
    lock: "SELECT count(*) FROM (SELECT 1 FROM arrivals FOR UPDATE) AS arrived",
    // Those that arrive meanwhile are of this hour, or of the one before where it ends during the test.
    left: "SELECT count(*) FROM arrivals WHERE received < floor(extract(epoch FROM now()) / 3600)::int - 1",
};

/// Returns a number that a query comes to.
async fn count(database: &str, sql: &str) -> u64 {
    psql(database, &[sql]).await.unwrap().parse().unwrap()
}

/// Kills a backend within a job, under load, and lets another take over. Returns how long that took.
async fn kill_within(job: &Job, scene: &mut Scene, database: &str) -> Duration {
    psql(database, &[job.prepare]).await.unwrap();
    assert!(count(database, job.left).await > 0, "there is nothing to do");
    let today = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).date();
    // Three quarters of the rows are more than a deletion takes without this.
    let trust = format!("--trust-clock={today}");
    let flags = [job.flags, &[trust.as_str()]].concat();
    let lock = RowLock::take(database, job.lock).await;
    scene.start_backend(&flags).await;
    within(MAX_DELAY, "the job to begin", async || (count(database, WAITING).await > 0).then_some(())).await;
    scene.start_backend(&flags).await;
    let load = scene.load().await;
    load.sends(REQUESTS / 10).await;
    scene.backends[0].kill();
    let start = Instant::now();
    lock.release().await;
    load.goes_on(REQUESTS).await;
    load.end(&mut scene.ledger).await;
    within(MAX_DELAY, "the job to be done", async || (count(database, job.left).await == 0).then_some(())).await;
    start.elapsed()
}

/// Kills a backend within a job, and returns the figures.
async fn survive_a_kill(name: &str, job: Job) {
    let database = TestDatabase::create().await;
    let mut scene = Scene::start(database.address().to_owned()).await;
    let load = scene.load().await;
    load.goes_on(REQUESTS).await;
    scene.end(load).await;
    // Only those that are started for it do the job.
    scene.backends.clear();
    let delay = kill_within(&job, &mut scene, database.address()).await;
    let stored = scene.check().await;
    super::super::figures(
        &format!("postgres-{name}-kill"),
        &format!(
            "backend killed in the middle of its {name}, under load: done by another after {} s; {}",
            delay.as_secs(),
            scene.summary(stored)
        ),
    );
}

/// Both at once: most of the time is that of a lease and of an interval.
#[tokio::test(flavor = "multi_thread")]
async fn another_backend_does_the_job_of_the_one_that_is_killed_in_the_middle_of_it() {
    tokio::join!(survive_a_kill("pruning", PRUNING), survive_a_kill("checkpoint", CHECKPOINT));
}
