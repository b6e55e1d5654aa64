//! Deletion of rows, by age and on request.

use std::time::Duration;

use rusqlite::{Connection, Params, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use super::columns::{NO_SOURCE, SOURCES, source};
use super::events::EventColumns;
use super::file::BUSY_TIMEOUT;
use super::rollups;
use super::rows::{day_row, latest_row, read_latest, write_latest};
use super::words::Words;
use super::writer::RowWriter;
use crate::backend::store::fold::{DayRow, LatestRow, RollupChanges, Sign};
use crate::backend::store::hour::{Day, Hour};
use crate::backend::store::{Cutoffs, Erased, Pruned};

/// The maximum number of rows of one kind that one step deletes: a quarter of those that one commit writes, so that a
/// write waits for a step no longer than for the commit before it.
const MAX_STEP_ROWS: u32 = 1_024;

/// The remains of an event that is older than the retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remains {
    /// Its uid and its hour, by which a repeat is known.
    Uid,
    Nothing,
}

/// A removal of rows in progress: a transaction, and what it takes out of the rollups.
struct RowRemoval<'a> {
    transaction: &'a Transaction<'a>,
    words: &'a mut Words,
    changes: RollupChanges,
}

/// Deletes rows kind by kind, at most [`MAX_STEP_ROWS`] of each, and stops at the first kind that reaches the bound.
/// Returns the updated counts and whether another step is needed. Runs in one transaction.
pub(super) fn step(writer: &mut RowWriter, cutoffs: Cutoffs, mut pruned: Pruned) -> rusqlite::Result<(Pruned, bool)> {
    writer.merge()?;
    let (connection, words) = writer.parts();
    let Cutoffs { events: events_before, uids: uids_before, installations: first_day } = cutoffs;
    let Pruned { events, uids, days, installations } = &mut pruned;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut deletion = RowRemoval { transaction: &transaction, words, changes: RollupChanges::default() };
    // A stripped event was counted in `events` when it was stripped, and is counted in `uids` now.
    let has_more = deletion.delete_uids(uids_before, uids)?
        || deletion.delete_events(uids_before, Remains::Nothing, events)?
        || deletion.delete_events(events_before, Remains::Uid, events)?
        || deletion.delete_days(first_day, days)?
        || deletion.delete_latest(first_day.first_hour(), installations)?;
    deletion.write_rollups()?;
    transaction.commit()?;
    if !has_more {
        writer.forget_uids_before(uids_before);
    }
    Ok((pruned, has_more))
}

