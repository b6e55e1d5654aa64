//! The rows of installations: reading those before, and writing what the fold returns.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};
use uuid::Uuid;

use super::columns::{hour, report};
use super::rollups;
use super::words::{StoredWords, Words};
use crate::backend::store::Report;
use crate::backend::store::encoding::{ReportColumns, parse_standing, standing};
use crate::backend::store::fold::{DayRow, LatestRow, PreviousDay, SnapshotChanges, Trouble};
use crate::backend::store::hour::{Day, Hour};

/// Reads the latest rows of installations, in the order of their keys.
pub(super) fn read_before(
    connection: &Connection,
    words: &mut Words,
    installations: BTreeSet<Uuid>,
) -> rusqlite::Result<BTreeMap<Uuid, LatestRow>> {
    let mut before = BTreeMap::new();
    for installation in installations {
        before.extend(read_latest(connection, words, installation)?.map(|row| (installation, row)));
    }
    Ok(before)
}

/// Writes changed rows and rollups.
pub(super) fn write_snapshots(
    connection: &Connection,
    words: &mut Words,
    SnapshotChanges { latest, days, rollups }: &SnapshotChanges,
) -> rusqlite::Result<()> {
    for (installation, row) in latest {
        write_latest(connection, words, *installation, row)?;
    }
    for ((day, installation), row) in days {
        write_day(connection, words, *day, *installation, row)?;
    }
    rollups::write(connection, words, rollups)
}

/// Reads the latest row of an installation.
pub(super) fn read_latest(
    connection: &Connection,
    words: &mut Words,
    installation: Uuid,
) -> rusqlite::Result<Option<LatestRow>> {
    let mut select = connection.prepare_cached("SELECT * FROM latest WHERE installation = ?1")?;
    select.query_row(params![installation], |row| latest_row(connection, words, row)).optional()
}

/// Reads a row of `latest`.
pub(super) fn latest_row(connection: &Connection, words: &mut Words, row: &Row<'_>) -> rusqlite::Result<LatestRow> {
    Ok(LatestRow {
        first_seen: hour(row, "first_seen")?,
        confirmed: row.get::<_, Option<i32>>("confirmed")?.map(Hour::from_number),
        last_seen: hour(row, "last_seen")?,
        bulk: row.get("bulk")?,
        previous: previous_day(row)?,
        report: report(words, connection, row)?,
    })
}

fn previous_day(row: &Row<'_>) -> rusqlite::Result<Option<PreviousDay>> {
    let Some(day) = row.get("previous_day")? else { return Ok(None) };
    let (not_ready, upgrading) = (row.get("previous_not_ready")?, row.get("previous_upgrading")?);
    Ok(Some(PreviousDay { day: Day::from_number(day), not_ready, upgrading }))
}

/// Reads a row of `days`.
pub(super) fn day_row(connection: &Connection, words: &mut Words, row: &Row<'_>) -> rusqlite::Result<DayRow> {
    Ok(DayRow {
        standing: parse_standing(row.get("standing")?),
        young: row.get("young")?,
        trouble: Trouble { stuck: row.get("stuck")?, upgrading_long: row.get("upgrading_long")? },
        report: report(words, connection, row)?,
    })
}

const LATEST: &str = "
    INSERT INTO latest (installation, first_seen, confirmed, last_seen, bulk,
                        previous_day, previous_not_ready, previous_upgrading, source, running, sleeping, not_ready,
                        upgrading, agent, kamaji, kubernetes, dimensions)
    VALUES (?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    ON CONFLICT DO UPDATE SET
        first_seen = excluded.first_seen, confirmed = excluded.confirmed, last_seen = excluded.last_seen, bulk = excluded.bulk,
        previous_day = excluded.previous_day, previous_not_ready = excluded.previous_not_ready,
        previous_upgrading = excluded.previous_upgrading,
        running = excluded.running, sleeping = excluded.sleeping,
        not_ready = excluded.not_ready, upgrading = excluded.upgrading,
        agent = excluded.agent, kamaji = excluded.kamaji, kubernetes = excluded.kubernetes,
        dimensions = excluded.dimensions";

/// Writes a row of `latest`.
pub(super) fn write_latest(
    connection: &Connection,
    words: &mut Words,
    installation: Uuid,
    row: &LatestRow,
) -> rusqlite::Result<()> {
    let LatestRow { first_seen, confirmed, last_seen, bulk, previous, report } = row;
    let own = params![
        installation,
        first_seen.number(),
        confirmed.map(Hour::number),
        last_seen.number(),
        bulk,
        previous.map(|previous| previous.day.number()),
        previous.is_some_and(|previous| previous.not_ready),
        previous.is_some_and(|previous| previous.upgrading),
    ];
    write(connection, words, LATEST, report, own)
}

const DAY: &str = "
    INSERT INTO days (day, installation, standing, young, stuck, upgrading_long, source, running, sleeping, not_ready,
                      upgrading, agent, kamaji, kubernetes, dimensions)
    VALUES (?10, ?11, ?12, ?13, ?14, ?15, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    ON CONFLICT DO UPDATE SET
        standing = excluded.standing, young = excluded.young,
        stuck = excluded.stuck, upgrading_long = excluded.upgrading_long,
        running = excluded.running, sleeping = excluded.sleeping,
        not_ready = excluded.not_ready, upgrading = excluded.upgrading,
        agent = excluded.agent, kamaji = excluded.kamaji, kubernetes = excluded.kubernetes,
        dimensions = excluded.dimensions";

/// Writes a row of `days`.
pub(super) fn write_day(
    connection: &Connection,
    words: &mut Words,
    day: Day,
    installation: Uuid,
    row: &DayRow,
) -> rusqlite::Result<()> {
    let DayRow { standing: of_day, young, trouble: Trouble { stuck, upgrading_long }, report } = row;
    let own = params![day.number(), installation, standing(*of_day), young, stuck, upgrading_long];
    write(connection, words, DAY, report, own)
}

/// Runs an upsert, whose parameters are the columns of the report, and then those that only its table has.
fn write(
    connection: &Connection,
    words: &mut Words,
    upsert: &str,
    report: &Report,
    own: &[&dyn ToSql],
) -> rusqlite::Result<()> {
    let columns = ReportColumns::new(&mut StoredWords { connection, words }, report)?;
    let ReportColumns { source, counts, agent, kamaji, kubernetes, dimensions } = &columns;
    let of_report: [&dyn ToSql; 9] = [
        source,
        &counts.running,
        &counts.sleeping,
        &counts.not_ready,
        &counts.upgrading,
        agent,
        kamaji,
        kubernetes,
        dimensions,
    ];
    connection.prepare_cached(upsert)?.execute(&*[&of_report, own].concat())?;
    Ok(())
}
