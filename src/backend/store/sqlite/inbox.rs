//! The inbox: what commits append instead of writing each event to its place in the table, which is another page for each.
//!
//! A merge moves all of it into the table in the order of the keys, and adds it to the rollups, in one transaction.

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::inbox_record::{self, RECORD_BYTES};
use super::rollups;
use super::words::{StoredWords, Words, last_used};
use crate::backend::store::EventRow;
use crate::backend::store::encoding::EventColumns;
use crate::backend::store::fold::{RollupChanges, Sign};

/// Appends new events.
pub(super) fn append(connection: &Connection, words: &mut Words, events: &[EventRow]) -> rusqlite::Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let mut bytes = Vec::with_capacity(events.len() * RECORD_BYTES);
    for event in events {
        let columns = EventColumns::new(&mut StoredWords { connection, words: &mut *words }, event)?;
        inbox_record::append(&columns, &mut bytes);
    }
    connection.prepare_cached("INSERT INTO inbox (events) VALUES (?1)")?.execute(params![bytes])?;
    Ok(())
}

/// Merges the inbox into the table and the rollups. Does nothing if it is empty.
pub(super) fn merge(connection: &mut Connection, words: &mut Words) -> rusqlite::Result<()> {
    let is_empty = "SELECT NOT EXISTS (SELECT 1 FROM inbox)";
    if connection.prepare_cached(is_empty)?.query_row([], |row| row.get(0))? {
        return Ok(());
    }
    // The test of kills within a merge reads both lines.
    tracing::debug!("merging the inbox");
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut changes = RollupChanges::default();
    let events = read(&transaction)?;
    let count = events.len();
    // The appended events have used their words by then. A merge at the start, in a command or in a backup knows no other
    // day, and words of the first day would be pruned while rollups refer to them.
    words.set_day(last_used(&transaction)?);
    for columns in events {
        // A commit whose outcome was unknown may have stored an event that then came again.
        if insert(&transaction, &columns)? {
            changes
                .event(&columns.event(&mut StoredWords { connection: &transaction, words: &mut *words })?, Sign::Plus);
        }
    }
    rollups::write(&transaction, words, &changes)?;
    transaction.execute("DELETE FROM inbox", [])?;
    transaction.commit()?;
    tracing::debug!(events = count, "merged the inbox");
    Ok(())
}

/// Reads all events of the inbox, in the order of their keys.
fn read(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<EventColumns>> {
    let mut all = Vec::new();
    let mut select = transaction.prepare_cached("SELECT events FROM inbox")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        all.extend(inbox_record::parse_all(row.get_ref("events")?.as_blob()?)?);
    }
    all.sort_unstable();
    Ok(all)
}

/// Inserts an event. Returns whether it is new.
fn insert(connection: &Connection, columns: &EventColumns) -> rusqlite::Result<bool> {
    let EventColumns { source, hour, uid, cluster_api, words } = columns;
    let mut insert = connection.prepare_cached(
        "INSERT INTO events (source, hour, uid, kind, agent, kamaji, kubernetes, tcp_version, old_tcp_version, status,
                             cluster_api, network_profile)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT DO NOTHING",
    )?;
    let rows = insert.execute(params![
        source,
        hour,
        uid,
        words.kind,
        words.agent,
        words.kamaji,
        words.kubernetes,
        words.tcp_version,
        words.old_tcp_version,
        words.status,
        cluster_api,
        words.network_profile,
    ])?;
    Ok(rows > 0)
}
