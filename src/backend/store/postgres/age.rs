//! The age of the rows of a store, and their size.

use jiff::Timestamp;
use tokio_postgres::Row;

use super::connection::{PostgresConnection, PostgresError};
use crate::backend::store::encoding::CorruptColumn;
use crate::backend::store::hour::{Day, Hour};
use crate::backend::store::{Cutoffs, DayIntake, Intake, StaleRows, StoreSize};

/// Reads the end of each index.
const NEWEST: &str = "
    SELECT max(hour) FROM (
        SELECT (SELECT max(hour) FROM events WHERE events.source = kind.source) AS hour FROM generate_series(1, 4) AS kind (source)
        UNION ALL
        SELECT (SELECT max(hour) FROM arrivals WHERE arrivals.source = kind.source) FROM generate_series(1, 4) AS kind (source)
        UNION ALL
        SELECT (SELECT max(last_seen) FROM latest
                WHERE latest.source = kind.source AND bulk = is_bulk AND (confirmed IS NULL) = is_unconfirmed)
        FROM generate_series(1, 2) AS kind (source), (VALUES (false), (true)) AS a (is_bulk), (VALUES (false), (true)) AS b (is_unconfirmed)
    ) AS newest (hour)";

/// Counts the rows, and those that are older, from the rollups. Those have the days of confirmed installations only, which are nearly
/// all of the days.
const STALE: &str = "
    SELECT coalesce(sum(rows), 0)::bigint AS total, coalesce(sum(rows) FILTER (WHERE is_stale), 0)::bigint AS stale FROM (
        SELECT sum(events) AS rows, hour < $1 AS is_stale FROM event_hour_rollup GROUP BY 2
        UNION ALL SELECT sum(installations), day < $2 FROM day_rollup WHERE part = 0 GROUP BY 2
        UNION ALL SELECT sum(installations), day < $2 FROM last_seen_rollup GROUP BY 2
    ) AS counted";

const INTAKE: &str = "
    SELECT (SELECT coalesce(sum(installations), 0) FROM first_seen_rollup WHERE day = $1)::bigint AS installations,
           (SELECT count(*) FROM words
            WHERE first_used = $1 AND word ~ '[0-9]' AND (word ~ '[.].*[.]' OR word LIKE '%=%')) AS versions,
           ((SELECT coalesce(sum(installations), 0) FROM first_seen_rollup WHERE standing = 2 AND day = $1)
            + (SELECT coalesce(sum(events), 0) FROM bulk_events WHERE day = $1))::bigint AS bulk";

/// The days whose median today is compared with.
const INTAKE_DAYS: i32 = 28;

/// Reads a sum or a count.
pub(super) fn sum(row: &Row, column: &str) -> Result<u64, PostgresError> {
    let sum = row.try_get::<_, i64>(column)?;
    Ok(u64::try_from(sum).map_err(|error| CorruptColumn::new(column, error))?)
}

/// Returns the hour of the last receipt of a snapshot, or of the newest event.
pub(super) async fn newest_record(connection: &mut PostgresConnection) -> Result<Option<Timestamp>, PostgresError> {
    let newest: Option<i32> = connection.query_one(NEWEST, &[]).await?.try_get(0)?;
    Ok(newest.map(|hour| Hour::from_number(hour).start()))
}

/// Counts the rows, and those that are older than `cutoffs`.
pub(super) async fn stale_rows(
    connection: &mut PostgresConnection,
    cutoffs: Cutoffs,
) -> Result<StaleRows, PostgresError> {
    let row = connection.query_one(STALE, &[&cutoffs.events.number(), &cutoffs.installations.number()]).await?;
    Ok(StaleRows { stale: sum(&row, "stale")?, total: sum(&row, "total")? })
}

/// Returns the size of the database, whose free space is not known apart.
pub(super) async fn size(connection: &mut PostgresConnection) -> Result<StoreSize, PostgresError> {
    let row = connection.query_one("SELECT pg_database_size(current_database()) AS size", &[]).await?;
    let bytes = sum(&row, "size")?;
    Ok(StoreSize { on_disk: bytes, used: bytes })
}

/// Reads what was new on each day.
pub(super) async fn intake(connection: &mut PostgresConnection, today: Day) -> Result<Intake, PostgresError> {
    // The first word of a store is as old as its first row.
    let first: Option<i32> = connection.query_one("SELECT min(first_used) FROM words", &[]).await?.try_get(0)?;
    let age = first.map_or(0, |first| today.number().saturating_sub(first));
    let mut days = Vec::new();
    for day in 0..=INTAKE_DAYS.min(age.max(0)) {
        let row = connection.query_one(INTAKE, &[&today.minus(day).number()]).await?;
        days.push(DayIntake {
            installations: sum(&row, "installations")?,
            versions: sum(&row, "versions")?,
            bulk: sum(&row, "bulk")?,
        });
    }
    Ok(Intake { today: days.remove(0), before: days })
}
