//! The time of the overview on a large store.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kamaji_telemetry::backend::insights::overview_query;
use kamaji_telemetry::backend::store::{Hour, SqliteStore, Store};
use rusqlite::{Connection, named_params};

/// The number of queries: enough for a 99th percentile.
const QUERIES: usize = 500;

/// The number of events of each installation.
const EVENTS: u32 = 2;

/// The words: 24 versions of Kamaji from id 1, 12 of Kubernetes from id 101, the agent's version, a kind and a dimension.
const WORDS: &str = "
    WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < 23)
    INSERT INTO words (id, word, first_used, last_used)
    SELECT *, 0, 100000 FROM (
        SELECT 1 + n, 'v1.' || n || '.0' FROM number
        UNION ALL SELECT 101 + n, 'v1.35.' || n FROM number WHERE n < 12
        UNION ALL VALUES (201, '0.1.0'), (202, 'kamaji.tcp.created'), (203, 'kamaji.tcp.by_version=v1.35'),
                         (204, 'unknown'))";

/// The installations: of ten, eight report now, one has stopped in the course of the year, and one is not confirmed. Each
/// has one of 24 versions of Kamaji and of 12 of Kubernetes. One in five has an extended gauge.
const LATEST: &str = "
    WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < :installations)
    INSERT INTO latest (installation, source, first_seen, confirmed, last_seen, bulk, previous_day, previous_not_ready,
                        previous_upgrading, running, sleeping, not_ready, upgrading, agent, kamaji, kubernetes, dimensions)
    SELECT uuid, 1, first_seen, CASE WHEN n % 10 = 1 THEN NULL ELSE first_seen + 24 END, last_seen, 0, NULL, 0, 0,
           n % 40, n % 7, n % 3, n % 2, 201, 1 + abs(spread) % 24, 101 + abs(spread) / 24 % 12,
           CASE WHEN n % 5 = 0 THEN x'CB0000000A000000' ELSE x'' END
    FROM (SELECT *, CASE WHEN n % 10 = 1 THEN last_seen ELSE last_seen - 24 - abs(spread) % 7200 END AS first_seen
          FROM (SELECT n, randomblob(16) AS uuid, random() AS spread,
                       :hour - CASE WHEN n % 10 < 2 THEN abs(random()) % 8760 ELSE 0 END AS last_seen
                FROM number))
    ORDER BY uuid";

/// The rows of one day, of the installations that existed then. Versions were one lower a month earlier.
const DAYS: &str = "
    INSERT INTO days (day, installation, source, standing, young, stuck, upgrading_long, running, sleeping,
                      not_ready, upgrading, agent, kamaji, kubernetes, dimensions)
    SELECT :day, installation, source, coalesce(confirmed / 24 <= :day, 0), 0, 0, 0, running, sleeping, not_ready, upgrading,
           agent, 1 + (kamaji + :age / 30) % 24, kubernetes, dimensions
    FROM latest WHERE first_seen / 24 <= :day AND last_seen / 24 >= :day";

const EVENTS_OF_A_YEAR: &str = "
    WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < :events)
    INSERT INTO events
    SELECT 1, :hour - abs(random()) % 8760, randomblob(16), 202, 201, 1 + n % 24, 101 + n % 12, 101 + n % 12, 0, 0, 0, 0
    FROM number";

/// The rollups of the rows.
const ROLLUPS: &str = "
    INSERT INTO latest_rollup
    SELECT source, confirmed IS NOT NULL, last_seen, iif(confirmed IS NULL, 204, kamaji),
           iif(confirmed IS NULL, 204, kubernetes), count(*),
           sum(running), sum(sleeping), sum(not_ready), sum(upgrading), 0
    FROM latest GROUP BY 1, 2, 3, 4, 5;
    INSERT INTO first_seen_rollup
    SELECT source, iif(bulk, 2, confirmed IS NOT NULL), first_seen / 24, count(*) FROM latest GROUP BY 1, 2, 3;
    INSERT INTO dimension_rollup
    SELECT source, last_seen, 203, count(*), 10 * count(*)
    FROM latest WHERE confirmed IS NOT NULL AND length(dimensions) > 0 GROUP BY 1, 2;
    INSERT INTO day_rollup
    SELECT source, component, day, version, count(*), sum(running), sum(sleeping), sum(not_ready), sum(upgrading), 0, sum(running + sleeping + not_ready + upgrading)
    FROM (SELECT *, 0 AS component, 0 AS version FROM days
          UNION ALL SELECT *, 1, kamaji FROM days
          UNION ALL SELECT *, 2, kubernetes FROM days)
    WHERE standing = 1 GROUP BY 1, 2, 3, 4;
    INSERT INTO event_hour_rollup SELECT source, hour, kind, count(*) FROM events GROUP BY 1, 2, 3;";

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
    let hour = Hour::of(Timestamp::now()).number();
    let transaction = connection.transaction()?;
    insert_latest(&transaction, installations, hour)?;
    let mut rows = 0;
    for age in (0..i32::try_from(days)?).rev() {
        rows += transaction.execute(DAYS, named_params! { ":day": hour / 24 - age, ":age": age })?;
    }
    transaction.execute(EVENTS_OF_A_YEAR, named_params! { ":events": installations * EVENTS, ":hour": hour })?;
    transaction.execute_batch(ROLLUPS)?;
    transaction.commit()?;
    Ok(rows)
}

/// Inserts the words and the installations. `hour` is the current one.
pub(crate) fn insert_latest(connection: &Connection, installations: u32, hour: i32) -> anyhow::Result<()> {
    connection.execute(WORDS, [])?;
    connection.execute(LATEST, named_params! { ":installations": installations, ":hour": hour })?;
    Ok(())
}

/// Returns the 50th and the 99th percentile of the time of a query.
fn query(store: &SqliteStore) -> anyhow::Result<[Duration; 2]> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut times = Vec::with_capacity(QUERIES);
    for _ in 0..QUERIES {
        let started = Instant::now();
        runtime.block_on(store.overview(overview_query(Timestamp::now(), 0)))?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    Ok([times[QUERIES / 2], times[QUERIES * 99 / 100]])
}
