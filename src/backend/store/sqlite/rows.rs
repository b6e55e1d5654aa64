//! The rows of installations: reading those before, and writing what the fold returns.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};
use uuid::Uuid;

use super::columns::{self, hour, parse_standing, report, standing};
use super::rollups;
use super::words::Words;
use crate::backend::store::fold::{DayRow, LatestRow, SnapshotChanges};
use crate::backend::store::hour::{Day, Hour};
use crate::backend::store::{GaugeSnapshot, Report};

/// Reads the latest rows of the installations of `snapshots`, in the order of their keys.
pub(super) fn read_before<'a>(
    connection: &Connection,
    words: &mut Words,
    snapshots: impl Iterator<Item = &'a GaugeSnapshot>,
) -> rusqlite::Result<BTreeMap<Uuid, LatestRow>> {
    let installations: BTreeSet<_> = snapshots.map(|snapshot| snapshot.installation).collect();
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
        report: report(words, connection, row)?,
    })
}

/// Reads a row of `days`.
pub(super) fn day_row(connection: &Connection, words: &mut Words, row: &Row<'_>) -> rusqlite::Result<DayRow> {
    Ok(DayRow {
        standing: parse_standing(row.get("standing")?),
        young: row.get("young")?,
        report: report(words, connection, row)?,
    })
}

const LATEST: &str = "
    INSERT INTO latest (installation, first_seen, confirmed, last_seen, bulk, source, running, sleeping, not_ready,
                        upgrading, agent, kamaji, kubernetes, dimensions)
    VALUES (?10, ?11, ?12, ?13, ?14, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    ON CONFLICT DO UPDATE SET
        confirmed = excluded.confirmed, last_seen = excluded.last_seen, bulk = excluded.bulk,
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
    let LatestRow { first_seen, confirmed, last_seen, bulk, report } = row;
    let own = params![installation, first_seen.number(), confirmed.map(Hour::number), last_seen.number(), bulk];
    write(connection, words, LATEST, report, own)
}

const DAY: &str = "
    INSERT INTO days (day, installation, standing, young, source, running, sleeping, not_ready, upgrading,
                      agent, kamaji, kubernetes, dimensions)
    VALUES (?10, ?11, ?12, ?13, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    ON CONFLICT DO UPDATE SET
        standing = excluded.standing, young = excluded.young,
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
    let DayRow { standing: of_day, young, report } = row;
    write(connection, words, DAY, report, params![day.number(), installation, standing(*of_day), young])
}

/// Runs an upsert, whose parameters are the columns of the report, and then those that only its table has.
fn write(
    connection: &Connection,
    words: &mut Words,
    upsert: &str,
    report: &Report,
    own: &[&dyn ToSql],
) -> rusqlite::Result<()> {
    let Report { counts, source, kamaji_version, kubernetes_version, dimensions } = report;
    let agent = columns::agent(words, connection, source)?;
    let kamaji = words.id(connection, &kamaji_version.to_string())?;
    let kubernetes = words.id(connection, &kubernetes_version.to_string())?;
    let dimensions = columns::encode_dimensions(words, connection, dimensions)?;
    let source = columns::source(source.kind());
    let of_report: [&dyn ToSql; 9] = [
        &source,
        &counts.running,
        &counts.sleeping,
        &counts.not_ready,
        &counts.upgrading,
        &agent,
        &kamaji,
        &kubernetes,
        &dimensions,
    ];
    connection.prepare_cached(upsert)?.execute(&*[&of_report, own].concat())?;
    Ok(())
}
