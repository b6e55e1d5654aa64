//! Rows that match a filter, read in the order of their keys.

use std::cmp::Reverse;

use rusqlite::{Connection, params};

use super::columns;
use super::rows::latest_row;
use super::words::{StoredWords, Words};
use crate::backend::store::encoding::{EVENT_SOURCES, is_bulk};
use crate::backend::store::{
    EventFilter, EventRow, Hour, HourRange, InstallationFilter, InstallationRow, MatchedInstallations, MatchedRows,
    PseudonymKey,
};

/// Reads all installations, and returns those that match.
pub(super) fn installations(
    connection: &Connection,
    words: &mut Words,
    filter: &InstallationFilter,
    key: &PseudonymKey,
    limit: usize,
) -> rusqlite::Result<MatchedInstallations> {
    let mut matched = MatchedInstallations::default();
    let mut select = connection.prepare_cached("SELECT * FROM latest")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (uuid, latest) = (row.get("installation")?, latest_row(connection, words, row)?);
        if !filter.matches(uuid, &latest, key) {
            continue;
        }
        matched.matching += 1;
        if matched.listed.len() < limit {
            matched.listed.push(InstallationRow { uuid, latest });
        }
    }
    Ok(matched)
}

/// Reads the newest events that match. The order is that of the key, read backwards, and a source's reading ends with
/// as many as are wanted.
pub(super) fn events(
    connection: &Connection,
    words: &mut Words,
    filter: &EventFilter,
    limit: usize,
) -> rusqlite::Result<Vec<EventRow>> {
    let mut matching = Vec::new();
    let sql = "SELECT * FROM events WHERE source = ?1 AND hour >= ?2 AND hour < ?3 ORDER BY hour DESC, uid DESC";
    let mut select = connection.prepare_cached(sql)?;
    let (from, until) = hours(filter);
    for source in sources(filter) {
        let mut rows = select.query(params![source, from, until])?;
        let mut of_source = 0;
        while of_source < limit
            && let Some(row) = rows.next()?
        {
            let event = columns::event(row)?.event(&mut StoredWords { connection, words })?;
            if filter.matches(&event) {
                of_source += 1;
                matching.push(event);
            }
        }
    }
    matching.sort_by_key(|event| Reverse(event.record.time));
    matching.truncate(limit);
    Ok(matching)
}

/// Returns the hours of a filter, without the last.
fn hours(filter: &EventFilter) -> (i32, i32) {
    let HourRange { from, until } = filter.time;
    (from.map_or(i32::MIN, Hour::number), until.map_or(i32::MAX, Hour::number))
}

/// Returns the stored numbers of the sources of a filter.
fn sources(filter: &EventFilter) -> impl Iterator<Item = i64> {
    let bulk = filter.bulk;
    EVENT_SOURCES.into_iter().filter(move |source| bulk.is_none_or(|bulk| bulk == is_bulk(*source)))
}

/// Reads the events of the filter's hours, and counts those that match.
pub(super) fn count_events(
    connection: &Connection,
    words: &mut Words,
    filter: &EventFilter,
) -> rusqlite::Result<MatchedRows> {
    let mut matched = MatchedRows::default();
    let sql = "SELECT * FROM events WHERE source = ?1 AND hour >= ?2 AND hour < ?3";
    let mut select = connection.prepare_cached(sql)?;
    let (from, until) = hours(filter);
    for source in sources(filter) {
        let mut rows = select.query(params![source, from, until])?;
        while let Some(row) = rows.next()? {
            let event = columns::event(row)?.event(&mut StoredWords { connection, words })?;
            matched.events += u64::from(filter.matches(&event));
        }
    }
    Ok(matched)
}
