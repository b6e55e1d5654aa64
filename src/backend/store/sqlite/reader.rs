//! The read-only connection, used outside the threads of the runtime.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, Params, Row, params};
use tokio::sync::Mutex;

use super::columns::{self, date, parse, sum, time};
use crate::backend::store::{
    ActiveCounts, CURRENT, DayTotals, Dimension, EventRow, EventTotals, InstallationRow, KamajiTotals, OverviewData,
    OverviewQuery, ReadError, Source, StateCounts, Totals,
};
use crate::catalog::{CREATED, DELETED, EventKind, EventRecord, METRICS, UPDATED};

/// A handle of the connection. Readers queue for it without a thread.
#[derive(Debug)]
pub(super) struct SqliteReader(Arc<Mutex<Connection>>);

impl SqliteReader {
    pub(super) fn new(connection: Connection) -> Self {
        Self(Arc::new(Mutex::new(connection)))
    }

    pub(super) async fn run<T, F>(&self, query: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let mut connection = Arc::clone(&self.0).lock_owned().await;
        let answer = tokio::task::spawn_blocking(move || query(&mut connection)).await;
        let error = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        Err(ReadError(error.into()))
    }
}

/// Reads the overview in one transaction, so that all of its parts are of the same state. Each query names its source.
/// The lists are bounded by an index; everything else is read from the rollups.
pub(super) fn overview(connection: &mut Connection, query: OverviewQuery) -> rusqlite::Result<OverviewData> {
    let OverviewQuery { now, versions, dimensions: values, installations, events, days } = query;
    let connection = &*connection.transaction()?;
    let current = hour_before(now, CURRENT);
    let [day, week, month] = active_counts(connection, columns::AGENT, now)?;
    Ok(OverviewData {
        day,
        week,
        month,
        control_planes: control_planes(connection, columns::AGENT, current)?,
        kamaji_versions: list(connection, &top_versions("kamaji_version"), params![current, versions], |row| {
            Ok((parse(row, "version")?, sum(row, "installations")?))
        })?,
        kubernetes_versions: list(
            connection,
            &top_versions("kubernetes_version"),
            params![current, versions],
            |row| Ok((parse(row, "version")?, sum(row, "installations")?)),
        )?,
        dimensions: dimensions(connection, current, values)?,
        installations: list(connection, INSTALLATIONS, params![installations], installation)?,
        events: list(connection, EVENTS, params![events], event)?,
        days: list(connection, DAYS, params![columns::day(now) - i64::from(days)], day_totals)?,
        kamaji: kamaji(connection, now)?,
    })
}

/// Reads the totals of Kamaji's built-in telemetry.
fn kamaji(connection: &Connection, now: Timestamp) -> rusqlite::Result<KamajiTotals> {
    let current = hour_before(now, CURRENT);
    let [day, week, month] = active_counts(connection, columns::KAMAJI, now)?;
    let mut statement = connection.prepare_cached(
        "SELECT coalesce(sum(events), 0) AS events FROM event_hour_rollup
         WHERE source = 'kamaji' AND hour >= ?1 AND kind = ?2",
    )?;
    let mut count = |kind: &EventKind| statement.query_row(params![current, kind.name], |row| sum(row, "events"));
    Ok(KamajiTotals {
        day,
        week,
        month,
        control_planes: control_planes(connection, columns::KAMAJI, current)?,
        events: EventTotals { created: count(&CREATED)?, updated: count(&UPDATED)?, deleted: count(&DELETED)? },
    })
}

/// The order is that of the index, read backwards: any other would sort all events of an hour.
const EVENTS: &str = "SELECT * FROM events WHERE source = 'agent' ORDER BY time DESC, uid DESC LIMIT ?1";

/// The order is that of the index, too.
const INSTALLATIONS: &str =
    "SELECT * FROM latest WHERE source = 'agent' ORDER BY time DESC, installation DESC LIMIT ?1";

const DAYS: &str = "
    SELECT day, installations, running, sleeping, not_ready, upgrading
    FROM day_rollup WHERE source = 'agent' AND component = 'all' AND day > ?1 ORDER BY day";

