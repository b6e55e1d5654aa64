//! Deletion of the rows of a clock that was ahead.

use rusqlite::{TransactionBehavior, params};
use uuid::Uuid;

use super::columns;
use super::operations;
use super::removal::RowRemoval;
use super::rows::{latest_row, write_day, write_latest};
use super::words;
use super::writer::RowWriter;
use crate::backend::store::deletion::Remains;
use crate::backend::store::encoding::EVENT_SOURCES;
use crate::backend::store::fold::{LatestRow, PreviousDay, Sign};
use crate::backend::store::hour::{Day, Hour};
use crate::backend::store::{Pruned, latest_before};

/// Deletes the rows that are later than `hour`, in one transaction: those of a clock that was wrong. An installation that
/// was known before keeps the hours that are not later, and the report of the last day that is left.
pub(super) fn delete_after(writer: &mut RowWriter, hour: Hour) -> rusqlite::Result<Pruned> {
    writer.merge()?;
    let (connection, cache) = writer.parts();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut deletion = RowRemoval::new(&transaction, cache);
    let mut deleted = Pruned::default();
    deletion.delete_latest_after(hour, &mut deleted)?;
    deletion.delete_events_after(hour, &mut deleted)?;
    deletion.write_rollups()?;
    operations::delete_after(&transaction, hour)?;
    words::move_back(&transaction, hour.day())?;
    transaction.commit()?;
    writer.forget_words();
    writer.forget_uids();
    Ok(deleted)
}

impl RowRemoval<'_> {
    fn delete_latest_after(&mut self, hour: Hour, deleted: &mut Pruned) -> rusqlite::Result<()> {
        let mut select = self.transaction.prepare("SELECT * FROM latest WHERE last_seen > ?1")?;
        let mut rows = select.query(params![hour.number()])?;
        let mut later = Vec::new();
        while let Some(row) = rows.next()? {
            later.push((row.get::<_, Uuid>("installation")?, latest_row(self.transaction, self.words, row)?));
        }
        for (installation, latest) in later {
            self.changes.latest(&latest, Sign::Minus);
            self.run("DELETE FROM latest WHERE installation = ?1", params![installation])?;
            self.delete_days_after(hour, installation, &latest, deleted)?;
        }
        Ok(())
    }

    /// Deletes the later days of an installation, and writes what it was at `hour`, if it was known then.
    fn delete_days_after(
        &mut self,
        hour: Hour,
        installation: Uuid,
        latest: &LatestRow,
        deleted: &mut Pruned,
    ) -> rusqlite::Result<()> {
        let first_seen = latest.first_seen;
        let days = first_seen.day().number()..=latest.last_seen.day().number();
        let rows = self.read_days(installation, days.map(Day::from_number))?;
        let kept = if first_seen > hour { 0 } else { rows.partition_point(|(day, _)| *day <= hour.day()) };
        let (before, last) = (kept.saturating_sub(2), kept.saturating_sub(1));
        self.changes.chain(first_seen, rows[last..].iter().map(|(day, row)| (*day, row)), Sign::Minus);
        for (day, _) in &rows[last..] {
            self.delete_day(*day, installation)?;
        }
        deleted.days += (rows.len() - kept) as u64;
        deleted.installations += u64::from(kept == 0);
        if kept > 0 {
            let previous = rows[before..last].first().map(|(day, row)| PreviousDay::of(*day, &row.report));
            let (day, row) = &rows[last];
            let restored = latest_before(hour, latest, previous, *day, row.report.clone());
            let (day, day_row) = restored.day_row();
            self.changes.latest(&restored, Sign::Plus);
            self.changes.day(first_seen, day, &day_row, None, Sign::Plus);
            write_latest(self.transaction, self.words, installation, &restored)?;
            write_day(self.transaction, self.words, day, installation, &day_row)?;
        }
        Ok(())
    }

    fn delete_events_after(&mut self, hour: Hour, deleted: &mut Pruned) -> rusqlite::Result<()> {
        for source in EVENT_SOURCES {
            let mut select = self.transaction.prepare("SELECT * FROM events WHERE source = ?1 AND hour > ?2")?;
            let rows = select.query_map(params![source, hour.number()], columns::event)?;
            for event in rows.collect::<rusqlite::Result<Vec<_>>>()? {
                self.delete_event(&event, Remains::Nothing)?;
                deleted.events += 1;
            }
        }
        Ok(())
    }
}
