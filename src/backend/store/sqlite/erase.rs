//! Erasure of rows on request: of one installation, or of all that match a filter.

use rusqlite::{TransactionBehavior, params};
use uuid::Uuid;

use super::columns;
use super::removal::RowRemoval;
use super::rows::{latest_row, read_latest};
use super::words::StoredWords;
use super::writer::RowWriter;
use crate::backend::store::deletion::{MAX_STEP_ROWS, Remains};
use crate::backend::store::encoding::{EventColumns, NO_SOURCE};
use crate::backend::store::fold::{DayRow, LatestRow, Sign};
use crate::backend::store::hour::{Day, Hour};
use crate::backend::store::{Erased, EventFilter, InstallationFilter, MatchedRows, PseudonymKey};

/// The maximum number of rows that one step of an erasure reads: a step takes some 10 ms, for which writes wait.
const MAX_SCANNED_ROWS: u32 = 4_096;

/// Returns the number of days that an installation may have.
fn days(row: &LatestRow) -> u32 {
    row.last_seen.day().number().abs_diff(row.first_seen.day().number()) + 1
}

/// Deletes every row of an installation in one transaction.
pub(super) fn erase(writer: &mut RowWriter, installation: Uuid) -> rusqlite::Result<Erased> {
    let (connection, words) = writer.parts();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut deletion = RowRemoval::new(&transaction, words);
    let latest = read_latest(&transaction, deletion.words, installation)?;
    if let Some(row) = &latest {
        deletion.erase_latest(installation, row)?;
    }
    let days = deletion.erase_days(installation, latest.as_ref())?;
    deletion.write_rollups()?;
    transaction.commit()?;
    // A reader of an older state keeps the log; the next checkpoint truncates it. The rows are erased all the same.
    if let Err(error) = writer.truncate_wal() {
        tracing::warn!(%error, "failed to truncate the write-ahead log, which still holds erased rows; retrying later");
    }
    Ok(Erased { latest: latest.is_some(), days })
}

/// Erases the installations after `after` that match, in one transaction: of at most [`MAX_STEP_ROWS`] days, and one
/// installation more. Adds to `erased`, and returns the key after which the next step begins; `None` once there is no
/// further row.
pub(super) fn erase_installations(
    writer: &mut RowWriter,
    filter: &InstallationFilter,
    key: &PseudonymKey,
    after: Uuid,
    erased: &mut MatchedRows,
) -> rusqlite::Result<Option<Uuid>> {
    let (connection, words) = writer.parts();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut removal = RowRemoval::new(&transaction, words);
    let Matching { rows, next } = removal.matching_installations(filter, key, after)?;
    for (installation, row) in rows {
        removal.erase_latest(installation, &row)?;
        erased.days += removal.erase_days_between(installation, &row)?;
        erased.installations += 1;
    }
    removal.write_rollups()?;
    transaction.commit()?;
    Ok(next)
}

/// The rows that a step erases.
struct Matching<R, K> {
    rows: Vec<R>,
    /// The key after which the next step begins; `None` once there is no further row.
    next: Option<K>,
}

/// The key of an event, in whose order an erasure goes on.
pub(super) type EventKey = (i64, i32, Uuid);

/// The key before those of all events that are not deleted but for their uids.
pub(super) const FIRST_EVENT: EventKey = (NO_SOURCE, i32::MAX, Uuid::max());

/// Erases the events after `after` that match, at most [`MAX_STEP_ROWS`], in one transaction. Their uids stay, so that a
/// repeat is known. Adds to `erased`, and returns the key after which the next step begins.
pub(super) fn erase_events(
    writer: &mut RowWriter,
    filter: &EventFilter,
    after: EventKey,
    erased: &mut MatchedRows,
) -> rusqlite::Result<Option<EventKey>> {
    writer.merge()?;
    let (connection, words) = writer.parts();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut removal = RowRemoval::new(&transaction, words);
    let Matching { rows, next } = removal.matching_events(filter, after)?;
    for columns in &rows {
        removal.delete_event(columns, Remains::Uid)?;
        erased.events += 1;
    }
    removal.write_rollups()?;
    transaction.commit()?;
    Ok(next)
}