/// Returns the query of current installations by a column of versions.
fn top_versions(column: &'static str) -> String {
    format!(
        "SELECT {column} AS version, sum(installations) AS installations FROM latest_rollup
         WHERE source = 'agent' AND hour >= ?1
         GROUP BY version ORDER BY 2 DESC, version DESC LIMIT ?2"
    )
}

fn list<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare_cached(sql)?.query_map(params, read)?.collect()
}

/// Returns the stored hour of `now` less `age`, with which a window begins.
fn hour_before(now: Timestamp, age: Duration) -> i64 {
    columns::hour(now - age)
}

/// Reads the installations seen in the last 1, 7 and 30 days.
fn active_counts(connection: &Connection, source: &str, now: Timestamp) -> rusqlite::Result<[ActiveCounts; 3]> {
    let mut statement = connection.prepare_cached(
        "SELECT coalesce(sum(active), 0) AS active, coalesce(sum(installations - active), 0) AS short_lived
         FROM latest_rollup WHERE source = ?1 AND hour >= ?2",
    )?;
    let mut count = |days: u64| {
        let since = hour_before(now, Duration::from_hours(24 * days));
        let counts =
            |row: &Row<'_>| Ok(ActiveCounts { active: sum(row, "active")?, short_lived: sum(row, "short_lived")? });
        statement.query_row(params![source, since], counts)
    };
    Ok([count(1)?, count(7)?, count(30)?])
}

fn control_planes(connection: &Connection, source: &str, since: i64) -> rusqlite::Result<Totals> {
    let mut statement = connection.prepare_cached(
        "SELECT coalesce(sum(running), 0) AS running, coalesce(sum(sleeping), 0) AS sleeping,
                coalesce(sum(not_ready), 0) AS not_ready, coalesce(sum(upgrading), 0) AS upgrading
         FROM latest_rollup WHERE source = ?1 AND hour >= ?2",
    )?;
    statement.query_row(params![source, since], totals)
}

/// Reads the sums of the extended gauges of current installations, of the day of each one's newest snapshot.
fn dimensions(connection: &Connection, since: i64, limit: u32) -> rusqlite::Result<Vec<(Dimension, u64)>> {
    let sql = "SELECT metric, value, sum(count) AS count FROM dimension_rollup
               WHERE source = 'agent' AND hour >= ?1 AND metric = ?2
               GROUP BY value ORDER BY 3 DESC, value DESC LIMIT ?3";
    let mut all = Vec::new();
    for metric in METRICS.iter().filter(|metric| metric.extended) {
        all.extend(list(connection, sql, params![since, metric.name, limit], |row| {
            let dimension = Dimension::parse(row.get_ref("metric")?.as_str()?, row.get_ref("value")?.as_str()?)
                .map_err(|error| columns::corrupt("value", error))?;
            Ok((dimension, sum(row, "count")?))
        })?);
    }
    Ok(all)
}

fn totals(row: &Row<'_>) -> rusqlite::Result<Totals> {
    Ok(Totals {
        running: sum(row, "running")?,
        sleeping: sum(row, "sleeping")?,
        not_ready: sum(row, "not_ready")?,
        upgrading: sum(row, "upgrading")?,
    })
}

fn installation(row: &Row<'_>) -> rusqlite::Result<InstallationRow> {
    Ok(InstallationRow {
        uuid: row.get("installation")?,
        first_day: date(row, "first_day")?,
        last_seen: time(row, "time")?,
        counts: StateCounts {
            running: row.get("running")?,
            sleeping: row.get("sleeping")?,
            not_ready: row.get("not_ready")?,
            upgrading: row.get("upgrading")?,
        },
        agent_version: parse(row, "agent_version")?,
        kamaji_version: parse(row, "kamaji_version")?,
        kubernetes_version: parse(row, "kubernetes_version")?,
    })
}

fn event(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    let record = EventRecord {
        uid: row.get("uid")?,
        time: time(row, "time")?,
        kamaji_version: parse(row, "kamaji_version")?,
        kubernetes_version: parse(row, "kubernetes_version")?,
        event: columns::event(row)?,
    };
    Ok(EventRow { record, source: Source::Agent(parse(row, "agent_version")?) })
}

fn day_totals(row: &Row<'_>) -> rusqlite::Result<DayTotals> {
    Ok(DayTotals { day: date(row, "day")?, installations: sum(row, "installations")?, control_planes: totals(row)? })
}
