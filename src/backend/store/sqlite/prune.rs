//! Deletion, by age and on request.

use std::time::Duration;

use rusqlite::{Connection, Params, TransactionBehavior, params};
use uuid::Uuid;

use super::{BUSY_TIMEOUT, columns};
use crate::backend::store::{Cutoffs, Erased, Pruned};

/// The most rows that one step deletes: a quarter of what one commit takes from the queue, so that a write waits for a
/// step no longer than for the commit before it.
const STEP: u32 = 1_024;

/// Deletes up to [`STEP`] rows of one kind after the other until one has more, adds them to what `trimmed` counts, and
/// says whether there may be more. All of it is one transaction.
pub(super) fn step(
    connection: &mut Connection,
    cutoffs: Cutoffs,
    mut trimmed: Pruned,
) -> rusqlite::Result<(Pruned, bool)> {
    let Cutoffs { events, uids, days } = cutoffs;
    let (events, uids, day) = (events.as_millisecond(), uids.as_millisecond(), columns::day_of(days));
    let Pruned { events: dropped, uids: forgotten, days: days_dropped, dimensions, installations } = &mut trimmed;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Events that a shorter retention left nothing but a uid of were counted then.
    let more = run(&transaction, FORGET, params![uids, STEP], forgotten)?
        || run(&transaction, DELETE_EVENTS, params![uids, STEP], dropped)?
        || run(&transaction, BLANK, params![events, STEP], dropped)?
        || run(&transaction, DELETE_BREAKDOWNS, params![day, STEP], dimensions)?
        || run(&transaction, DELETE_DAYS, params![day, STEP], days_dropped)?
        || run(&transaction, DELETE_LATEST, params![day * columns::DAY_MS, STEP], installations)?;
    transaction.commit()?;
    Ok((trimmed, more))
}

const FORGET: &str = "
    DELETE FROM events WHERE uid IN (SELECT uid FROM events WHERE source = 'none' AND time < ?1 LIMIT ?2)";

const DELETE_EVENTS: &str = "
    DELETE FROM events
    WHERE uid IN (SELECT uid FROM events WHERE source IN ('agent', 'kamaji') AND time < ?1 LIMIT ?2)";

/// No question asks about the source that these get.
const BLANK: &str = "
    UPDATE events
    SET source = 'none', kind = '', agent_version = '', kamaji_version = '', kubernetes_version = '',
        tcp_version = NULL, old_tcp_version = NULL, new_tcp_version = NULL, status = NULL,
        cluster_api = NULL, network_profile = NULL
    WHERE uid IN (SELECT uid FROM events WHERE source IN ('agent', 'kamaji') AND time < ?1 LIMIT ?2)";

const DELETE_BREAKDOWNS: &str = "
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

/// Runs one deletion, and says whether it met its bound.
fn run(connection: &Connection, sql: &str, params: impl Params, count: &mut u64) -> rusqlite::Result<bool> {
    let rows = connection.prepare_cached(sql)?.execute(params)?;
    *count += rows as u64;
    Ok(rows >= STEP as usize)
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
    // What can't be emptied now is when the store is tidied next: it is erased all the same.
    if let Err(error) = empty_log(connection) {
        tracing::warn!(%error, "the write-ahead log still holds what was erased; it is emptied later");
    }
    Ok(erased)
}

/// Empties the write-ahead log, which holds what was deleted, and commits in their order. While somebody reads an older
/// state, such as a backup, it stays: nobody is waited for, since writes would wait too.
pub(super) fn empty_log(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::ZERO)?;
    let emptied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    connection.busy_timeout(BUSY_TIMEOUT)?;
    emptied
}

/// The key of both tables leads with the day: looking each day up is quicker than reading all of their rows.
fn from_every_day(table: &str) -> String {
    format!(
        "WITH RECURSIVE kept (day) AS (
             SELECT min(day) FROM {table}
             UNION ALL
             SELECT (SELECT min(day) FROM {table} WHERE day > kept.day) FROM kept WHERE kept.day IS NOT NULL
         )
         DELETE FROM {table} WHERE day IN (SELECT day FROM kept) AND installation = ?1"
    )
}
