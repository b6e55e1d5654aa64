//! The tables of the backend's own operation.

use std::collections::BTreeMap;

use tokio_postgres::Row;

use super::age::sum;
use super::connection::{PostgresConnection, PostgresError};
use crate::backend::store::hour::{Day, Hour};
use crate::backend::store::{Operations, RefusalFact, ServedHour, ServedMinutes};

const ADD_REFUSALS: &str = "
    INSERT INTO refusals (day, reason, records)
    SELECT * FROM unnest($1::int[], $2::text[], $3::bigint[]) AS added (day, reason, records) ORDER BY day, reason
    ON CONFLICT (day, reason) DO UPDATE SET records = refusals.records + excluded.records";

const ADD_MINUTES: &str = "
    INSERT INTO served_hours (hour, minutes)
    SELECT * FROM unnest($1::int[], $2::bigint[]) AS added (hour, minutes) ORDER BY hour
    ON CONFLICT (hour) DO UPDATE SET minutes = served_hours.minutes | excluded.minutes";

const SERVED_HOURS: &str = "
    SELECT * FROM served_hours
    WHERE hour >= coalesce((SELECT max(hour) FROM served_hours WHERE hour < $1), $1) ORDER BY hour";

/// Adds the operation of a backend since its last flush, unless that was done. Runs in one transaction.
pub(super) async fn record(connection: &mut PostgresConnection, operations: Operations) -> Result<(), PostgresError> {
    let Operations { flush, refusals, served } = operations;
    connection.begin().await?;
    let is_new = "INSERT INTO flushes (name) VALUES ($1) ON CONFLICT DO NOTHING";
    if connection.execute(is_new, &[&flush]).await? == 0 {
        return connection.rollback().await;
    }
    let days: Vec<i32> = refusals.keys().map(|(day, _)| day.number()).collect();
    let reasons: Vec<&str> = refusals.keys().map(|(_, reason)| *reason).collect();
    let records: Vec<i64> = refusals.values().map(|records| i64::try_from(*records).unwrap_or(i64::MAX)).collect();
    connection.execute(ADD_REFUSALS, &[&days, &reasons, &records]).await?;
    // A statement may not change a row twice: the minutes of one hour are put together first.
    let mut by_hour = BTreeMap::<i32, u64>::new();
    for ServedMinutes { hour, minutes } in served {
        *by_hour.entry(hour.number()).or_default() |= minutes;
    }
    let hours: Vec<i32> = by_hour.keys().copied().collect();
    let minutes: Vec<i64> = by_hour.values().map(|minutes| minutes.cast_signed()).collect();
    connection.execute(ADD_MINUTES, &[&hours, &minutes]).await?;
    connection.commit().await
}

/// Reads the numbers of refused records since a day, by day and then by reason.
pub(super) async fn refusals(
    connection: &mut PostgresConnection,
    since: Day,
) -> Result<Vec<RefusalFact>, PostgresError> {
    let sql = "SELECT * FROM refusals WHERE day >= $1 ORDER BY day, reason COLLATE \"C\"";
    let rows = connection.query(sql, &[&since.number()]).await?;
    let fact = |row: &Row| {
        let day = Day::from_number(row.try_get("day")?);
        Ok(RefusalFact { day, reason: row.try_get("reason")?, records: sum(row, "records")? })
    };
    rows.iter().map(fact).collect()
}

/// Reads the hours in which a backend served, from the last one before a day on.
pub(super) async fn served_hours(
    connection: &mut PostgresConnection,
    since: Day,
) -> Result<Vec<ServedHour>, PostgresError> {
    let rows = connection.query(SERVED_HOURS, &[&since.first_hour().number()]).await?;
    let fact = |row: &Row| {
        let minutes: i64 = row.try_get("minutes")?;
        Ok(ServedHour { hour: Hour::from_number(row.try_get("hour")?), minutes: minutes.count_ones() })
    };
    rows.iter().map(fact).collect()
}

/// Deletes the operation before a day.
pub(super) async fn delete_before(connection: &mut PostgresConnection, day: Day) -> Result<(), PostgresError> {
    connection.execute("DELETE FROM refusals WHERE day < $1", &[&day.number()]).await?;
    connection.execute("DELETE FROM served_hours WHERE hour < $1", &[&day.first_hour().number()]).await?;
    // A flush is tried again for some seconds.
    connection.execute("DELETE FROM flushes WHERE added < now() - interval '1 day'", &[]).await?;
    Ok(())
}

/// Deletes the operation after an hour: that of a clock that was wrong.
pub(super) async fn delete_after(connection: &mut PostgresConnection, hour: Hour) -> Result<(), PostgresError> {
    connection.execute("DELETE FROM refusals WHERE day > $1", &[&hour.day().number()]).await?;
    connection.execute("DELETE FROM served_hours WHERE hour > $1", &[&hour.number()]).await?;
    Ok(())
}
