//! Deletion of rows by age, and of their traces.

use rusqlite::{TransactionBehavior, params};
use uuid::Uuid;

use super::columns;
use super::operations;
use super::removal::{RowRemoval, is_full};
use super::rows::{day_row, latest_row, read_latest};
use super::writer::RowWriter;
use crate::backend::store::deletion::{MAX_STEP_ROWS, Remains};
use crate::backend::store::encoding::{EVENT_SOURCES, NO_SOURCE, SOURCES, source};
use crate::backend::store::fold::Sign;
use crate::backend::store::hour::{Day, Hour};
use crate::backend::store::{Cutoffs, Pruned};

/// Deletes rows kind by kind, at most [`MAX_STEP_ROWS`] of each, and stops at the first kind that reaches the bound.
/// Returns the updated counts and whether another step is needed. Runs in one transaction.
pub(super) fn step(writer: &mut RowWriter, cutoffs: Cutoffs, mut pruned: Pruned) -> rusqlite::Result<(Pruned, bool)> {
    writer.merge()?;
    let (connection, words) = writer.parts();
    let Cutoffs { events: events_before, uids: uids_before, installations: first_day } = cutoffs;
    let Pruned { events, uids, days, installations } = &mut pruned;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut deletion = RowRemoval::new(&transaction, words);
    // A stripped event was counted in `events` when it was stripped, and is counted in `uids` now.
    let has_more = deletion.delete_uids(uids_before, uids)?
        || deletion.delete_events(uids_before, Remains::Nothing, events)?
        || deletion.delete_events(events_before, Remains::Uid, events)?
        || deletion.delete_days(first_day, days)?
        || deletion.delete_latest(first_day.first_hour(), installations)?;
    deletion.write_rollups()?;
    if !has_more {
        words.prune(&transaction, events_before.day().min(first_day))?;
        transaction.execute("DELETE FROM bulk_events WHERE day < ?1", params![first_day.number()])?;
        operations::delete_before(&transaction, first_day)?;
    }
    transaction.commit()?;
    if !has_more {
        writer.forget_old_uids();
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
        for source in EVENT_SOURCES {
            let sql = "SELECT * FROM events WHERE source = ?1 AND hour < ?2 ORDER BY hour, uid LIMIT ?3";
            let mut select = self.transaction.prepare_cached(sql)?;
            let rows = select.query_map(params![source, before.number(), MAX_STEP_ROWS], columns::event)?;
            let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            for event in &rows {
                self.delete_event(event, remains)?;
            }
            *count += rows.len() as u64;
            if is_full(rows.len()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn delete_days(&mut self, before: Day, count: &mut u64) -> rusqlite::Result<bool> {
        let mut select = self.transaction.prepare_cached("SELECT * FROM days WHERE day < ?1 LIMIT ?2")?;
        let mut rows = select.query(params![before.number(), MAX_STEP_ROWS])?;
        let mut keys = Vec::new();
        while let Some(row) = rows.next()? {
            let (day, installation) = (Day::from_number(row.get("day")?), row.get("installation")?);
            let day_row = day_row(self.transaction, self.words, row)?;
            let latest = read_latest(self.transaction, self.words, installation)?;
            let (first_seen, last) =
                latest.map_or((day.first_hour(), day), |latest| (latest.first_seen, latest.last_seen.day()));
            let next = self.next_day(installation, day, last)?;
            self.changes.day(first_seen, day, &day_row, next, Sign::Minus);
            keys.push((day, installation));
        }
        for (day, installation) in &keys {
            self.delete_day(*day, *installation)?;
        }
        *count += keys.len() as u64;
        Ok(is_full(keys.len()))
    }

    fn delete_latest(&mut self, before: Hour, count: &mut u64) -> rusqlite::Result<bool> {
        let [agent, kamaji] = SOURCES.map(source);
        let mut select = self.transaction.prepare_cached(
            "SELECT * FROM latest
             WHERE source IN (?1, ?2) AND bulk IN (0, 1) AND (confirmed IS NULL) IN (0, 1) AND last_seen < ?3 LIMIT ?4",
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
}