impl RowRemoval<'_> {
    fn delete_uids(&mut self, before: Hour, count: &mut u64) -> rusqlite::Result<bool> {
        let sql = "DELETE FROM events
                   WHERE (source, hour, uid)
                      IN (SELECT source, hour, uid FROM events WHERE source = ?1 AND hour < ?2 LIMIT ?3)";
        let rows = self.run(sql, params![NO_SOURCE, before.number(), MAX_STEP_ROWS])?;
        *count += rows as u64;
        Ok(is_full(rows))
    }

    fn delete_events(&mut self, before: Hour, remains: Remains, count: &mut u64) -> rusqlite::Result<bool> {
        for kind in SOURCES {
            let sql = "SELECT * FROM events WHERE source = ?1 AND hour < ?2 ORDER BY hour, uid LIMIT ?3";
            let mut select = self.transaction.prepare_cached(sql)?;
            let rows = select.query_map(params![source(kind), before.number(), MAX_STEP_ROWS], EventColumns::read)?;
            let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            for columns in &rows {
                self.delete_event(columns, remains)?;
            }
            *count += rows.len() as u64;
            if is_full(rows.len()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn delete_event(&mut self, columns: &EventColumns, remains: Remains) -> rusqlite::Result<()> {
        let EventColumns { source, hour, uid, .. } = columns;
        self.changes.event(&columns.event(self.transaction, self.words)?, Sign::Minus);
        self.run("DELETE FROM events WHERE source = ?1 AND hour = ?2 AND uid = ?3", params![source, hour, uid])?;
        if remains == Remains::Uid {
            self.run(
                "INSERT INTO events VALUES (?1, ?2, ?3, 0, 0, 0, 0, 0, 0, 0, 0, 0) ON CONFLICT DO NOTHING",
                params![NO_SOURCE, hour, uid],
            )?;
        }
        Ok(())
    }

    fn delete_days(&mut self, before: Day, count: &mut u64) -> rusqlite::Result<bool> {
        let mut select = self.transaction.prepare_cached("SELECT * FROM days WHERE day < ?1 LIMIT ?2")?;
        let mut rows = select.query(params![before.number(), MAX_STEP_ROWS])?;
        let mut keys = Vec::new();
        while let Some(row) = rows.next()? {
            let day = Day::from_number(row.get("day")?);
            self.changes.day(day, &day_row(self.transaction, self.words, row)?, Sign::Minus);
            keys.push((day, row.get("installation")?));
        }
        for (day, installation) in &keys {
            self.delete_day(*day, *installation)?;
        }
        *count += keys.len() as u64;
        Ok(is_full(keys.len()))
    }

    fn delete_day(&self, day: Day, installation: Uuid) -> rusqlite::Result<()> {
        self.run("DELETE FROM days WHERE day = ?1 AND installation = ?2", params![day.number(), installation])?;
        Ok(())
    }

    fn delete_latest(&mut self, before: Hour, count: &mut u64) -> rusqlite::Result<bool> {
        let [agent, kamaji] = SOURCES.map(source);
        let mut select = self.transaction.prepare_cached(
            "SELECT * FROM latest
             WHERE source IN (?1, ?2) AND (confirmed IS NULL) IN (0, 1) AND last_seen < ?3 LIMIT ?4",
        )?;
        let mut rows = select.query(params![agent, kamaji, before.number(), MAX_STEP_ROWS])?;
        let mut keys = Vec::new();
        while let Some(row) = rows.next()? {
            self.changes.latest(&latest_row(self.transaction, self.words, row)?, Sign::Minus);
            keys.push(row.get::<_, Uuid>("installation")?);
        }
        for installation in &keys {
            self.run("DELETE FROM latest WHERE installation = ?1", params![installation])?;
        }
        *count += keys.len() as u64;
        Ok(is_full(keys.len()))
    }

    fn write_rollups(&mut self) -> rusqlite::Result<()> {
        rollups::write(self.transaction, self.words, &std::mem::take(&mut self.changes).without_zeros())
    }

    fn run(&self, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
        self.transaction.prepare_cached(sql)?.execute(params)
    }
}

/// Returns whether a deletion reached its bound.
const fn is_full(rows: usize) -> bool {
    rows >= MAX_STEP_ROWS as usize
}

/// Deletes every row of an installation in one transaction.
pub(super) fn erase(writer: &mut RowWriter, installation: Uuid) -> rusqlite::Result<Erased> {
    let (connection, words) = writer.parts();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut deletion = RowRemoval { transaction: &transaction, words, changes: RollupChanges::default() };
    let latest = read_latest(&transaction, deletion.words, installation)?;
    if let Some(row) = &latest {
        deletion.changes.latest(row, Sign::Minus);
        deletion.run("DELETE FROM latest WHERE installation = ?1", params![installation])?;
    }
    let days = deletion.erase_days(installation)?;
    deletion.write_rollups()?;
    transaction.commit()?;
    // A reader of an older state keeps the log; the next checkpoint truncates it. The rows are erased all the same.
    if let Err(error) = truncate_wal(connection) {
        tracing::warn!(%error, "failed to truncate the write-ahead log, which still holds erased rows; retrying later");
    }
    Ok(Erased { latest: latest.is_some(), days })
}

impl RowRemoval<'_> {
    /// Deletes the days of an installation. The key leads with the day, and looking each day up is faster than a scan of
    /// all rows.
    fn erase_days(&mut self, installation: Uuid) -> rusqlite::Result<u64> {
        let mut select = self.transaction.prepare(
            "WITH RECURSIVE stored (day) AS (
                 SELECT min(day) FROM days
                 UNION ALL
                 SELECT (SELECT min(day) FROM days WHERE day > stored.day) FROM stored WHERE stored.day IS NOT NULL
             )
             SELECT * FROM days WHERE day IN (SELECT day FROM stored) AND installation = ?1",
        )?;
        let mut rows = select.query(params![installation])?;
        let mut erased = Vec::new();
        while let Some(row) = rows.next()? {
            let day = Day::from_number(row.get("day")?);
            self.changes.day(day, &day_row(self.transaction, self.words, row)?, Sign::Minus);
            erased.push(day);
        }
        for day in &erased {
            self.delete_day(*day, installation)?;
        }
        Ok(erased.len() as u64)
    }
}

/// The number of days before an hour in which the last report of an installation is looked for: more than a clock may be
/// wrong unnoticed.
const MAX_LOOK_BACK: i32 = 40;

