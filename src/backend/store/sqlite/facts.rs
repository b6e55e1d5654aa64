//! The reading of facts from the rollups.

use rusqlite::{Connection, Row, params, params_from_iter};

use super::columns::{self, day, sum};
use super::operations;
use super::words::{StoredWords, Words};
use crate::backend::store::encoding::{self, NO_NEXT_DAY, StoredWord};
use crate::backend::store::hour::Day;
use crate::backend::store::{
    AgentVersion, ConditionFact, DayFact, DimensionFact, EventDayFact, EventWeekFact, Facts, FactsQuery, PairFact,
    SeenFact, Totals, VersionFact,
};

/// The standings, by their stored numbers.
const STANDINGS: [i64; 3] = [0, 1, 2];

/// Reads the facts of each query in one transaction, so that all of them are of the same state.
pub(super) fn facts(
    connection: &mut Connection,
    words: &mut Words,
    queries: &[FactsQuery],
) -> rusqlite::Result<Vec<Facts>> {
    let connection = &*connection.transaction()?;
    let read = |query: &FactsQuery| {
        let (source, through) = (encoding::source(query.source), query.through.number().into());
        FactsReader { connection, words, source, through }.read(query)
    };
    queries.iter().map(read).collect()
}

/// A reader of the facts of one query.
struct FactsReader<'a> {
    connection: &'a Connection,
    words: &'a mut Words,
    source: i64,
    through: i64,
}

