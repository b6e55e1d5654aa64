//! Rows that match a filter.

use std::cmp::Reverse;

use uuid::Uuid;

use super::connection::{PostgresConnection, PostgresError};
use super::events::{COLUMNS, event_rows};
use super::rows::{latest_rows, small};
use crate::backend::store::encoding::{EVENT_SOURCES, is_bulk};
use crate::backend::store::{
    EventFilter, EventRow, Hour, HourRange, InstallationFilter, InstallationRow, MatchedInstallations, MatchedRows,
    PseudonymKey,
};

/// The rows that are read at once: some MB.
const PAGE_ROWS: i64 = 4_096;

/// The key of an event in the index by which events are read backwards.
type EventKey = (i32, Uuid);

/// Reads all installations, and returns those that match.
pub(super) async fn installations(
    connection: &mut PostgresConnection,
    filter: InstallationFilter,
    key: PseudonymKey,
    limit: usize,
) -> Result<MatchedInstallations, PostgresError> {
    let mut matched = MatchedInstallations::default();
    let (mut after, mut sql) =
        (Uuid::nil(), "SELECT * FROM latest WHERE installation >= $1 ORDER BY installation LIMIT $2");
    loop {
        let rows = connection.query(sql, &[&after, &PAGE_ROWS]).await?;
        sql = "SELECT * FROM latest WHERE installation > $1 ORDER BY installation LIMIT $2";
        for (uuid, latest) in latest_rows(connection, &rows).await? {
            after = uuid;
            if !filter.matches(uuid, &latest, &key) {
                continue;
            }
            matched.matching += 1;
            if matched.listed.len() < limit {
                matched.listed.push(InstallationRow { uuid, latest });
            }
        }
        if rows.is_empty() {
            return Ok(matched);
        }
    }
}

/// Reads the newest events that match, until there are `limit` of each source.
pub(super) async fn events(
    connection: &mut PostgresConnection,
    filter: EventFilter,
    limit: usize,
) -> Result<Vec<EventRow>, PostgresError> {
    let mut matching = Vec::new();
    for source in sources(&filter) {
        let before = matching.len();
        let mut next = Some(first_key(&filter));
        while let Some(key) = next
            && matching.len() - before < limit
        {
            let (events, after) = page(connection, &filter, source, key).await?;
            matching.extend(events);
            next = after;
        }
        matching.truncate(before + limit);
    }
    matching.sort_by_key(|event: &EventRow| Reverse(event.record.time));
    matching.truncate(limit);
    Ok(matching)
}

/// Reads the events of the filter's hours, and counts those that match.
pub(super) async fn count_events(
    connection: &mut PostgresConnection,
    filter: EventFilter,
) -> Result<MatchedRows, PostgresError> {
    let mut matched = MatchedRows::default();
    for source in sources(&filter) {
        let mut next = Some(first_key(&filter));
        while let Some(key) = next {
            let (events, after) = page(connection, &filter, source, key).await?;
            matched.events += events.len() as u64;
            next = after;
        }
    }
    Ok(matched)
}

/// Returns a key that is later than all of the filter's hours.
fn first_key(filter: &EventFilter) -> EventKey {
    let until = filter.time.until.map_or(i32::MAX, |until| until.number().saturating_sub(1));
    (until, Uuid::max())
}

/// Reads a page of a source's events, newest first, and returns those that match with the key after which the next page begins.
async fn page(
    connection: &mut PostgresConnection,
    filter: &EventFilter,
    source: i16,
    (hour, uid): EventKey,
) -> Result<(Vec<EventRow>, Option<EventKey>), PostgresError> {
    let of = |table: &str| {
        format!(
            "(SELECT {COLUMNS} FROM {table} WHERE source = $1 AND hour >= $2 AND (hour, uid) < ($3, $4)
              ORDER BY hour DESC, uid DESC LIMIT $5)"
        )
    };
    let sql = format!("{} UNION ALL {} ORDER BY hour DESC, uid DESC LIMIT $5", of("arrivals"), of("events"));
    let HourRange { from, until: _ } = filter.time;
    let from = from.map_or(i32::MIN, Hour::number);
    let rows = connection.query(&sql, &[&source, &from, &hour, &uid, &PAGE_ROWS]).await?;
    let events = event_rows(connection, &rows).await?;
    let next = events.last().map(|(columns, _)| (columns.hour, columns.uid));
    let matching = events.into_iter().map(|(_, event)| event).filter(|event| filter.matches(event));
    Ok((matching.collect(), next))
}

/// Returns the stored numbers of the sources of a filter.
fn sources(filter: &EventFilter) -> impl Iterator<Item = i16> {
    let bulk = filter.bulk;
    let matching = EVENT_SOURCES.into_iter().filter(move |source| bulk.is_none_or(|bulk| bulk == is_bulk(*source)));
    matching.map(small)
}
