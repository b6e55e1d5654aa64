//! The inbox: what commits append instead of writing each event to its place in the table, which is another page for each.
//!
//! A merge moves events into the table in the order of their keys, and adds them to the rollups in the same transaction. Under load,
//! each commit merges a part of the inbox.

use foldhash::{HashMap, HashMapExt};
use rusqlite::{Connection, Statement, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use super::inbox_record::{self, RECORD_BYTES};
use super::rollups;
use super::words::{StoredWords, Words, last_used};
use crate::backend::store::EventRow;
use crate::backend::store::encoding::{EventColumns, encode_events};
use crate::backend::store::fold::RollupChanges;

/// Appends new events.
pub(super) fn append(connection: &Connection, words: &mut Words, events: &[EventRow]) -> rusqlite::Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let mut bytes = Vec::with_capacity(events.len() * RECORD_BYTES);
    for columns in encode_events(&mut StoredWords { connection, words }, events)? {
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
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut merge = InboxMerge::begin(&transaction, words)?;
    merge.step(&transaction, words, usize::MAX)?;
    transaction.commit()?;
    merge.committed();
    Ok(())
}

/// A merge of the events that the inbox has at one time, in one transaction or in several.
///
/// A part is a range of keys, which are on neighbouring pages. One that was interrupted begins again with all events: those that are
/// in the table already are skipped there.
#[derive(Debug)]
pub(super) struct InboxMerge {
    /// In the order of their keys.
    events: Vec<EventColumns>,
    /// The number of those that are merged.
    merged: usize,
    /// The number of the last row of the inbox that is part of it.
    last: i64,
    /// The version of the file, which changes with each commit of another process.
    data_version: i64,
}

impl InboxMerge {
    /// Reads the events of the inbox.
    pub(super) fn begin(connection: &Connection, words: &mut Words) -> rusqlite::Result<Self> {
        // The appended events have used their words by then. A merge at the start, in a command or in a backup knows no other
        // day, and words of the first day would be pruned while rollups refer to them.
        words.set_day(last_used(connection)?);
        let (mut events, mut last) = (Vec::new(), 0);
        let mut select = connection.prepare_cached("SELECT number, events FROM inbox ORDER BY number")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            last = row.get("number")?;
            events.extend(inbox_record::parse_all(row.get_ref("events")?.as_blob()?)?);
        }
        events.sort_unstable();
        Ok(Self { events, merged: 0, last, data_version: data_version(connection)? })
    }

    /// Returns whether no other process has changed the file since the beginning. A command beside the backend merges the inbox
    /// and deletes events, which must not come back.
    pub(super) fn is_current(&self, transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
        Ok(data_version(transaction)? == self.data_version)
    }

    /// Returns whether all events are merged.
    pub(super) fn is_done(&self) -> bool {
        self.merged == self.events.len()
    }

    /// Merges the next events, at most so many, into the table and the rollups.
    pub(super) fn step(
        &mut self,
        transaction: &Transaction<'_>,
        words: &mut Words,
        events: usize,
    ) -> rusqlite::Result<()> {
        // The test of kills within a merge reads both lines.
        tracing::debug!("merging the inbox");
        let end = self.merged.saturating_add(events).min(self.events.len());
        merge_events(transaction, words, &self.events[self.merged..end])?;
        self.merged = end;
        if self.is_done() {
            transaction.prepare_cached("DELETE FROM inbox WHERE number <= ?1")?.execute(params![self.last])?;
        }
        Ok(())
    }

    /// Logs the end of a step, once it is committed.
    pub(super) fn committed(&self) {
        tracing::debug!(events = self.merged, "merged the inbox");
    }
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

/// Adds events to the table and to the rollups.
fn merge_events(transaction: &Transaction<'_>, words: &mut Words, events: &[EventColumns]) -> rusqlite::Result<()> {
    let mut alike: HashMap<EventColumns, i64> = HashMap::new();
    let mut statement = transaction.prepare_cached(INSERT)?;
    for columns in events {
        // A commit whose outcome was unknown may have stored an event that then came again.
        if insert(&mut statement, columns)? {
            *alike.entry(EventColumns { uid: Uuid::nil(), ..*columns }).or_default() += 1;
        }
    }
    let mut changes = RollupChanges::default();
    for (columns, number) in alike {
        changes.events(&columns.event(&mut StoredWords { connection: transaction, words: &mut *words })?, number);
    }
    rollups::write(transaction, words, &changes)
}

const INSERT: &str = "
    INSERT INTO events (source, hour, uid, kind, agent, kamaji, kubernetes, tcp_version, old_tcp_version, status,
                        cluster_api, network_profile)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT DO NOTHING";

/// Runs [`INSERT`] for an event. Returns whether it is new.
fn insert(statement: &mut Statement<'_>, columns: &EventColumns) -> rusqlite::Result<bool> {
    let EventColumns { source, hour, uid, cluster_api, words } = columns;
    let rows = statement.execute(params![
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
