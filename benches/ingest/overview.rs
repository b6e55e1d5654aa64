//! The time of the overview on a large store.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kamaji_telemetry::backend::insights::overview_query;
use kamaji_telemetry::backend::store::{SqliteStore, Store};
use rusqlite::{Connection, named_params};

/// The number of queries: enough for a 99th percentile.
const QUERIES: usize = 500;

/// The number of events of each installation.
const EVENTS: u32 = 2;

/// The installations: of ten, eight report now, one has stopped in the course of the year, and one reported for a day.
/// Each has one of 24 versions of Kamaji and of 12 of Kubernetes. One in five has extended gauges.
const LATEST: &str = "
    WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < :installations)
    INSERT INTO latest (installation, first_day, time, running, sleeping, not_ready, upgrading,
                        source, agent_version, kamaji_version, kubernetes_version)
    SELECT uuid, CASE WHEN n % 10 = 1 THEN time / 86400000 ELSE time / 86400000 - 1 - random() % 300 / 2 - 150 END, time,
           n % 40, n % 7, n % 3, n % 2, 'agent', '0.1.0', 'v1.' || (abs(spread) % 24) || '.0', 'v1.35.' || (abs(spread) / 24 % 12)
    FROM (SELECT n, randomblob(16) AS uuid, random() AS spread,
                 :now - CASE WHEN n % 10 < 2 THEN abs(random()) % 31536000000 ELSE abs(random()) % 300000 END AS time
          FROM number)
    ORDER BY uuid";

/// The rows of one day, of the installations that existed then. Versions were one lower a month earlier.
const DAYS: &str = "
    INSERT INTO days (day, installation, time, running, sleeping, not_ready, upgrading,
                      source, agent_version, kamaji_version, kubernetes_version)
    SELECT :day, installation, min(time, :day * 86400000 + 86399999), running, sleeping, not_ready, upgrading,
           source, agent_version, 'v1.' || (substr(kamaji_version, 4, instr(substr(kamaji_version, 4), '.') - 1) + :age / 30) || '.0',
           kubernetes_version
    FROM latest WHERE first_day <= :day AND time / 86400000 >= :day";

const DIMENSIONS: &str = "
    INSERT INTO dimensions (day, installation, metric, value, count)
    SELECT time / 86400000, installation, metric, value, running
    FROM latest, (SELECT 'kamaji.tcp.by_version' AS metric, 'v1.34' AS value
                  UNION ALL SELECT 'kamaji.tcp.by_version', 'v1.35'
                  UNION ALL SELECT 'kamaji.datastore.count', 'etcd'
                  UNION ALL SELECT 'kamaji.datastore.used_by', 'etcd')
    WHERE running % 5 = 0";

const EVENTS_OF_A_YEAR: &str = "
    WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < :events)
    INSERT INTO events (uid, time, kind, source, agent_version, kamaji_version, kubernetes_version, tcp_version)
    SELECT randomblob(16), (:now - abs(random()) % 31536000000) / 3600000 * 3600000, 'kamaji.tcp.created', 'agent',
           '0.1.0', 'v1.' || (n % 24) || '.0', 'v1.35.' || (n % 12), 'v1.35.' || (n % 12)
    FROM number";

/// Generates a store and queries its overview.
pub(crate) fn run(installations: u32, days: u32) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("telemetry.db");
    drop(SqliteStore::open(&file)?);
    let started = Instant::now();
    let rows = generate(&file, installations, days)?;
    let generated = started.elapsed();
    let store = SqliteStore::open(&file)?;
    let size = file.metadata()?.len() / 1_000_000;
    println!(
        "\nthe overview of {installations} installations, {rows} rows of {days} days, a year's {} events",
        installations * EVENTS
    );
    println!("  file {size} MB; rows and rollups generated in {generated:.1?}");
    let [p50, p99] = query(&store)?;
    println!("  p50 {p50:.2?}, p99 {p99:.2?} of {QUERIES}");
    Ok(())
}

/// Generates a store and returns the number of rows of days.
fn generate(file: &Path, installations: u32, days: u32) -> anyhow::Result<usize> {
    let mut connection = Connection::open(file)?;
    connection.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -200000;")?;
    let now = Timestamp::now().as_millisecond();
    let transaction = connection.transaction()?;
    transaction.execute(LATEST, named_params! { ":installations": installations, ":now": now })?;
    let mut rows = 0;
    for age in (0..days).rev() {
        let day = now / 86_400_000 - i64::from(age);
        rows += transaction.execute(DAYS, named_params! { ":day": day, ":age": age })?;
    }
    transaction.execute(DIMENSIONS, [])?;
    transaction.execute(EVENTS_OF_A_YEAR, named_params! { ":events": installations * EVENTS, ":now": now })?;
    transaction.commit()?;
    Ok(rows)
}

/// Returns the 50th and the 99th percentile of the time of a query.
fn query(store: &SqliteStore) -> anyhow::Result<[Duration; 2]> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut times = Vec::with_capacity(QUERIES);
    for _ in 0..QUERIES {
        let started = Instant::now();
        runtime.block_on(store.overview(overview_query(Timestamp::now())))?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    Ok([times[QUERIES / 2], times[QUERIES * 99 / 100]])
}
