//! Deletion of rows, by age and on request.

use std::time::Duration;

use rusqlite::{Connection, Params, TransactionBehavior, params};
use uuid::Uuid;

use super::columns;
use super::file::BUSY_TIMEOUT;
use crate::backend::store::{Cutoffs, Erased, Pruned};

/// The maximum number of rows of one kind that one step deletes: a quarter of those that one commit writes, so that a
/// write waits for a step no longer than for the commit before it.
const MAX_STEP_ROWS: u32 = 1_024;

/// Deletes rows kind by kind, at most [`MAX_STEP_ROWS`] of each, and stops at the first kind that reaches the bound.
/// Returns the updated counts and whether another step is needed. Runs in one transaction.
pub(super) fn step(
    connection: &mut Connection,
    cutoffs: Cutoffs,
    mut pruned: Pruned,
) -> rusqlite::Result<(Pruned, bool)> {
    let Cutoffs { events: events_before, uids: uids_before, installations: first_day } = cutoffs;
    let (events_before, uids_before) = (events_before.as_millisecond(), uids_before.as_millisecond());
    let day = columns::day_of(first_day);
    let Pruned { events, uids, days, dimensions, installations } = &mut pruned;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // A stripped event was counted in `events` when it was stripped, and is counted in `uids` now.
    let has_more = run(&transaction, DELETE_STRIPPED_EVENTS, params![uids_before, MAX_STEP_ROWS], uids)?
        || run(&transaction, DELETE_EVENTS, params![uids_before, MAX_STEP_ROWS], events)?
        || run(&transaction, STRIP_EVENTS, params![events_before, MAX_STEP_ROWS], events)?
        || run(&transaction, DELETE_DIMENSIONS, params![day, MAX_STEP_ROWS], dimensions)?
        || run(&transaction, DELETE_DAYS, params![day, MAX_STEP_ROWS], days)?
        || run(&transaction, DELETE_LATEST, params![day * columns::DAY_MS, MAX_STEP_ROWS], installations)?;
    transaction.commit()?;
    Ok((pruned, has_more))
}

const DELETE_STRIPPED_EVENTS: &str = "
    DELETE FROM events WHERE uid IN (SELECT uid FROM events WHERE source = 'none' AND time < ?1 LIMIT ?2)";

const DELETE_EVENTS: &str = "
    DELETE FROM events
    WHERE uid IN (SELECT uid FROM events WHERE source IN ('agent', 'kamaji') AND time < ?1 LIMIT ?2)";

/// Leaves an event its uid and its time. No query names its new source.
const STRIP_EVENTS: &str = "
    UPDATE events
    SET source = 'none', kind = '', agent_version = '', kamaji_version = '', kubernetes_version = '',
        tcp_version = NULL, old_tcp_version = NULL, new_tcp_version = NULL, status = NULL,
        cluster_api = NULL, network_profile = NULL
    WHERE uid IN (SELECT uid FROM events WHERE source IN ('agent', 'kamaji') AND time < ?1 LIMIT ?2)";

const DELETE_DIMENSIONS: &str = "
    DELETE FROM dimensions
    WHERE (day, installation, metric, value)
       IN (SELECT day, installation, metric, value FROM dimensions WHERE day < ?1 LIMIT ?2)";

const DELETE_DAYS: &str = "
    DELETE FROM days
    WHERE (day, installation) IN (SELECT day, installation FROM days WHERE day < ?1 LIMIT ?2)";

const DELETE_LATEST: &str = "
    DELETE FROM latest
    WHERE installation
       IN (SELECT installation FROM latest WHERE source IN ('agent', 'kamaji') AND time < ?1 LIMIT ?2)";

/// Runs one deletion, and returns whether it reached its bound.
fn run(connection: &Connection, sql: &str, params: impl Params, count: &mut u64) -> rusqlite::Result<bool> {
    let rows = connection.prepare_cached(sql)?.execute(params)?;
    *count += rows as u64;
    Ok(rows >= MAX_STEP_ROWS as usize)
}

/// Deletes every row of an installation in one transaction.
pub(super) fn erase(connection: &mut Connection, installation: Uuid) -> rusqlite::Result<Erased> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let delete = |sql: &str| transaction.execute(sql, params![installation]);
    let erased = Erased {
        latest: delete("DELETE FROM latest WHERE installation = ?1")? > 0,
        days: delete(&from_every_day("days"))? as u64,
        dimensions: delete(&from_every_day("dimensions"))? as u64,
    };
    transaction.commit()?;
    // A reader of an older state keeps the log; the next checkpoint truncates it. The rows are erased all the same.
    if let Err(error) = truncate_wal(connection) {
        tracing::warn!(%error, "failed to truncate the write-ahead log, which still holds erased rows; retrying later");
    }
    Ok(erased)
}

/// Truncates the write-ahead log, which still holds deleted rows and reveals the order of commits. The log stays while
/// a reader, such as a backup, uses an older state. This does not wait for readers, since writes would wait too.
pub(super) fn truncate_wal(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::ZERO)?;
    let truncated = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    connection.busy_timeout(BUSY_TIMEOUT)?;
    truncated
}

/// Returns the statement that deletes an installation from `table`, whose key leads with the day. It looks each day up,
/// which is faster than a scan of all rows.
fn from_every_day(table: &str) -> String {
    format!(
        "WITH RECURSIVE stored (day) AS (
             SELECT min(day) FROM {table}
             UNION ALL
             SELECT (SELECT min(day) FROM {table} WHERE day > stored.day) FROM stored WHERE stored.day IS NOT NULL
         )
         DELETE FROM {table} WHERE day IN (SELECT day FROM stored) AND installation = ?1"
    )
}
