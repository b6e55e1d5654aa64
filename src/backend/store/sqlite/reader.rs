//! The read-only connection, used outside the threads of the runtime.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, InterruptHandle, Params, Row, params};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::columns::{self, StoredWord, sum};
use super::events::EventColumns;
use super::rows::latest_row;
use super::words::Words;
use crate::backend::store::fold::Standing;
use crate::backend::store::{
    ActiveCounts, CURRENT, DayTotals, Dimension, EventRow, EventTotals, Hour, InstallationRow, KamajiTotals,
    OverviewData, OverviewQuery, ReadError, SourceKind, Totals,
};
use crate::catalog::{CREATED, DELETED, EventKind, METRICS, UPDATED};

/// The longest time of a read. The slowest that was measured took 23 ms; what takes longer is interrupted, so that it does
/// not keep a thread and an old state of the write-ahead log.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// The longest time of a read of all rows for an admin: a million installations take two seconds, and ten million events as
/// many times ten.
pub(super) const SCAN_DEADLINE: Duration = Duration::from_mins(10);

/// A handle of the connection. Readers queue for it without a thread.
#[derive(Debug)]
pub(super) struct SqliteReader {
    connection: Arc<Mutex<ReadConnection>>,
    deadline: Duration,
}

/// Interrupts a read whose answer nobody waits for any more.
struct InterruptOnDrop(Option<InterruptHandle>);

impl Drop for InterruptOnDrop {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.interrupt();
        }
    }
}

/// The connection, and the words that it has read.
#[derive(Debug)]
pub(super) struct ReadConnection {
    connection: Connection,
    words: Words,
}

impl SqliteReader {
    pub(super) fn new(connection: Connection, deadline: Duration) -> Self {
        let connection = Arc::new(Mutex::new(ReadConnection { connection, words: Words::default() }));
        Self { connection, deadline }
    }

    pub(super) async fn run<T, F>(&self, query: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.run_with_words(|connection, _| query(connection)).await
    }

    pub(super) async fn run_with_words<T, F>(&self, query: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection, &mut Words) -> rusqlite::Result<T> + Send + 'static,
    {
        let mut reader = Arc::clone(&self.connection).lock_owned().await;
        let mut interrupt = InterruptOnDrop(Some(reader.connection.get_interrupt_handle()));
        let answer = tokio::task::spawn_blocking(move || {
            let ReadConnection { connection, words } = &mut *reader;
            query(connection, words)
        });
        let answered = timeout(self.deadline, answer).await;
        let error = match answered {
            Err(_) => format!("no answer within {} s", self.deadline.as_secs()),
            Ok(answer) => {
                interrupt.0 = None;
                match answer {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(error)) => error.to_string(),
                    Err(error) => error.to_string(),
                }
            }
        };
        Err(ReadError(error.into()))
    }
}

/// A consistent state of the store, and the end of the windows.
struct Query<'a> {
    connection: &'a Connection,
    words: &'a mut Words,
    now: Hour,
}

/// Reads the overview in one transaction, so that all of its parts are of the same state. Each query names its source.
/// The lists are bounded by an index; everything else is read from the rollups.
pub(super) fn overview(
    connection: &mut Connection,
    words: &mut Words,
    query: OverviewQuery,
) -> rusqlite::Result<OverviewData> {
    let OverviewQuery { now, versions, min_installations, dimensions, installations, events, days } = query;
    let connection = &*connection.transaction()?;
    let mut query = Query { connection, words, now: Hour::of(now) };
    let [day, week, month] = query.active_counts(SourceKind::Agent)?;
    Ok(OverviewData {
        day,
        week,
        month,
        control_planes: query.control_planes(SourceKind::Agent)?,
        kamaji_versions: query.top_versions("kamaji", versions, min_installations)?,
        kubernetes_versions: query.top_versions("kubernetes", versions, min_installations)?,
        dimensions: query.dimensions(dimensions, min_installations)?,
        installations: query.installations(installations)?,
        events: query.events(events)?,
        days: query.days(days)?,
        kamaji: query.kamaji()?,
    })
}

