//! Deletion of rows by age.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::connection::{PostgresConnection, PostgresError};
use super::events::{self, event_rows};
use super::removal::Removal;
use super::rows::{day_rows, latest_rows, small};
use super::{operations, partitions};
use crate::backend::store::deletion::{MAX_STEP_ROWS, Remains};
use crate::backend::store::encoding::{EVENT_SOURCES, NO_SOURCE};
use crate::backend::store::fold::{LatestRow, Sign};
use crate::backend::store::hour::{Day, Hour};
use crate::backend::store::{Cutoffs, Pruned};

/// The bound as a parameter.
const LIMIT: i64 = MAX_STEP_ROWS as i64;

/// Deletes rows kind by kind, at most [`MAX_STEP_ROWS`] of each, and stops at the first kind that reaches the bound.
/// Returns the updated counts and whether another step is needed. Runs in one transaction.
pub(super) async fn step(
    connection: &mut PostgresConnection,
    cutoffs: Cutoffs,
    mut pruned: Pruned,
) -> Result<(Pruned, bool), PostgresError> {
    let Cutoffs { events: events_before, uids: uids_before, installations: first_day } = cutoffs;
    let Pruned { events, uids, days, installations } = &mut pruned;
    connection.begin().await?;
    let mut removal = Removal::new(connection);
    // An event that was deleted but for its uid was counted in `events` then, and is counted in `uids` now.
    let has_more = removal.prune_uids(uids_before, uids).await?
        || removal.prune_events(uids_before, Remains::Nothing, events).await?
        || removal.prune_events(events_before, Remains::Uid, events).await?
        || removal.prune_days(first_day, days, installations).await?
        || removal.prune_latest(first_day.first_hour(), installations).await?;
    removal.write_rollups().await?;
    if !has_more {
        delete_without_rollups(connection, events_before.day().min(first_day), first_day).await?;
    }
    connection.commit().await?;
    if !has_more {
        // Some may be deleted. Other backends use words of today only, which are not.
        connection.words().clear();
        partitions::drop_empty(connection, first_day).await?;
    }
    Ok((pruned, has_more))
}

/// Deletes old rows that are in no rollup.
async fn delete_without_rollups(
    connection: &mut PostgresConnection,
    words_before: Day,
    first_day: Day,
) -> Result<(), PostgresError> {
    connection.execute("DELETE FROM words WHERE last_used < $1", &[&words_before.number()]).await?;
    connection.execute("DELETE FROM bulk_events WHERE day < $1", &[&first_day.number()]).await?;
    operations::delete_before(connection, first_day).await
}

/// Returns whether a deletion reached its bound.
fn is_full(rows: usize) -> bool {
    rows as u64 >= u64::from(MAX_STEP_ROWS)
}

