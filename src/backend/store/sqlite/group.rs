//! A group of batches in one transaction.

use rusqlite::{Connection, params};

use super::uids::KnownUids;
use super::words::{StoredWords, Words};
use super::{columns, inbox, rows};
use crate::backend::store::encoding::{SOURCES, source};
use crate::backend::store::fold::DistinctValues;
use crate::backend::store::group::{ESTABLISHING_ROWS, Group, GroupChanges, GroupState, Sent, installations};
use crate::backend::store::hour::Day;

/// Reads the values that are in use.
pub(super) fn load_state(connection: &Connection, words: &mut Words) -> rusqlite::Result<GroupState> {
    let mut values = DistinctValues::default();
    let latest = "SELECT * FROM latest WHERE source = ?1 AND bulk = 0 AND (confirmed IS NULL) = 0
                  ORDER BY last_seen DESC LIMIT ?2";
    let events = "SELECT * FROM events WHERE source = ?1 ORDER BY hour DESC LIMIT ?2";
    for source in SOURCES.map(source) {
        let mut select = connection.prepare(latest)?;
        let mut rows = select.query(params![source, ESTABLISHING_ROWS])?;
        while let Some(row) = rows.next()? {
            values.establish_report(&rows::latest_row(connection, words, row)?);
        }
        let mut select = connection.prepare(events)?;
        let mut rows = select.query(params![source, ESTABLISHING_ROWS])?;
        while let Some(row) = rows.next()? {
            values.establish_event(&columns::event(row)?.event(&mut StoredWords { connection, words })?);
        }
    }
    Ok(GroupState::new(values))
}

/// Reads the rows before a group, and decides which of its batches are stored.
pub(super) fn read<'a>(
    connection: &Connection,
    words: &mut Words,
    batches: Vec<Sent<'a>>,
) -> rusqlite::Result<Group<'a>> {
    let before = rows::read_before(connection, words, installations(&batches))?;
    Ok(Group::new(batches, before))
}

/// Writes what the batches of a group that are stored change.
pub(super) fn write(
    group: &mut Group<'_>,
    connection: &Connection,
    words: &mut Words,
    state: &mut GroupState,
    uids: &KnownUids,
) -> rusqlite::Result<GroupChanges> {
    let new_events = uids.new_events(connection, group)?;
    let changes = group.fold(state, new_events);
    words.set_day(changes.newest.day());
    inbox::append(connection, words, &changes.events)?;
    count_bulk_events(connection, changes.newest.day(), changes.bulk_events())?;
    rows::write_snapshots(connection, words, &changes.snapshots)?;
    Ok(changes)
}

/// Counts events in bulk under the day of their receipt: their own time is their sender's choice.
fn count_bulk_events(connection: &Connection, day: Day, events: i64) -> rusqlite::Result<()> {
    if events > 0 {
        let sql = "INSERT INTO bulk_events VALUES (?1, ?2) ON CONFLICT DO UPDATE SET events = events + excluded.events";
        connection.prepare_cached(sql)?.execute(params![day.number(), events])?;
    }
    Ok(())
}
