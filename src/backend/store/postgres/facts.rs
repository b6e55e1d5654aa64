//! The reading of facts from the rollups, whose slots are added up.

use tokio_postgres::Row;

use super::age::sum;
use super::connection::{PostgresConnection, PostgresError};
use super::operations;
use super::rollups::int;
use super::words::KnownWords;
use crate::backend::store::encoding::{self, NO_NEXT_DAY, StoredWord, WordId, WordTexts, parse_word};
use crate::backend::store::hour::Day;
use crate::backend::store::{
    ConditionFact, DayFact, DimensionFact, EventDayFact, EventWeekFact, Facts, FactsQuery, PairFact, SeenFact, Totals,
    VersionFact,
};

/// Reads the facts of each query, in a transaction that sees one state.
pub(super) async fn facts(
    connection: &mut PostgresConnection,
    queries: Vec<FactsQuery>,
) -> Result<Vec<Facts>, PostgresError> {
    let mut all = Vec::with_capacity(queries.len());
    for query in queries {
        let (source, through) = (int(encoding::source(query.source)), query.through.number());
        all.push(PostgresFactsReader { connection: &mut *connection, source, through }.read(&query).await?);
    }
    Ok(all)
}

/// A reader of the facts of one query.
struct PostgresFactsReader<'a> {
    connection: &'a mut PostgresConnection,
    source: i32,
    through: i32,
}

/// The sums of the states of a day, over the slots.
const STATES: &str = "sum(installations)::bigint AS installations, sum(running)::bigint AS running, \
                      sum(sleeping)::bigint AS sleeping, sum(not_ready)::bigint AS not_ready, \
                      sum(upgrading)::bigint AS upgrading, sum(left_out)::bigint AS left_out, sum(weight)::bigint AS weight";