impl Removal<'_> {
    async fn prune_uids(&mut self, before: Hour, count: &mut u64) -> Result<bool, PostgresError> {
        let sql = "DELETE FROM events WHERE uid IN (SELECT uid FROM events WHERE source = $1 AND hour < $2 LIMIT $3)";
        let parameters: &[&(dyn ToSql + Sync)] = &[&small(NO_SOURCE), &before.number(), &LIMIT];
        let rows = self.connection.execute(sql, parameters).await?;
        *count += rows;
        Ok(is_full(usize::try_from(rows).unwrap_or(usize::MAX)))
    }

    async fn prune_events(&mut self, before: Hour, remains: Remains, count: &mut u64) -> Result<bool, PostgresError> {
        let columns = events::COLUMNS;
        let sql = format!(
            "SELECT {columns} FROM arrivals WHERE source = $1 AND hour < $2
             UNION ALL SELECT {columns} FROM events WHERE source = $1 AND hour < $2 LIMIT $3"
        );
        for source in EVENT_SOURCES {
            let source = small(source);
            let parameters: &[&(dyn ToSql + Sync)] = &[&source, &before.number(), &LIMIT];
            if self.connection.query(&sql, parameters).await?.is_empty() {
                continue;
            }
            self.connection.client().batch_execute(events::LOCK_TO_MOVE).await?;
            let rows = self.connection.query(&sql, parameters).await?;
            let events = event_rows(self.connection, &rows).await?;
            self.delete_events(&events, remains).await?;
            *count += events.len() as u64;
            if is_full(events.len()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Deletes days, and the latest rows of installations whose last day they are: both or none, so that a receipt between them
    /// would not take the day out of the rollups twice.
    async fn prune_days(
        &mut self,
        before: Day,
        days: &mut u64,
        installations: &mut u64,
    ) -> Result<bool, PostgresError> {
        for day in partitions::before(self.connection, before).await? {
            let sql = format!("SELECT installation FROM days_{day} ORDER BY installation LIMIT {MAX_STEP_ROWS}");
            let rows = self.connection.client().query(&sql, &[]).await?;
            let keys = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<Uuid>, _>>()?;
            if keys.is_empty() {
                continue;
            }
            let gone = self.prune_day(Day::from_number(day), &keys).await?;
            *days += keys.len() as u64;
            *installations += gone;
            if is_full(keys.len()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Deletes the rows of installations on a day. Returns the number of installations whose last day it was.
    async fn prune_day(&mut self, day: Day, keys: &[Uuid]) -> Result<u64, PostgresError> {
        let latest = self.lock_latest(keys).await?;
        let sql = format!(
            "SELECT * FROM days_{} WHERE installation = ANY($1) ORDER BY installation FOR UPDATE",
            day.number()
        );
        let rows = self.connection.client().query(&sql, &[&keys]).await?;
        let rows = day_rows(self.connection, &rows).await?;
        let next = self.next_days(day, keys).await?;
        let mut gone = Vec::new();
        for (installation, _, row) in &rows {
            let (next, latest) = (next.get(installation).copied(), latest.get(installation));
            let first_seen = latest.map_or_else(|| day.first_hour(), |latest| latest.first_seen);
            self.changes.day(first_seen, day, row, next, Sign::Minus);
            if let Some(latest) = latest.filter(|latest: &&LatestRow| latest.last_seen.day() == day) {
                self.changes.latest(latest, Sign::Minus);
                gone.push(*installation);
            }
        }
        self.delete(&format!("DELETE FROM days_{} WHERE installation = ANY($1)", day.number()), keys).await?;
        self.delete("DELETE FROM latest WHERE installation = ANY($1)", &gone).await
    }

    /// Returns the day of the next row of each installation after `day`: of most of them the next one.
    async fn next_days(&mut self, day: Day, keys: &[Uuid]) -> Result<BTreeMap<Uuid, Day>, PostgresError> {
        let sql = "SELECT installation FROM days WHERE day = $1 AND installation = ANY($2)";
        let rows = self.connection.query(sql, &[&day.plus(1).number(), &keys]).await?;
        let mut next = BTreeMap::new();
        for row in rows {
            next.insert(row.try_get(0)?, day.plus(1));
        }
        let rest: BTreeSet<_> = keys.iter().filter(|key| !next.contains_key(*key)).copied().collect();
        if !rest.is_empty() {
            let rest: Vec<_> = rest.into_iter().collect();
            let sql = "SELECT installation, min(day) FROM days WHERE day > $1 AND installation = ANY($2) GROUP BY 1";
            for row in self.connection.query(sql, &[&day.number(), &rest]).await? {
                next.insert(row.try_get(0)?, Day::from_number(row.try_get(1)?));
            }
        }
        Ok(next)
    }

    /// Deletes the latest rows of installations that have no day left.
    async fn prune_latest(&mut self, before: Hour, count: &mut u64) -> Result<bool, PostgresError> {
        let sql = "
            SELECT * FROM latest
            WHERE source IN (1, 2) AND bulk IN (false, true) AND (confirmed IS NULL) IN (false, true) AND last_seen < $1
            ORDER BY installation LIMIT $2 FOR UPDATE";
        let rows = self.connection.query(sql, &[&before.number(), &LIMIT]).await?;
        let latest = latest_rows(self.connection, &rows).await?;
        for row in latest.values() {
            self.changes.latest(row, Sign::Minus);
        }
        let keys: Vec<_> = latest.into_keys().collect();
        self.delete("DELETE FROM latest WHERE installation = ANY($1)", &keys).await?;
        *count += keys.len() as u64;
        Ok(is_full(keys.len()))
    }
}
