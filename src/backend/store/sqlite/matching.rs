//! Rows that match a filter, read in the order of their keys.

use rusqlite::{Connection, params};

use super::columns::{EVENT_SOURCES, is_bulk};
use super::events::EventColumns;
use super::rows::latest_row;
use super::words::Words;
use crate::backend::store::{
    EventFilter, Hour, InstallationFilter, InstallationRow, MatchedInstallations, MatchedRows, PseudonymKey,
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

/// Reads the events of the filter's hours, and counts those that match.
pub(super) fn count_events(
    connection: &Connection,
    words: &mut Words,
    filter: &EventFilter,
) -> rusqlite::Result<MatchedRows> {
    let mut matched = MatchedRows::default();
    let sql = "SELECT * FROM events WHERE source = ?1 AND hour >= ?2 AND hour < ?3";
    let mut select = connection.prepare_cached(sql)?;
    let from = filter.time.from.map_or(i32::MIN, Hour::number);
    let until = filter.time.until.map_or(i32::MAX, Hour::number);
    for source in EVENT_SOURCES.into_iter().filter(|source| filter.bulk.is_none_or(|bulk| bulk == is_bulk(*source))) {
        let mut rows = select.query(params![source, from, until])?;
        while let Some(row) = rows.next()? {
            let event = EventColumns::read(row)?.event(connection, words)?;
            matched.events += u64::from(filter.matches(&event));
        }
    }
    Ok(matched)
}
