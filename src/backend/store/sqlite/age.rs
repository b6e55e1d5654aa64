//! The age of the rows of a store, and their size.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::columns::sum;
use crate::backend::store::encoding::{EVENT_SOURCES, SOURCES, source};
use crate::backend::store::hour::Day;
use crate::backend::store::{Cutoffs, DayIntake, Hour, Intake, StaleRows};

/// Returns the hour of the last receipt of a snapshot, or of the newest event. Reads the end of each index.
pub(super) fn newest_record(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let mut newest = None;
    for source in EVENT_SOURCES {
        let mut event = connection.prepare_cached("SELECT max(hour) FROM events WHERE source = ?1")?;
        newest = newest.max(event.query_row(params![source], |row| row.get::<_, Option<i32>>(0))?);
    }
    let mut receipt = connection.prepare_cached(
        "SELECT max(last_seen) FROM latest WHERE source = ?1 AND bulk = ?2 AND (confirmed IS NULL) = ?3",
    )?;
    for source in SOURCES.map(source) {
        for (bulk, is_unconfirmed) in [(false, false), (false, true), (true, false), (true, true)] {
            newest = newest.max(receipt.query_row(params![source, bulk, is_unconfirmed], |row| row.get(0))?);
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
            UNION ALL SELECT sum(installations), day < ?2 FROM day_rollup WHERE part = 0 GROUP BY 2
            UNION ALL SELECT sum(installations), day < ?2 FROM last_seen_rollup GROUP BY 2
        )";
    let params = params![cutoffs.events.number(), cutoffs.installations.number()];
    connection.query_row(COUNT, params, |row| Ok(StaleRows { stale: sum(row, "stale")?, total: sum(row, "total")? }))
}

/// Returns the bytes of the pages that are in use.
pub(super) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let bytes = (pragma("page_count")? - pragma("freelist_count")?) * pragma("page_size")?;
    Ok(bytes.unsigned_abs())
}

/// The days whose median today is compared with.
const INTAKE_DAYS: i32 = 28;

/// Reads what was new on each day.
pub(super) fn intake(connection: &Connection, today: Day) -> rusqlite::Result<Intake> {
    // The first word of a store is as old as its first row.
    let first: Option<i32> = connection.query_row("SELECT min(first_used) FROM words", [], |row| row.get(0))?;
    let age = first.map_or(0, |first| today.number().saturating_sub(first));
    let day = |days| day_intake(connection, today.minus(days));
    Ok(Intake { today: day(0)?, before: (1..=INTAKE_DAYS.min(age)).map(day).collect::<rusqlite::Result<_>>()? })
}

fn day_intake(connection: &Connection, day: Day) -> rusqlite::Result<DayIntake> {
    const INTAKE: &str = "
        SELECT (SELECT coalesce(sum(installations), 0) FROM first_seen_rollup WHERE source IN (1, 2) AND standing IN (0, 1, 2) AND day = ?1) AS installations,
               (SELECT count(*) FROM words WHERE first_used = ?1 AND word GLOB '*[0-9]*' AND (word GLOB '*.*.*' OR word GLOB '*=*')) AS versions,
               (SELECT coalesce(sum(installations), 0)
                FROM first_seen_rollup WHERE source IN (1, 2) AND standing = 2 AND day = ?1)
               + (SELECT coalesce(sum(events), 0) FROM bulk_events WHERE day = ?1) AS bulk";
    let mut select = connection.prepare_cached(INTAKE)?;
    select.query_row(params![day.number()], |row| {
        Ok(DayIntake {
            installations: sum(row, "installations")?,
            versions: sum(row, "versions")?,
            bulk: sum(row, "bulk")?,
        })
    })
}
