//! Installations of a large store, without their days and rollups.

use rusqlite::{Connection, named_params};

/// The words: 24 versions of Kamaji from id 1, 12 of Kubernetes from id 101, the agent's version and a dimension.
const WORDS: &str = "
    WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < 23)
    INSERT INTO words (id, word, first_used, last_used)
    SELECT *, 0, 100000 FROM (
        SELECT 1 + n, 'v1.' || n || '.0' FROM number
        UNION ALL SELECT 101 + n, 'v1.35.' || n FROM number WHERE n < 12
        UNION ALL VALUES (201, '0.1.0'), (203, 'kamaji.tcp.by_version=v1.35'))";

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

/// Inserts the words and the installations. `hour` is the current one.
pub(crate) fn insert_latest(connection: &Connection, installations: u32, hour: i32) -> anyhow::Result<()> {
    connection.execute(WORDS, [])?;
    connection.execute(LATEST, named_params! { ":installations": installations, ":hour": hour })?;
    Ok(())
}