impl PostgresFactsReader<'_> {
    async fn read(&mut self, query: &FactsQuery) -> Result<Facts, PostgresError> {
        let mut facts = Facts { first_day: self.first_day().await?, ..Facts::default() };
        if let Some(since) = query.days {
            facts.days = self.days(since).await?;
        }
        if let Some(since) = query.kamaji_days {
            facts.kamaji_days = self.parts(encoding::KAMAJI, since, word("version")).await?;
        }
        if let Some(since) = query.kubernetes_days {
            facts.kubernetes_days = self.parts(encoding::KUBERNETES, since, word("version")).await?;
        }
        if let Some(since) = query.agent_days {
            let version =
                |words: &mut KnownWords, row: &Row| Ok(encoding::parse_agent(words, id(row, "version")?, "version")?);
            facts.agent_days = self.parts(encoding::AGENT, since, version).await?;
        }
        self.read_active(query, &mut facts).await?;
        self.read_seen(query, &mut facts).await?;
        self.read_events(query, &mut facts).await?;
        if let Some(since) = query.operations {
            facts.refusals = operations::refusals(self.connection, since).await?;
            facts.served_hours = operations::served_hours(self.connection, since).await?;
        }
        Ok(facts)
    }

    async fn read_active(&mut self, query: &FactsQuery, facts: &mut Facts) -> Result<(), PostgresError> {
        if let Some(since) = query.pairs {
            facts.pairs = self.pairs(since).await?;
        }
        if let Some(since) = query.conditions {
            facts.conditions = self.conditions(since).await?;
        }
        if let Some(since) = query.dimensions {
            facts.dimensions = self.dimensions(since).await?;
        }
        Ok(())
    }

    async fn read_seen(&mut self, query: &FactsQuery, facts: &mut Facts) -> Result<(), PostgresError> {
        if let Some(since) = query.first_seen {
            facts.first_seen = self.seen("first_seen_rollup", since).await?;
        }
        if let Some(since) = query.last_seen {
            facts.last_seen = self.seen("last_seen_rollup", since).await?;
        }
        Ok(())
    }

    async fn read_events(&mut self, query: &FactsQuery, facts: &mut Facts) -> Result<(), PostgresError> {
        if let Some(since) = query.event_days {
            facts.event_days = self.event_days(since).await?;
        }
        if let Some(since) = query.event_weeks {
            facts.event_weeks = self.event_weeks(since.monday()).await?;
        }
        Ok(())
    }

    /// Returns the rows of a query, with the words whose ids are in `columns`.
    async fn rows(
        &mut self,
        sql: &str,
        parameters: &[i32],
        columns: &[&str],
    ) -> Result<(Vec<Row>, KnownWords), PostgresError> {
        let parameters: Vec<_> = parameters.iter().map(|parameter| parameter as _).collect();
        let rows = self.connection.query(sql, &parameters).await?;
        let mut ids = Vec::with_capacity(rows.len() * columns.len());
        for row in &rows {
            for column in columns {
                ids.push(id(row, column)?);
            }
        }
        Ok((rows, self.connection.read_words(ids).await?))
    }

    async fn first_day(&mut self) -> Result<Option<Day>, PostgresError> {
        // The days of slots that make up for each other have no installation.
        let sql = "SELECT day FROM day_rollup WHERE source = $1 AND part = $2
                   GROUP BY day HAVING sum(installations) > 0 ORDER BY day LIMIT 1";
        let row = self.connection.query_opt(sql, &[&self.source, &int(encoding::ALL)]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?.map(Day::from_number))
    }

    async fn days(&mut self, since: Day) -> Result<Vec<DayFact>, PostgresError> {
        let sql = format!(
            "SELECT day, {STATES} FROM day_rollup WHERE source = $1 AND part = $2 AND day BETWEEN $3 AND $4
             GROUP BY day HAVING sum(installations) > 0 ORDER BY day"
        );
        let parameters = [self.source, int(encoding::ALL), since.number(), self.through + 1];
        let (rows, _) = self.rows(&sql, &parameters, &[]).await?;
        let fact = |row: &Row| {
            Ok(DayFact {
                day: day(row, "day")?,
                installations: sum(row, "installations")?,
                control_planes: totals(row)?,
                weight: sum(row, "weight")?,
            })
        };
        rows.iter().map(fact).collect()
    }

    async fn parts<V>(
        &mut self,
        part: i64,
        since: Day,
        version: impl Fn(&mut KnownWords, &Row) -> Result<V, PostgresError>,
    ) -> Result<Vec<VersionFact<V>>, PostgresError> {
        let sql = format!(
            "SELECT day, version, {STATES} FROM day_rollup WHERE source = $1 AND part = $2 AND day BETWEEN $3 AND $4
             GROUP BY day, version HAVING sum(installations) > 0 ORDER BY day, version"
        );
        let parameters = [self.source, int(part), since.number(), self.through + 1];
        let (rows, mut words) = self.rows(&sql, &parameters, &["version"]).await?;
        let fact = |row: &Row| {
            Ok(VersionFact {
                day: day(row, "day")?,
                version: version(&mut words, row)?,
                installations: sum(row, "installations")?,
                control_planes: totals(row)?.with_left_out(),
                weight: sum(row, "weight")?,
            })
        };
        rows.iter().map(fact).collect()
    }

    async fn pairs(&mut self, since: Day) -> Result<Vec<PairFact>, PostgresError> {
        let sums = &["installations", "control_planes", "weight"];
        let sql = active("active_pair_rollup", "kamaji, kubernetes", sums);
        let parameters = [self.source, self.through, since.number()];
        let (rows, mut words) = self.rows(&sql, &parameters, &["kamaji", "kubernetes"]).await?;
        let fact = |row: &Row| {
            Ok(PairFact {
                kamaji: word("kamaji")(&mut words, row)?,
                kubernetes: word("kubernetes")(&mut words, row)?,
                installations: sum(row, "installations")?,
                control_planes: sum(row, "control_planes")?,
                weight: sum(row, "weight")?,
            })
        };
        rows.iter().map(fact).collect()
    }

    async fn conditions(&mut self, since: Day) -> Result<Vec<ConditionFact>, PostgresError> {
        let keys = "kamaji, size, stuck, upgrading_long";
        let sql = active("active_condition_rollup", keys, &["installations", "weight"]);
        let parameters = [self.source, self.through, since.number()];
        let (rows, mut words) = self.rows(&sql, &parameters, &["kamaji"]).await?;
        let fact = |row: &Row| {
            Ok(ConditionFact {
                kamaji: word("kamaji")(&mut words, row)?,
                size: encoding::parse_size(row.try_get::<_, i32>("size")?.into())?,
                stuck: row.try_get::<_, i32>("stuck")? != 0,
                upgrading_long: row.try_get::<_, i32>("upgrading_long")? != 0,
                installations: sum(row, "installations")?,
                weight: sum(row, "weight")?,
            })
        };
        rows.iter().map(fact).collect()
    }

    async fn dimensions(&mut self, since: Day) -> Result<Vec<DimensionFact>, PostgresError> {
        let sql = active("active_dimension_rollup", "dimension", &["points", "count"]);
        let parameters = [self.source, self.through, since.number()];
        let (rows, mut words) = self.rows(&sql, &parameters, &["dimension"]).await?;
        let fact = |row: &Row| {
            Ok(DimensionFact {
                part: encoding::parse_dimension_part(words.word(id(row, "dimension")?)?)?,
                installations: sum(row, "points")?,
                count: sum(row, "count")?,
            })
        };
        rows.iter().map(fact).collect()
    }

    async fn seen(&mut self, table: &str, since: Day) -> Result<Vec<SeenFact>, PostgresError> {
        let sql = format!(
            "SELECT day, standing, sum(installations)::bigint AS installations FROM {table}
             WHERE source = $1 AND day >= $2 GROUP BY day, standing HAVING sum(installations) > 0 ORDER BY day, standing"
        );
        let (rows, _) = self.rows(&sql, &[self.source, since.number()], &[]).await?;
        let fact = |row: &Row| {
            Ok(SeenFact {
                day: day(row, "day")?,
                standing: encoding::parse_standing(row.try_get::<_, i32>("standing")?.into()),
                installations: sum(row, "installations")?,
            })
        };
        rows.iter().map(fact).collect()
    }

    async fn event_days(&mut self, since: Day) -> Result<Vec<EventDayFact>, PostgresError> {
        let sql = "SELECT day, change, minor, sum(events)::bigint AS events FROM event_day_rollup
                   WHERE source = $1 AND day >= $2 GROUP BY day, change, minor HAVING sum(events) > 0
                   ORDER BY day, change, minor";
        let (rows, mut words) = self.rows(sql, &[self.source, since.number()], &["minor"]).await?;
        let fact = |row: &Row| {
            Ok(EventDayFact {
                day: day(row, "day")?,
                change: encoding::parse_change(row.try_get::<_, i32>("change")?.into())?,
                minor: word("minor")(&mut words, row)?,
                events: sum(row, "events")?,
            })
        };
        rows.iter().map(fact).collect()
    }

    async fn event_weeks(&mut self, since: Day) -> Result<Vec<EventWeekFact>, PostgresError> {
        let sql = "SELECT week, aspect, first, second, sum(events)::bigint AS events FROM event_week_rollup
                   WHERE source = $1 AND week >= $2 GROUP BY week, aspect, first, second HAVING sum(events) > 0
                   ORDER BY week, aspect, first, second";
        let (rows, mut words) = self.rows(sql, &[self.source, since.number()], &["first", "second"]).await?;
        let fact = |row: &Row| {
            let aspect = row.try_get::<_, i32>("aspect")?.into();
            Ok(EventWeekFact {
                week: day(row, "week")?,
                aspect: encoding::parse_aspect(&mut words, aspect, id(row, "first")?, id(row, "second")?)?,
                events: sum(row, "events")?,
            })
        };
        rows.iter().map(fact).collect()
    }
}