/// Deletes the rows that are later than `hour`, in one transaction: those of a clock that was wrong. An installation that
/// was known before keeps the hours that are not later, and the report of the last day that is left.
pub(super) fn delete_after(writer: &mut RowWriter, hour: Hour) -> rusqlite::Result<Pruned> {
    writer.merge()?;
    let (connection, words) = writer.parts();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut deletion = RowRemoval { transaction: &transaction, words, changes: RollupChanges::default() };
    let mut deleted = Pruned::default();
    deletion.delete_latest_after(hour, &mut deleted)?;
    deletion.delete_days_after(hour.day(), &mut deleted)?;
    deletion.delete_events_after(hour, &mut deleted)?;
    deletion.write_rollups()?;
    transaction.commit()?;
    writer.forget_uids();
    Ok(deleted)
}

impl RowRemoval<'_> {
    fn delete_latest_after(&mut self, hour: Hour, deleted: &mut Pruned) -> rusqlite::Result<()> {
        let mut select = self.transaction.prepare("SELECT * FROM latest WHERE last_seen > ?1")?;
        let mut rows = select.query(params![hour.number()])?;
        let mut keys = Vec::new();
        while let Some(row) = rows.next()? {
            let latest = latest_row(self.transaction, self.words, row)?;
            self.changes.latest(&latest, Sign::Minus);
            let (day, day_row) = latest.day_row();
            self.changes.day(day, &day_row, Sign::Minus);
            keys.push((latest, row.get::<_, Uuid>("installation")?));
        }
        for (latest, installation) in keys {
            self.delete_day(latest.last_seen.day(), installation)?;
            self.run("DELETE FROM latest WHERE installation = ?1", params![installation])?;
            if let Some(before) = self.latest_before(hour, &latest, installation)? {
                self.changes.latest(&before, Sign::Plus);
                write_latest(self.transaction, self.words, installation, &before)?;
            } else {
                deleted.installations += 1;
            }
            deleted.days += 1;
        }
        Ok(())
    }

    /// Returns the latest row as it was at `hour`, from the last day that is left.
    fn latest_before(
        &mut self,
        hour: Hour,
        latest: &LatestRow,
        installation: Uuid,
    ) -> rusqlite::Result<Option<LatestRow>> {
        let &LatestRow { first_seen, confirmed, .. } = latest;
        if first_seen > hour {
            return Ok(None);
        }
        let mut select = self.transaction.prepare_cached("SELECT * FROM days WHERE day = ?1 AND installation = ?2")?;
        for day in (0..MAX_LOOK_BACK).map(|days| hour.day().minus(days)) {
            let mut rows = select.query(params![day.number(), installation])?;
            if let Some(row) = rows.next()? {
                let DayRow { confirmed: is_confirmed, report } = day_row(self.transaction, self.words, row)?;
                let last_seen = day.first_hour().minus(-23).min(hour).max(first_seen);
                return Ok(Some(LatestRow {
                    first_seen,
                    confirmed: confirmed.filter(|_| is_confirmed),
                    last_seen,
                    report,
                }));
            }
        }
        Ok(None)
    }

    fn delete_days_after(&mut self, day: Day, deleted: &mut Pruned) -> rusqlite::Result<()> {
        let mut select = self.transaction.prepare("SELECT * FROM days WHERE day > ?1")?;
        let mut rows = select.query(params![day.number()])?;
        while let Some(row) = rows.next()? {
            let day = Day::from_number(row.get("day")?);
            self.changes.day(day, &day_row(self.transaction, self.words, row)?, Sign::Minus);
            deleted.days += 1;
        }
        drop(rows);
        self.run("DELETE FROM days WHERE day > ?1", params![day.number()])?;
        Ok(())
    }

    fn delete_events_after(&mut self, hour: Hour, deleted: &mut Pruned) -> rusqlite::Result<()> {
        for kind in SOURCES {
            let mut select = self.transaction.prepare("SELECT * FROM events WHERE source = ?1 AND hour > ?2")?;
            let rows = select.query_map(params![source(kind), hour.number()], EventColumns::read)?;
            for columns in rows.collect::<rusqlite::Result<Vec<_>>>()? {
                self.delete_event(&columns, Remains::Nothing)?;
                deleted.events += 1;
            }
        }
        Ok(())
    }
}

/// Truncates the write-ahead log, which still holds deleted rows and reveals the order of commits. The log stays while
/// a reader, such as a backup, uses an older state. This does not wait for readers, since writes would wait too.
pub(super) fn truncate_wal(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::ZERO)?;
    let truncated = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    connection.busy_timeout(BUSY_TIMEOUT)?;
    truncated
}
