//! Deletion of the rows of a clock that was ahead.

use uuid::Uuid;

use super::connection::{PostgresConnection, PostgresError};
use super::events::{self, event_rows};
use super::operations;
use super::removal::{DaysOfInstallation, Removal};
use super::rows::{DayArrays, LatestArrays, UPSERT_DAYS, UPSERT_LATEST, latest_rows};
use super::words::WordLookup;
use crate::backend::store::deletion::Remains;
use crate::backend::store::fold::{LatestRow, PreviousDay, Sign};
use crate::backend::store::hour::Hour;
use crate::backend::store::{Pruned, latest_before};

/// Deletes the rows that are later than `hour`, in one transaction: those of a clock that was wrong. An installation that
/// was known before keeps the hours that are not later, and the report of the last day that is left.
pub(super) async fn delete_after(connection: &mut PostgresConnection, hour: Hour) -> Result<Pruned, PostgresError> {
    connection.begin().await?;
    connection.client().batch_execute(events::LOCK_TO_MOVE).await?;
    let mut removal = Removal::new(connection);
    let mut deleted = Pruned::default();
    removal.delete_latest_after(hour, &mut deleted).await?;
    removal.delete_events_after(hour, &mut deleted).await?;
    removal.write_rollups().await?;
    operations::delete_after(connection, hour).await?;
    let move_back =
        "UPDATE words SET first_used = least(first_used, $1), last_used = least(last_used, $1) WHERE last_used > $1";
    connection.execute(move_back, &[&hour.day().number()]).await?;
    connection.commit().await?;
    connection.words().clear();
    Ok(deleted)
}

impl Removal<'_> {
    async fn delete_latest_after(&mut self, hour: Hour, deleted: &mut Pruned) -> Result<(), PostgresError> {
        let later = "SELECT * FROM latest WHERE last_seen > $1 ORDER BY installation FOR UPDATE";
        let rows = self.connection.query(later, &[&hour.number()]).await?;
        let latest = latest_rows(self.connection, &rows).await?;
        let keys: Vec<Uuid> = latest.keys().copied().collect();
        let mut days = self.lock_days(&keys).await?;
        self.delete("DELETE FROM latest WHERE installation = ANY($1)", &keys).await?;
        for (installation, row) in &latest {
            self.changes.latest(row, Sign::Minus);
            let days = days.remove(installation).unwrap_or_default();
            self.delete_days_after(hour, *installation, row, days, deleted).await?;
        }
        Ok(())
    }

    /// Deletes the later days of an installation, and writes what it was at `hour`, if it was known then.
    async fn delete_days_after(
        &mut self,
        hour: Hour,
        installation: Uuid,
        latest: &LatestRow,
        rows: DaysOfInstallation,
        deleted: &mut Pruned,
    ) -> Result<(), PostgresError> {
        let first_seen = latest.first_seen;
        let kept = if first_seen > hour { 0 } else { rows.partition_point(|(day, _)| *day <= hour.day()) };
        let (before, last) = (kept.saturating_sub(2), kept.saturating_sub(1));
        self.changes.chain(first_seen, rows[last..].iter().map(|(day, row)| (*day, row)), Sign::Minus);
        let gone: Vec<i32> = rows[last..].iter().map(|(day, _)| day.number()).collect();
        let sql = "DELETE FROM days WHERE installation = $1 AND day = ANY($2)";
        self.connection.execute(sql, &[&installation, &gone]).await?;
        deleted.days += (rows.len() - kept) as u64;
        deleted.installations += u64::from(kept == 0);
        if kept > 0 {
            let previous = rows[before..last].first().map(|(day, row)| PreviousDay::of(*day, &row.report));
            let (day, row) = &rows[last];
            self.restore(installation, latest_before(hour, latest, previous, *day, row.report.clone())).await?;
        }
        Ok(())
    }

    async fn restore(&mut self, installation: Uuid, restored: LatestRow) -> Result<(), PostgresError> {
        let (day, day_row) = restored.day_row();
        self.changes.latest(&restored, Sign::Plus);
        self.changes.day(restored.first_seen, day, &day_row, None, Sign::Plus);
        let (latest, key) = ((installation, restored), (day, installation));
        let rows = |words: &mut WordLookup<'_>| {
            let (Ok(latest), Ok(days)) =
                (LatestArrays::new(words, [&latest]), DayArrays::new(words, [(&key, &day_row)]));
            (latest, days)
        };
        let (latest, days) = self.connection.encode_stored(rows).await?;
        self.connection.execute(UPSERT_LATEST, &latest.parameters()).await?;
        self.connection.execute(UPSERT_DAYS, &days.parameters()).await?;
        Ok(())
    }

    async fn delete_events_after(&mut self, hour: Hour, deleted: &mut Pruned) -> Result<(), PostgresError> {
        let columns = events::COLUMNS;
        let sql = format!(
            "SELECT {columns} FROM arrivals WHERE source > 0 AND hour > $1
             UNION ALL SELECT {columns} FROM events WHERE source > 0 AND hour > $1"
        );
        let rows = self.connection.query(&sql, &[&hour.number()]).await?;
        let events = event_rows(self.connection, &rows).await?;
        self.delete_events(&events, Remains::Nothing).await?;
        deleted.events += events.len() as u64;
        Ok(())
    }
}
