//! The tables of the backend's own operation.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use uuid::Uuid;

use super::columns::{self, sum};
use crate::backend::store::hour::{Day, Hour};
use crate::backend::store::{Operations, RefusalFact, ServedHour, ServedMinutes};

/// Adds the operation since the last flush, unless that was done. Runs in one transaction.
pub(super) fn record(connection: &mut Connection, operations: &Operations) -> rusqlite::Result<()> {
    let Operations { flush, refusals, served } = operations;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let last: Option<Uuid> =
        transaction.query_row("SELECT name FROM last_flush", [], |row| row.get("name")).optional()?;
    if last == Some(*flush) {
        return Ok(());
    }
    let sql = "INSERT INTO last_flush VALUES (1, ?1) ON CONFLICT DO UPDATE SET name = excluded.name";
    transaction.prepare_cached(sql)?.execute(params![flush])?;
    let sql = "INSERT INTO refusals VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET records = records + excluded.records";
    for ((day, reason), records) in refusals {
        let records = i64::try_from(*records).unwrap_or(i64::MAX);
        transaction.prepare_cached(sql)?.execute(params![day.number(), reason, records])?;
    }
    let sql = "INSERT INTO served_hours VALUES (?1, ?2) ON CONFLICT DO UPDATE SET minutes = minutes | excluded.minutes";
    for ServedMinutes { hour, minutes } in served {
        transaction.prepare_cached(sql)?.execute(params![hour.number(), minutes.cast_signed()])?;
    }
    transaction.commit()
}

/// Reads the numbers of refused records since a day, by day and then by reason.
pub(super) fn refusals(connection: &Connection, since: Day) -> rusqlite::Result<Vec<RefusalFact>> {
    let mut select = connection.prepare_cached("SELECT * FROM refusals WHERE day >= ?1 ORDER BY day, reason")?;
    let refusals = select.query_map(params![since.number()], |row| {
        Ok(RefusalFact { day: columns::day(row, "day")?, reason: row.get("reason")?, records: sum(row, "records")? })
    });
    refusals?.collect()
}

/// Reads the hours in which a backend served, from the last one before a day on.
pub(super) fn served_hours(connection: &Connection, since: Day) -> rusqlite::Result<Vec<ServedHour>> {
    let sql = "SELECT * FROM served_hours
               WHERE hour >= coalesce((SELECT max(hour) FROM served_hours WHERE hour < ?1), ?1) ORDER BY hour";
    let mut select = connection.prepare_cached(sql)?;
    let hours = select.query_map(params![since.first_hour().number()], |row| {
        let minutes: i64 = row.get("minutes")?;
        Ok(ServedHour { hour: Hour::from_number(row.get("hour")?), minutes: minutes.count_ones() })
    });
    hours?.collect()
}

/// Deletes the operation before a day.
pub(super) fn delete_before(connection: &Connection, day: Day) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM refusals WHERE day < ?1", params![day.number()])?;
    connection.execute("DELETE FROM served_hours WHERE hour < ?1", params![day.first_hour().number()])?;
    Ok(())
}

/// Deletes the operation after an hour: that of a clock that was wrong.
pub(super) fn delete_after(connection: &Connection, hour: Hour) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM refusals WHERE day > ?1", params![hour.day().number()])?;
    connection.execute("DELETE FROM served_hours WHERE hour > ?1", params![hour.number()])?;
    Ok(())
}