impl Query<'_> {
    /// Returns the hour with which a window of this length begins.
    fn since(&self, length: Duration) -> i32 {
        Hour::of(self.now.start() - length).number()
    }

    /// Reads the installations received in the last 1, 7 and 30 days.
    fn active_counts(&self, source: SourceKind) -> rusqlite::Result<[ActiveCounts; 3]> {
        let mut statement = self.connection.prepare_cached(
            "SELECT coalesce(sum(installations), 0) AS installations
             FROM latest_rollup WHERE source = ?1 AND standing = ?2 AND hour >= ?3",
        )?;
        let mut count = |standing, days: u64| -> rusqlite::Result<u64> {
            let since = self.since(Duration::from_hours(24 * days));
            let row = params![columns::source(source), columns::standing(standing), since];
            statement.query_row(row, |row| sum(row, "installations"))
        };
        let mut counts = |days| -> rusqlite::Result<_> {
            Ok(ActiveCounts {
                active: count(Standing::Confirmed, days)?,
                not_confirmed: count(Standing::NotConfirmed, days)?,
                bulk: count(Standing::Bulk, days)?,
            })
        };
        Ok([counts(1)?, counts(7)?, counts(30)?])
    }

    fn control_planes(&self, source: SourceKind) -> rusqlite::Result<Totals> {
        let mut statement = self.connection.prepare_cached(
            "SELECT coalesce(sum(running), 0) AS running, coalesce(sum(sleeping), 0) AS sleeping,
                    coalesce(sum(not_ready), 0) AS not_ready, coalesce(sum(upgrading), 0) AS upgrading,
                    coalesce(sum(left_out), 0) AS left_out
             FROM latest_rollup WHERE source = ?1 AND standing = 1 AND hour >= ?2",
        )?;
        statement.query_row(params![columns::source(source), self.since(CURRENT)], totals)
    }

    /// Reads current installations by a column of versions.
    fn top_versions<T: StoredWord>(
        &mut self,
        column: &'static str,
        limit: u32,
        min_installations: u64,
    ) -> rusqlite::Result<Vec<(T, u64)>> {
        let sql = format!(
            "SELECT {column} AS version, sum(installations) AS installations FROM latest_rollup
             WHERE source = ?1 AND standing = 1 AND hour >= ?2
             GROUP BY version HAVING sum(installations) >= ?4 ORDER BY 2 DESC, version DESC LIMIT ?3"
        );
        let min = i64::try_from(min_installations).unwrap_or(i64::MAX);
        let row = params![columns::source(SourceKind::Agent), self.since(CURRENT), limit, min];
        list(self.connection, &sql, row, |row| {
            Ok((columns::word(self.words, self.connection, row, "version")?, sum(row, "installations")?))
        })
    }

    /// Reads the sums of the extended gauges of current installations.
    fn dimensions(&mut self, limit: u32, min_installations: u64) -> rusqlite::Result<Vec<(Dimension, u64)>> {
        let sql = "SELECT dimension, sum(points) AS points, sum(count) AS count
                   FROM dimension_rollup WHERE source = ?1 AND hour >= ?2 GROUP BY dimension";
        let row = params![columns::source(SourceKind::Agent), self.since(CURRENT)];
        let read = list(self.connection, sql, row, |row| {
            let dimension = columns::parse_dimension(self.words.word(self.connection, row.get("dimension")?)?)?;
            let is_listed = sum(row, "points")? >= min_installations;
            let other = || Dimension::other(dimension.metric());
            Ok((if is_listed { dimension } else { other() }, sum(row, "count")?))
        })?;
        let mut all: Vec<(Dimension, u64)> = Vec::new();
        for (dimension, count) in read {
            match all.iter_mut().find(|(known, _)| *known == dimension) {
                Some((_, sum)) => *sum += count,
                None => all.push((dimension, count)),
            }
        }
        // By metric in the catalog's order, then the largest first.
        let rank = |dimension: &Dimension| METRICS.iter().position(|metric| *metric == dimension.metric());
        all.sort_by(|(left, left_count), (right, right_count)| {
            (rank(left), right_count, right.value()).cmp(&(rank(right), left_count, left.value()))
        });
        let mut listed = HashMap::<_, u32>::new();
        all.retain(|(dimension, _)| {
            let of_metric = listed.entry(dimension.metric().name).or_default();
            *of_metric += 1;
            *of_metric <= limit
        });
        Ok(all)
    }

    /// Reads confirmed installations that are not in bulk. The order is that of the index, read backwards: any other would sort all of them.
    fn installations(&mut self, limit: u32) -> rusqlite::Result<Vec<InstallationRow>> {
        let sql = "SELECT * FROM latest WHERE source = ?1 AND bulk = 0 AND (confirmed IS NULL) = 0
                   ORDER BY last_seen DESC, installation DESC LIMIT ?2";
        list(self.connection, sql, params![columns::source(SourceKind::Agent), limit], |row| {
            Ok(InstallationRow {
                uuid: row.get("installation")?,
                latest: latest_row(self.connection, self.words, row)?,
            })
        })
    }

    /// Reads events. The order is that of the key, read backwards.
    fn events(&mut self, limit: u32) -> rusqlite::Result<Vec<EventRow>> {
        let sql = "SELECT * FROM events WHERE source = ?1 ORDER BY hour DESC, uid DESC LIMIT ?2";
        list(self.connection, sql, params![columns::source(SourceKind::Agent), limit], |row| {
            EventColumns::read(row)?.event(self.connection, self.words)
        })
    }

    fn days(&self, days: u32) -> rusqlite::Result<Vec<DayTotals>> {
        let sql = "SELECT day, installations, running, sleeping, not_ready, upgrading, left_out
                   FROM day_rollup WHERE source = ?1 AND part = 0 AND day > ?2 ORDER BY day";
        let before = self.now.day().minus(i32::try_from(days).unwrap_or(i32::MAX));
        list(self.connection, sql, params![columns::source(SourceKind::Agent), before.number()], |row| {
            Ok(DayTotals {
                day: columns::day(row, "day")?.date(),
                installations: sum(row, "installations")?,
                control_planes: totals(row)?,
            })
        })
    }

    /// Reads the totals of Kamaji's built-in telemetry.
    fn kamaji(&mut self) -> rusqlite::Result<KamajiTotals> {
        let [day, week, month] = self.active_counts(SourceKind::Kamaji)?;
        Ok(KamajiTotals {
            day,
            week,
            month,
            control_planes: self.control_planes(SourceKind::Kamaji)?,
            events: EventTotals {
                created: self.kamaji_events(&CREATED)?,
                updated: self.kamaji_events(&UPDATED)?,
                deleted: self.kamaji_events(&DELETED)?,
            },
        })
    }

    fn kamaji_events(&self, kind: &EventKind) -> rusqlite::Result<u64> {
        let sql = "SELECT coalesce(sum(events), 0) AS events FROM event_hour_rollup
                   WHERE source = ?1 AND hour >= ?2 AND kind = (SELECT id FROM words WHERE word = ?3)";
        let mut statement = self.connection.prepare_cached(sql)?;
        let row = params![columns::source(SourceKind::Kamaji), self.since(CURRENT), kind.name];
        statement.query_row(row, |row| sum(row, "events"))
    }
}

fn list<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare_cached(sql)?.query_map(params, read)?.collect()
}

fn totals(row: &Row<'_>) -> rusqlite::Result<Totals> {
    Ok(Totals {
        running: sum(row, "running")?,
        sleeping: sum(row, "sleeping")?,
        not_ready: sum(row, "not_ready")?,
        upgrading: sum(row, "upgrading")?,
        left_out: sum(row, "left_out")?,
    })
}