impl RowRemoval<'_> {
    fn matching_installations(
        &mut self,
        filter: &InstallationFilter,
        key: &PseudonymKey,
        after: Uuid,
    ) -> rusqlite::Result<Matching<(Uuid, LatestRow), Uuid>> {
        let sql = "SELECT * FROM latest WHERE installation > ?1 ORDER BY installation LIMIT ?2";
        let mut select = self.transaction.prepare_cached(sql)?;
        let mut rows = select.query(params![after, MAX_SCANNED_ROWS])?;
        let (mut matching, mut next, mut scanned, mut rows_to_erase) = (Vec::new(), None, 0, 0);
        while let Some(row) = rows.next()? {
            let installation = row.get("installation")?;
            let latest = latest_row(self.transaction, self.words, row)?;
            (next, scanned) = (Some(installation), scanned + 1);
            if filter.matches(installation, &latest, key) {
                rows_to_erase += days(&latest);
                matching.push((installation, latest));
            }
            if rows_to_erase >= MAX_STEP_ROWS {
                return Ok(Matching { rows: matching, next });
            }
        }
        Ok(Matching { rows: matching, next: next.filter(|_| scanned == MAX_SCANNED_ROWS) })
    }

    fn matching_events(
        &mut self,
        filter: &EventFilter,
        (source, hour, uid): EventKey,
    ) -> rusqlite::Result<Matching<EventColumns, EventKey>> {
        let sql = "SELECT * FROM events WHERE (source, hour, uid) > (?1, ?2, ?3) ORDER BY source, hour, uid LIMIT ?4";
        let mut select = self.transaction.prepare_cached(sql)?;
        let mut rows = select.query(params![source, hour, uid, MAX_SCANNED_ROWS])?;
        let (mut matching, mut next, mut scanned) = (Vec::new(), None, 0);
        while let Some(row) = rows.next()? {
            let event = columns::event(row)?;
            (next, scanned) = (Some((event.source, event.hour, event.uid)), scanned + 1);
            let mut words = StoredWords { connection: self.transaction, words: self.words };
            if filter.matches(&event.event(&mut words)?) {
                matching.push(event);
            }
            if matching.len() >= MAX_STEP_ROWS as usize {
                return Ok(Matching { rows: matching, next });
            }
        }
        Ok(Matching { rows: matching, next: next.filter(|_| scanned == MAX_SCANNED_ROWS) })
    }

    fn erase_latest(&mut self, installation: Uuid, row: &LatestRow) -> rusqlite::Result<()> {
        self.changes.latest(row, Sign::Minus);
        self.run("DELETE FROM latest WHERE installation = ?1", params![installation])?;
        Ok(())
    }

    /// Deletes the days of an installation from its first to its last: it has no others.
    fn erase_days_between(&mut self, installation: Uuid, latest: &LatestRow) -> rusqlite::Result<u64> {
        let days = latest.first_seen.day().number()..=latest.last_seen.day().number();
        let rows = self.read_days(installation, days.map(Day::from_number))?;
        self.delete_days_of(installation, latest.first_seen, &rows)
    }

    /// Deletes the days of an installation. The key leads with the day, and looking each day up is faster than a scan of
    /// all rows.
    fn erase_days(&mut self, installation: Uuid, latest: Option<&LatestRow>) -> rusqlite::Result<u64> {
        let mut select = self.transaction.prepare(
            "WITH RECURSIVE stored (day) AS (
                 SELECT min(day) FROM days
                 UNION ALL
                 SELECT (SELECT min(day) FROM days WHERE day > stored.day) FROM stored WHERE stored.day IS NOT NULL
             )
             SELECT day FROM stored WHERE day IS NOT NULL ORDER BY day",
        )?;
        let days: Vec<_> =
            select.query_map([], |row| row.get("day").map(Day::from_number))?.collect::<rusqlite::Result<_>>()?;
        let rows = self.read_days(installation, days.into_iter())?;
        let first = rows.first().map(|(day, _)| day.first_hour()).unwrap_or_default();
        self.delete_days_of(installation, latest.map_or(first, |latest| latest.first_seen), &rows)
    }

    fn delete_days_of(
        &mut self,
        installation: Uuid,
        first_seen: Hour,
        rows: &[(Day, DayRow)],
    ) -> rusqlite::Result<u64> {
        self.changes.chain(first_seen, rows.iter().map(|(day, row)| (*day, row)), Sign::Minus);
        for (day, _) in rows {
            self.delete_day(*day, installation)?;
        }
        Ok(rows.len() as u64)
    }
}
