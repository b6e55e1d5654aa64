//! How snapshots and events are written.

use rusqlite::{Transaction, named_params, params};

use super::columns::{self, EventColumns};
use crate::backend::store::{Dimension, EventRow, GaugeSnapshot};

/// The newest snapshot is kept, as the latest state and as the row of its day.
pub(super) fn write_snapshot(transaction: &Transaction<'_>, snapshot: &GaugeSnapshot) -> rusqlite::Result<()> {
    if is_foreign(transaction, snapshot)? {
        return Ok(());
    }
    if write_newest(transaction, snapshot, LATEST)? == 0 {
        let mut statement = transaction.prepare_cached(EARLIER)?;
        statement.execute(params![snapshot.installation, columns::day(snapshot.time)])?;
    }
    if write_newest(transaction, snapshot, DAY)? > 0 {
        write_breakdowns(transaction, snapshot)?;
    }
    Ok(())
}

/// Whether the installation is known by another source: who knows a pseudonym can't speak for it.
fn is_foreign(transaction: &Transaction<'_>, snapshot: &GaugeSnapshot) -> rusqlite::Result<bool> {
    let mut statement = transaction.prepare_cached(SOURCE)?;
    let (known, _) = columns::source(&snapshot.source);
    let mut rows = statement.query(params![snapshot.installation])?;
    let Some(row) = rows.next()? else { return Ok(false) };
    Ok(row.get_ref("source")?.as_str()? != known)
}

/// The newest snapshot wins. Both tables have the same columns but for the name of the day's, which both parameters have.
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

/// An older snapshot than the latest tells only that the installation was there before.
const EARLIER: &str = "UPDATE latest SET first_day = ?2 WHERE installation = ?1 AND first_day > ?2";

/// The source that the installation has already.
const SOURCE: &str = "SELECT source FROM latest WHERE installation = ?1";

/// The newest snapshot of the day wins.
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

/// Runs one of the two upserts, and says how many rows it changed.
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

/// Replaces the day's dimensions: a version that is no longer there sends no point. Mostly they are as they were, which
/// costs less to see than to write.
fn write_breakdowns(transaction: &Transaction<'_>, snapshot: &GaugeSnapshot) -> rusqlite::Result<()> {
    let day = columns::day(snapshot.time);
    if are_as_before(transaction, day, snapshot)? {
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

fn are_as_before(transaction: &Transaction<'_>, day: i64, snapshot: &GaugeSnapshot) -> rusqlite::Result<bool> {
    let mut select = transaction
        .prepare_cached("SELECT metric, value, count FROM dimensions WHERE day = ?1 AND installation = ?2")?;
    let mut rows = select.query(params![day, snapshot.installation])?;
    let mut before = 0;
    while let Some(row) = rows.next()? {
        before += 1;
        let (metric, value, count): (_, _, u32) =
            (row.get_ref("metric")?.as_str()?, row.get_ref("value")?.as_str()?, row.get("count")?);
        let is_there = |(dimension, now): &(Dimension, u32)| {
            dimension.metric().name == metric && dimension.value() == value && *now == count
        };
        if !snapshot.dimensions.iter().any(is_there) {
            return Ok(false);
        }
    }
    Ok(before == snapshot.dimensions.len())
}

/// The first event with a uid stays.
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
