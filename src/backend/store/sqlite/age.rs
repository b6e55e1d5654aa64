//! The age of the rows of a store: the newest, and those that are stale.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::columns::{SOURCES, source, sum};
use crate::backend::store::{Cutoffs, Hour, StaleRows};

/// Returns the hour of the last receipt of a snapshot, or of the newest event. Reads the end of each index.
pub(super) fn newest_record(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let mut newest = None;
    for source in SOURCES.map(source) {
        let mut event = connection.prepare_cached("SELECT max(hour) FROM events WHERE source = ?1")?;
        newest = newest.max(event.query_row(params![source], |row| row.get::<_, Option<i32>>(0))?);
        let mut receipt = connection
            .prepare_cached("SELECT max(last_seen) FROM latest WHERE source = ?1 AND (confirmed IS NULL) = ?2")?;
        for is_unconfirmed in [false, true] {
            newest = newest.max(receipt.query_row(params![source, is_unconfirmed], |row| row.get(0))?);
        }
    }
    Ok(newest.map(|hour| Hour::from_number(hour).start()))
}

/// Counts the rows, and those that are older than `cutoffs`, from the rollups. Those have the days of confirmed installations
/// only, which are nearly all of the days.
pub(super) fn stale_rows(connection: &Connection, cutoffs: Cutoffs) -> rusqlite::Result<StaleRows> {
    const COUNT: &str = "
        SELECT coalesce(sum(rows), 0) AS total, coalesce(sum(CASE WHEN is_stale THEN rows END), 0) AS stale FROM (
            SELECT sum(events) AS rows, hour < ?1 AS is_stale FROM event_hour_rollup GROUP BY 2
            UNION ALL SELECT sum(installations), day < ?2 FROM day_rollup WHERE component = 0 GROUP BY 2
            UNION ALL SELECT sum(installations), hour < ?2 * 24 FROM latest_rollup GROUP BY 2
        )";
    let params = params![cutoffs.events.number(), cutoffs.installations.number()];
    connection.query_row(COUNT, params, |row| Ok(StaleRows { stale: sum(row, "stale")?, total: sum(row, "total")? }))
}
