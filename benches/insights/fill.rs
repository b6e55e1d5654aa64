//! The rollups of a large fleet, written without its rows: no question reads those.

use rusqlite::{Connection, named_params};

/// The words: 24 versions of Kamaji from id 1, of 8 minors; 12 of Kubernetes from id 101, of 6 minors; 3 agents from 201; the
/// minors of Kamaji from 301 and of Kubernetes from 401; the last statuses from 501; gauges and values from 601.
const WORDS: &str = "
    WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < 23)
    INSERT INTO words (id, word, first_used, last_used)
    SELECT *, 0, 100000 FROM (
        SELECT 1 + n, 'v1.' || (n / 3) || '.' || (n % 3) FROM number
        UNION ALL SELECT 101 + n, 'v1.' || (30 + n / 2) || '.' || (n % 2) FROM number WHERE n < 12
        UNION ALL SELECT 201 + n, '2.0.' || n FROM number WHERE n < 3
        UNION ALL SELECT 301 + n, 'v1.' || n FROM number WHERE n < 8
        UNION ALL SELECT 401 + n, 'v1.' || (30 + n) FROM number WHERE n < 6
        UNION ALL VALUES (501, 'Ready'), (502, 'NotReady'), (503, 'Provisioning'),
                         (601, 'kamaji.tcp.by_version'), (602, 'kamaji.tcp.by_version=v1.35'),
                         (603, 'kamaji.tcp.by_version=v1.34'), (604, 'kamaji.datastore.count'),
                         (605, 'kamaji.datastore.count=etcd'))";

/// The tables of numbers that the rollups are made of.
const NUMBERS: &str = "
    CREATE TEMP TABLE days AS
        WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < :days)
        SELECT :today - n AS day FROM number;
    CREATE TEMP TABLE kamaji AS
        WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 24) SELECT n AS id FROM number;
    CREATE TEMP TABLE kubernetes AS SELECT 100 + id AS id FROM kamaji WHERE id <= 12;
    CREATE TEMP TABLE bits AS SELECT 0 AS bit UNION ALL SELECT 1;
    CREATE TEMP TABLE sizes AS SELECT id - 1 AS size FROM kamaji WHERE id <= 7;";

/// The next days of a day's rows: nearly all are followed by one of the next day, some by one three days later, and some are
/// the last, as all of today's are.
const NEXT: &str = "
    CREATE TEMP TABLE spans AS
        SELECT day, day + 1 AS next_day, 970 AS part FROM days WHERE day < :today
        UNION ALL SELECT day, day + 3, 20 FROM days WHERE day < :today - 2
        UNION ALL SELECT day, 2147483647, 10 FROM days WHERE day < :today
        UNION ALL SELECT :today, 2147483647, 1000;";

/// The rollups, each combination of its keys. An installation has 20 control planes.
const ROLLUPS: &str = "
    INSERT INTO day_rollup
        SELECT 1, 0, day, 0, :installations, 16 * :installations, 2 * :installations, :installations, :installations, 0,
               20 * :installations FROM days
        UNION ALL SELECT 1, 1, day, id, :installations / 24, 16 * :installations / 24, 2 * :installations / 24,
               :installations / 24, :installations / 24, 0, 20 * :installations / 24 FROM days, kamaji
        UNION ALL SELECT 1, 2, day, id, :installations / 12, 16 * :installations / 12, 2 * :installations / 12,
               :installations / 12, :installations / 12, 0, 20 * :installations / 12 FROM days, kubernetes
        UNION ALL SELECT 1, 3, day, 200 + id, :installations / 3, 16 * :installations / 3, 2 * :installations / 3,
               :installations / 3, :installations / 3, 0, 20 * :installations / 3 FROM days, kamaji WHERE id <= 3;
    INSERT INTO active_pair_rollup
        SELECT 1, next_day, day, kamaji.id, kubernetes.id, bit, 1 + n, 20 * (1 + n), 20 * (1 + n)
        FROM (SELECT *, :installations * part / 1000 / 576 AS n FROM spans), kamaji, kubernetes, bits;
    INSERT INTO active_condition_rollup
        SELECT 1, next_day, day, kamaji.id, size, stuck.bit, long.bit, established.bit, 1 + n, 20 * (1 + n), 20 * (1 + n)
        FROM (SELECT *, :installations * part / 1000 / 1344 AS n FROM spans), kamaji, sizes, bits AS stuck, bits AS long,
             bits AS established;
    INSERT INTO active_dimension_rollup
        SELECT 1, next_day, day, 600 + id, 1 + n, 20 * (1 + n)
        FROM (SELECT *, :installations * part / 5000 AS n FROM spans), kamaji WHERE id <= 5;
    INSERT INTO first_seen_rollup SELECT 1, bit, day, 1 + :installations / 365 FROM days, bits;
    INSERT INTO last_seen_rollup
        SELECT 1, bit, day, iif(day = :today, :installations, :installations / 100) FROM days, bits;
    INSERT INTO event_day_rollup
        SELECT 1, day, change.id - 1, 300 + 100 + minor.id, 1000 FROM days, kamaji AS change, kamaji AS minor
        WHERE change.id <= 4 AND minor.id <= 6;
    CREATE TEMP TABLE weeks AS SELECT day AS week FROM days WHERE (day + 3) % 7 = 0;
    INSERT INTO event_week_rollup
        SELECT 1, week, bit, 300 + kamaji.id, 400 + minor.id, 500 FROM weeks, bits, kamaji, kamaji AS minor
        WHERE kamaji.id <= 8 AND minor.id <= 6
        UNION ALL SELECT 1, week, 2, 400 + kamaji.id, 400 + minor.id, 100 FROM weeks, kamaji, kamaji AS minor
        WHERE kamaji.id <= 6 AND minor.id <= 6 AND kamaji.id <> minor.id
        UNION ALL SELECT 1, week, 3 + bit, id, 0, 200 FROM weeks, bits, kamaji
        UNION ALL SELECT 1, week, 5, kamaji.id, 500 + status.id, 20 FROM weeks, kamaji, kamaji AS status WHERE status.id <= 3
        UNION ALL SELECT 1, week, 5 + id, 0, 0, 2000 FROM weeks, kamaji WHERE id <= 3;";

/// Writes the rollups of so many installations and days, up to today.
pub(crate) fn fill(connection: &mut Connection, installations: i64, days: i64, today: i64) -> anyhow::Result<()> {
    connection.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
    let transaction = connection.transaction()?;
    transaction.execute(WORDS, [])?;
    for statement in [NUMBERS, NEXT, ROLLUPS].iter().flat_map(|statements| statements.split_inclusive(';')) {
        let parameters = named_params! { ":installations": installations, ":days": days, ":today": today };
        let mut statement = transaction.prepare(statement)?;
        let used = parameters.iter().filter(|(name, _)| matches!(statement.parameter_index(name), Ok(Some(_))));
        let used: Vec<_> = used.copied().collect();
        statement.execute(used.as_slice())?;
    }
    transaction.commit()?;
    Ok(())
}
