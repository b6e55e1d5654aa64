//! Rows that match a filter, read in the order of their keys.

use rusqlite::{Connection, params};

use super::columns::EVENT_SOURCES;
use super::events::EventColumns;
use super::rows::latest_row;
use super::words::Words;
use crate::backend::store::{
    EventFilter, InstallationFilter, InstallationRow, MatchedInstallations, MatchedRows, PseudonymKey,
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

/// Reads all events, and counts those that match.
pub(super) fn count_events(
    connection: &Connection,
    words: &mut Words,
    filter: &EventFilter,
) -> rusqlite::Result<MatchedRows> {
    let mut matched = MatchedRows::default();
    let mut select = connection.prepare_cached("SELECT * FROM events WHERE source = ?1")?;
    for source in EVENT_SOURCES {
        let mut rows = select.query(params![source])?;
        while let Some(row) = rows.next()? {
            let event = EventColumns::read(row)?.event(connection, words)?;
            matched.events += u64::from(filter.matches(&event));
        }
    }
    Ok(matched)
}
