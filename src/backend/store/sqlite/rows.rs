//! The writing of snapshots and events.

use rusqlite::{Transaction, named_params, params};

use super::columns::{self, EventColumns};
use crate::backend::store::{Dimension, EventRow, GaugeSnapshot};

/// Writes a snapshot as the latest state and as the row of its day, unless there is a newer one.
pub(super) fn write_snapshot(transaction: &Transaction<'_>, snapshot: &GaugeSnapshot) -> rusqlite::Result<()> {
    if has_other_source(transaction, snapshot)? {
        return Ok(());
    }
    if write_newest(transaction, snapshot, LATEST)? == 0 {
        let mut statement = transaction.prepare_cached(FIRST_DAY)?;
        statement.execute(params![snapshot.installation, columns::day(snapshot.time)])?;
    }
    if write_newest(transaction, snapshot, DAY)? > 0 {
        write_dimensions(transaction, snapshot)?;
    }
    Ok(())
}

/// Returns whether the installation has another source: an agent that sends the pseudonym of another cluster is
/// ignored.
fn has_other_source(transaction: &Transaction<'_>, snapshot: &GaugeSnapshot) -> rusqlite::Result<bool> {
    let mut statement = transaction.prepare_cached(SOURCE)?;
    let (known, _) = columns::source(&snapshot.source);
    let mut rows = statement.query(params![snapshot.installation])?;
    let Some(row) = rows.next()? else { return Ok(false) };
    Ok(row.get_ref("source")?.as_str()? != known)
}

/// The upsert of the latest state. It has the same parameters as [`DAY`].
const LATEST: &str = "
    INSERT INTO latest (installation, first_day, time, running, sleeping, not_ready, upgrading,
                        source, agent_version, kamaji_version, kubernetes_version)
    VALUES (:installation, :day, :time, :running, :sleeping, :not_ready, :upgrading,
            :source, :agent_version, :kamaji_version, :kubernetes_version)
    ON CONFLICT (installation) DO UPDATE SET
        first_day = min(first_day, excluded.first_day), time = excluded.time,
        running = excluded.running, sleeping = excluded.sleeping,
        not_ready = excluded.not_ready, upgrading = excluded.upgrading,
        agent_version = excluded.agent_version, kamaji_version = excluded.kamaji_version,
        kubernetes_version = excluded.kubernetes_version
    WHERE excluded.time > time";

/// The update by a snapshot that is older than the latest: the installation was seen before.
const FIRST_DAY: &str = "UPDATE latest SET first_day = ?2 WHERE installation = ?1 AND first_day > ?2";

/// The source of an installation.
const SOURCE: &str = "SELECT source FROM latest WHERE installation = ?1";

/// The upsert of the row of a day.
const DAY: &str = "
    INSERT INTO days (day, installation, time, running, sleeping, not_ready, upgrading,
                      source, agent_version, kamaji_version, kubernetes_version)
    VALUES (:day, :installation, :time, :running, :sleeping, :not_ready, :upgrading,
            :source, :agent_version, :kamaji_version, :kubernetes_version)
    ON CONFLICT (day, installation) DO UPDATE SET
        time = excluded.time,
        running = excluded.running, sleeping = excluded.sleeping,
        not_ready = excluded.not_ready, upgrading = excluded.upgrading,
        agent_version = excluded.agent_version, kamaji_version = excluded.kamaji_version,
        kubernetes_version = excluded.kubernetes_version
    WHERE excluded.time > time";

/// Runs one of the two upserts, and returns the number of rows that it changed.
fn write_newest(transaction: &Transaction<'_>, snapshot: &GaugeSnapshot, upsert: &str) -> rusqlite::Result<usize> {
    let GaugeSnapshot { installation, time, counts, source, kamaji_version, kubernetes_version, dimensions: _ } =
        snapshot;
    let (source, agent_version) = columns::source(source);
    transaction.prepare_cached(upsert)?.execute(named_params! {
        ":day": columns::day(*time),
        ":installation": installation,
        ":time": time.as_millisecond(),
        ":running": counts.running,
        ":sleeping": counts.sleeping,
        ":not_ready": counts.not_ready,
        ":upgrading": counts.upgrading,
        ":source": source,
        ":agent_version": agent_version,
        ":kamaji_version": kamaji_version.to_string(),
        ":kubernetes_version": kubernetes_version.to_string(),
    })
}

/// Replaces the day's dimensions: a version that is no longer in use has no point. They rarely change, and comparing
/// them costs less than writing them.
fn write_dimensions(transaction: &Transaction<'_>, snapshot: &GaugeSnapshot) -> rusqlite::Result<()> {
    let day = columns::day(snapshot.time);
    if has_dimensions(transaction, day, snapshot)? {
        return Ok(());
    }
    transaction
        .prepare_cached("DELETE FROM dimensions WHERE day = ?1 AND installation = ?2")?
        .execute(params![day, snapshot.installation])?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO dimensions (day, installation, metric, value, count) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO NOTHING",
    )?;
    for (dimension, count) in &snapshot.dimensions {
        insert.execute(params![day, snapshot.installation, dimension.metric().name, dimension.value(), count])?;
    }
    Ok(())
}

/// Returns whether the stored dimensions are those of the snapshot.
fn has_dimensions(transaction: &Transaction<'_>, day: i64, snapshot: &GaugeSnapshot) -> rusqlite::Result<bool> {
    let mut select = transaction
        .prepare_cached("SELECT metric, value, count FROM dimensions WHERE day = ?1 AND installation = ?2")?;
    let mut rows = select.query(params![day, snapshot.installation])?;
    let mut stored = 0;
    while let Some(row) = rows.next()? {
        stored += 1;
        let (metric, value, count): (_, _, u32) =
            (row.get_ref("metric")?.as_str()?, row.get_ref("value")?.as_str()?, row.get("count")?);
        let is_same = |(dimension, new): &(Dimension, u32)| {
            dimension.metric().name == metric && dimension.value() == value && *new == count
        };
        if !snapshot.dimensions.iter().any(is_same) {
            return Ok(false);
        }
    }
    Ok(stored == snapshot.dimensions.len())
}

/// Writes an event, unless there is one with its uid.
pub(super) fn write_event(transaction: &Transaction<'_>, row: &EventRow) -> rusqlite::Result<()> {
    let EventRow { record, source } = row;
    let (source, agent_version) = columns::source(source);
    let own = EventColumns::from(record.event);
    let mut insert = transaction.prepare_cached(
        "INSERT INTO events (uid, time, kind, source, agent_version, kamaji_version, kubernetes_version, tcp_version,
                             old_tcp_version, new_tcp_version, status, cluster_api, network_profile)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT DO NOTHING",
    )?;
    insert.execute(params![
        record.uid,
        record.time.as_millisecond(),
        record.event.kind().name,
        source,
        agent_version,
        record.kamaji_version.to_string(),
        record.kubernetes_version.to_string(),
        own.tcp_version,
        own.old_tcp_version,
        own.new_tcp_version,
        own.status,
        own.cluster_api,
        own.network_profile,
    ])?;
    Ok(())
}