/// Returns the query of sums over the last rows of installations in the window, by the columns of `keys`.
///
/// Those are the rows whose next day is later than the last day. Most have no next day: two ranges of the key are read, where
/// one range of next days would go through all days of rows without one.
fn active(table: &str, keys: &str, sums: &[&str]) -> String {
    let summed: Vec<_> = sums.iter().map(|sum| format!("sum({sum})::bigint AS {sum}")).collect();
    format!(
        "SELECT {keys}, {} FROM (
             SELECT * FROM {table} WHERE source = $1 AND next_day = {NO_NEXT_DAY} AND day BETWEEN $3 AND $2
             UNION ALL
             SELECT * FROM {table}
             WHERE source = $1 AND next_day > $2 AND next_day < {NO_NEXT_DAY} AND day BETWEEN $3 AND $2
         ) AS last GROUP BY {keys} HAVING sum({}) > 0",
        summed.join(", "),
        sums[0]
    )
}

fn id(row: &Row, column: &str) -> Result<WordId, PostgresError> {
    Ok(row.try_get::<_, i32>(column)?.cast_unsigned())
}

fn word<T: StoredWord>(column: &'static str) -> impl Fn(&mut KnownWords, &Row) -> Result<T, PostgresError> {
    move |words, row| Ok(parse_word(words, id(row, column)?, column)?)
}

fn day(row: &Row, column: &str) -> Result<Day, PostgresError> {
    Ok(Day::from_number(row.try_get(column)?))
}

fn totals(row: &Row) -> Result<Totals, PostgresError> {
    Ok(Totals {
        running: sum(row, "running")?,
        sleeping: sum(row, "sleeping")?,
        not_ready: sum(row, "not_ready")?,
        upgrading: sum(row, "upgrading")?,
        left_out: sum(row, "left_out")?,
    })
}