impl FactsReader<'_> {
    fn read(&mut self, query: &FactsQuery) -> rusqlite::Result<Facts> {
        Ok(Facts {
            first_day: self.first_day()?,
            days: self.when(query.days, Self::days)?,
            kamaji_days: self.when(query.kamaji_days, |reader, since| reader.version_days(encoding::KAMAJI, since))?,
            kubernetes_days: self
                .when(query.kubernetes_days, |reader, since| reader.version_days(encoding::KUBERNETES, since))?,
            agent_days: self.when(query.agent_days, Self::agent_days)?,
            pairs: self.when(query.pairs, Self::pairs)?,
            conditions: self.when(query.conditions, Self::conditions)?,
            dimensions: self.when(query.dimensions, Self::dimensions)?,
            first_seen: self.when(query.first_seen, |reader, since| reader.seen("first_seen_rollup", since))?,
            last_seen: self.when(query.last_seen, |reader, since| reader.seen("last_seen_rollup", since))?,
            event_days: self.when(query.event_days, Self::event_days)?,
            event_weeks: self.when(query.event_weeks, |reader, since| reader.event_weeks(since.monday()))?,
            refusals: self.when(query.operations, |reader, since| operations::refusals(reader.connection, since))?,
            served_hours: self
                .when(query.operations, |reader, since| operations::served_hours(reader.connection, since))?,
        })
    }

    /// Reads facts since a day, if there is one.
    fn when<T>(
        &mut self,
        since: Option<Day>,
        read: impl FnOnce(&mut Self, Day) -> rusqlite::Result<Vec<T>>,
    ) -> rusqlite::Result<Vec<T>> {
        since.map_or_else(|| Ok(Vec::new()), |since| read(self, since))
    }

    fn list<T, const N: usize>(
        &mut self,
        sql: &str,
        params: [i64; N],
        mut read: impl FnMut(&mut Self, &Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        let mut select = self.connection.prepare_cached(sql)?;
        let mut rows = select.query(params_from_iter(params))?;
        let mut list = Vec::new();
        while let Some(row) = rows.next()? {
            list.push(read(self, row)?);
        }
        Ok(list)
    }

    fn stored_words(&mut self) -> StoredWords<'_> {
        StoredWords { connection: self.connection, words: self.words }
    }

    fn word<T: StoredWord>(&mut self, row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
        columns::word(self.words, self.connection, row, column)
    }

    fn first_day(&self) -> rusqlite::Result<Option<Day>> {
        let sql = "SELECT min(day) FROM day_rollup WHERE source = ?1 AND part = ?2";
        let mut select = self.connection.prepare_cached(sql)?;
        let first: Option<i32> = select.query_row(params![self.source, encoding::ALL], |row| row.get(0))?;
        Ok(first.map(Day::from_number))
    }

    fn days(&mut self, since: Day) -> rusqlite::Result<Vec<DayFact>> {
        let sql = "SELECT * FROM day_rollup WHERE source = ?1 AND part = ?2 AND day BETWEEN ?3 AND ?4 ORDER BY day";
        let row = [self.source, encoding::ALL, since.number().into(), self.through + 1];
        self.list(sql, row, |_, row| {
            Ok(DayFact {
                day: day(row, "day")?,
                installations: sum(row, "installations")?,
                control_planes: totals(row)?,
                weight: sum(row, "weight")?,
            })
        })
    }

    fn version_days<V: StoredWord>(&mut self, part: i64, since: Day) -> rusqlite::Result<Vec<VersionFact<V>>> {
        self.parts(part, since, |reader, row| reader.word(row, "version"))
    }

    fn agent_days(&mut self, since: Day) -> rusqlite::Result<Vec<VersionFact<AgentVersion>>> {
        self.parts(encoding::AGENT, since, |reader, row| {
            encoding::parse_agent(&mut reader.stored_words(), row.get("version")?, "version")
        })
    }

    fn parts<V>(
        &mut self,
        part: i64,
        since: Day,
        mut version: impl FnMut(&mut Self, &Row<'_>) -> rusqlite::Result<V>,
    ) -> rusqlite::Result<Vec<VersionFact<V>>> {
        let sql = "SELECT * FROM day_rollup WHERE source = ?1 AND part = ?2 AND day BETWEEN ?3 AND ?4 ORDER BY day";
        let row = [self.source, part, since.number().into(), self.through + 1];
        self.list(sql, row, |reader, row| {
            Ok(VersionFact {
                day: day(row, "day")?,
                version: version(reader, row)?,
                installations: sum(row, "installations")?,
                control_planes: totals(row)?.with_left_out(),
                weight: sum(row, "weight")?,
            })
        })
    }

    fn pairs(&mut self, since: Day) -> rusqlite::Result<Vec<PairFact>> {
        let sums = "sum(installations) AS installations, sum(control_planes) AS control_planes, sum(weight) AS weight";
        self.active("active_pair_rollup", "kamaji, kubernetes", sums, since, |reader, row| {
            Ok(PairFact {
                kamaji: reader.word(row, "kamaji")?,
                kubernetes: reader.word(row, "kubernetes")?,
                installations: sum(row, "installations")?,
                control_planes: sum(row, "control_planes")?,
                weight: sum(row, "weight")?,
            })
        })
    }

    fn conditions(&mut self, since: Day) -> rusqlite::Result<Vec<ConditionFact>> {
        let (keys, sums) =
            ("kamaji, size, stuck, upgrading_long", "sum(installations) AS installations, sum(weight) AS weight");
        self.active("active_condition_rollup", keys, sums, since, |reader, row| {
            Ok(ConditionFact {
                kamaji: reader.word(row, "kamaji")?,
                size: encoding::parse_size(row.get("size")?)?,
                stuck: row.get("stuck")?,
                upgrading_long: row.get("upgrading_long")?,
                installations: sum(row, "installations")?,
                weight: sum(row, "weight")?,
            })
        })
    }

    fn dimensions(&mut self, since: Day) -> rusqlite::Result<Vec<DimensionFact>> {
        let sums = "sum(points) AS points, sum(count) AS count";
        self.active("active_dimension_rollup", "dimension", sums, since, |reader, row| {
            let word = reader.words.word(reader.connection, row.get("dimension")?)?;
            Ok(DimensionFact {
                part: encoding::parse_dimension_part(word)?,
                installations: sum(row, "points")?,
                count: sum(row, "count")?,
            })
        })
    }

    /// Reads sums over the last rows of installations in the window, by the columns of `keys`.
    ///
    /// Those are the rows whose next day is later than the last day. Most have no next day: two ranges of the key are read, where
    /// one range of next days would go through all days of rows without one.
    fn active<T>(
        &mut self,
        table: &'static str,
        keys: &'static str,
        sums: &'static str,
        since: Day,
        read: impl FnMut(&mut Self, &Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        let sql = format!(
            "SELECT {keys}, {sums} FROM (
                 SELECT * FROM {table} WHERE source = ?1 AND next_day = {NO_NEXT_DAY} AND day BETWEEN ?3 AND ?2
                 UNION ALL
                 SELECT * FROM {table}
                 WHERE source = ?1 AND next_day > ?2 AND next_day < {NO_NEXT_DAY} AND day BETWEEN ?3 AND ?2
             ) GROUP BY {keys}"
        );
        self.list(&sql, [self.source, self.through, since.number().into()], read)
    }

    fn seen(&mut self, table: &'static str, since: Day) -> rusqlite::Result<Vec<SeenFact>> {
        let sql = format!("SELECT * FROM {table} WHERE source = ?1 AND standing = ?2 AND day >= ?3 ORDER BY day");
        let mut all = Vec::new();
        for standing in STANDINGS {
            let read = self.list(&sql, [self.source, standing, since.number().into()], |_, row| {
                Ok(SeenFact {
                    day: day(row, "day")?,
                    standing: encoding::parse_standing(row.get("standing")?),
                    installations: sum(row, "installations")?,
                })
            });
            all.extend(read?);
        }
        all.sort_by_key(|fact| fact.day);
        Ok(all)
    }

    fn event_days(&mut self, since: Day) -> rusqlite::Result<Vec<EventDayFact>> {
        let sql = "SELECT * FROM event_day_rollup WHERE source = ?1 AND day >= ?2 ORDER BY day";
        self.list(sql, [self.source, since.number().into()], |reader, row| {
            Ok(EventDayFact {
                day: day(row, "day")?,
                change: encoding::parse_change(row.get("change")?)?,
                minor: reader.word(row, "minor")?,
                events: sum(row, "events")?,
            })
        })
    }

    fn event_weeks(&mut self, since: Day) -> rusqlite::Result<Vec<EventWeekFact>> {
        let sql = "SELECT * FROM event_week_rollup WHERE source = ?1 AND week >= ?2 ORDER BY week";
        self.list(sql, [self.source, since.number().into()], |reader, row| {
            Ok(EventWeekFact {
                week: day(row, "week")?,
                aspect: encoding::parse_aspect(
                    &mut reader.stored_words(),
                    row.get("aspect")?,
                    row.get("first")?,
                    row.get("second")?,
                )?,
                events: sum(row, "events")?,
            })
        })
    }
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
