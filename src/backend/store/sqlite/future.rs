//! Deletion of the rows of a clock that was ahead.

use rusqlite::{TransactionBehavior, params};
use uuid::Uuid;

use super::columns::EVENT_SOURCES;
use super::events::EventColumns;
use super::removal::{Remains, RowRemoval};
use super::rows::{day_row, latest_row, write_day, write_latest};
use super::writer::RowWriter;
use crate::backend::store::Pruned;
use crate::backend::store::fold::{DayRow, LatestRow, Sign};
use crate::backend::store::hour::{Day, Hour};

/// Deletes the rows that are later than `hour`, in one transaction: those of a clock that was wrong. An installation that
/// was known before keeps the hours that are not later, and the report of the last day that is left.
pub(super) fn delete_after(writer: &mut RowWriter, hour: Hour) -> rusqlite::Result<Pruned> {
    writer.merge()?;
    let (connection, words) = writer.parts();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut deletion = RowRemoval::new(&transaction, words);
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
            if let Some((before, day_row)) = self.latest_before(hour, &latest, installation)? {
                // The day's row is written anew, so that it is what the latest row comes to.
                let (day, new_day_row) = before.day_row();
                self.changes.day(day, &day_row, Sign::Minus);
                self.changes.day(day, &new_day_row, Sign::Plus);
                self.changes.latest(&before, Sign::Plus);
                write_latest(self.transaction, self.words, installation, &before)?;
                write_day(self.transaction, self.words, day, installation, &new_day_row)?;
            } else {
                deleted.installations += 1;
            }
            deleted.days += 1;
        }
        Ok(())
    }

    /// Returns the latest row as it was at `hour`, from the last day that is left, and the row of that day.
    fn latest_before(
        &mut self,
        hour: Hour,
        latest: &LatestRow,
        installation: Uuid,
    ) -> rusqlite::Result<Option<(LatestRow, DayRow)>> {
        let &LatestRow { first_seen, confirmed, bulk, .. } = latest;
        if first_seen > hour {
            return Ok(None);
        }
        let mut select = self.transaction.prepare_cached("SELECT * FROM days WHERE day = ?1 AND installation = ?2")?;
        for day in (first_seen.day().number()..=hour.day().number()).rev().map(Day::from_number) {
            let mut rows = select.query(params![day.number(), installation])?;
            if let Some(row) = rows.next()? {
                let day_row = day_row(self.transaction, self.words, row)?;
                let report = day_row.report.clone();
                let last_seen = day.first_hour().minus(-23).min(hour).max(first_seen);
                let confirmed = confirmed.filter(|confirmed| *confirmed <= hour);
                return Ok(Some((LatestRow { first_seen, confirmed, last_seen, bulk, report }, day_row)));
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
        for source in EVENT_SOURCES {
            let mut select = self.transaction.prepare("SELECT * FROM events WHERE source = ?1 AND hour > ?2")?;
            let rows = select.query_map(params![source, hour.number()], EventColumns::read)?;
            for columns in rows.collect::<rusqlite::Result<Vec<_>>>()? {
                self.delete_event(&columns, Remains::Nothing)?;
                deleted.events += 1;
            }
        }
        Ok(())
    }
}
