//! The rows of installations: their columns, and the statements that read and write many at once.

use std::collections::BTreeMap;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::connection::{PostgresConnection, PostgresError};
use super::words::KnownWords;
use crate::backend::store::StateCounts;
use crate::backend::store::encoding::{
    ReportColumns, WordId, WordIds, decode_report, dimension_ids, parse_standing, standing,
};
use crate::backend::store::fold::{DayRow, LatestRow, PreviousDay, Trouble};
use crate::backend::store::hour::{Day, Hour};

/// Reads and locks the latest rows of installations, in the order of their keys: two groups with common installations don't wait
/// for each other in a ring.
pub(super) const LOCK_LATEST: &str =
    "SELECT * FROM latest WHERE installation = ANY($1) ORDER BY installation FOR UPDATE";

/// The insertion of rows of `latest`, to which the answer to a conflict is added.
macro_rules! insert_latest {
    ($on_conflict:literal) => {
        concat!(
            "INSERT INTO latest (installation, source, running, sleeping, not_ready, upgrading, agent, kamaji, kubernetes,
                                 dimensions, first_seen, confirmed, last_seen, bulk, previous_day, previous_not_ready,
                                 previous_upgrading)
             SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::int[], $4::int[], $5::int[], $6::int[], $7::int[],
                                  $8::int[], $9::int[], $10::bytea[], $11::int[], $12::int[], $13::int[], $14::bool[],
                                  $15::int[], $16::bool[], $17::bool[])
             ON CONFLICT (installation) ",
            $on_conflict
        )
    };
}

/// Inserts the rows of installations that are new. One that another backend has inserted meanwhile is left out.
pub(super) const INSERT_LATEST: &str = insert_latest!("DO NOTHING");

/// Writes the rows of installations that are locked.
pub(super) const UPSERT_LATEST: &str = insert_latest!(
    "DO UPDATE SET
        first_seen = excluded.first_seen, confirmed = excluded.confirmed, last_seen = excluded.last_seen, bulk = excluded.bulk,
        previous_day = excluded.previous_day, previous_not_ready = excluded.previous_not_ready,
        previous_upgrading = excluded.previous_upgrading,
        running = excluded.running, sleeping = excluded.sleeping,
        not_ready = excluded.not_ready, upgrading = excluded.upgrading,
        agent = excluded.agent, kamaji = excluded.kamaji, kubernetes = excluded.kubernetes,
        dimensions = excluded.dimensions"
);

/// Writes the rows of days.
pub(super) const UPSERT_DAYS: &str = "
    INSERT INTO days (installation, source, running, sleeping, not_ready, upgrading, agent, kamaji, kubernetes, dimensions,
                      day, standing, young, stuck, upgrading_long)
    SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::int[], $4::int[], $5::int[], $6::int[], $7::int[], $8::int[],
                         $9::int[], $10::bytea[], $11::int[], $12::smallint[], $13::bool[], $14::bool[], $15::bool[])
    ON CONFLICT (installation, day) DO UPDATE SET
        standing = excluded.standing, young = excluded.young,
        stuck = excluded.stuck, upgrading_long = excluded.upgrading_long,
        running = excluded.running, sleeping = excluded.sleeping,
        not_ready = excluded.not_ready, upgrading = excluded.upgrading,
        agent = excluded.agent, kamaji = excluded.kamaji, kubernetes = excluded.kubernetes,
        dimensions = excluded.dimensions";

/// The columns of reports, each an array.
#[derive(Debug, Default)]
struct ReportArrays {
    installation: Vec<Uuid>,
    source: Vec<i16>,
    states: [Vec<i32>; 4],
    agent: Vec<i32>,
    kamaji: Vec<i32>,
    kubernetes: Vec<i32>,
    dimensions: Vec<Vec<u8>>,
}

/// The columns of rows of `latest`, each an array.
#[derive(Debug, Default)]
pub(super) struct LatestArrays {
    reports: ReportArrays,
    first_seen: Vec<i32>,
    confirmed: Vec<Option<i32>>,
    last_seen: Vec<i32>,
    bulk: Vec<bool>,
    previous_day: Vec<Option<i32>>,
    previous_not_ready: Vec<bool>,
    previous_upgrading: Vec<bool>,
}

/// The columns of rows of `days`, each an array.
#[derive(Debug, Default)]
pub(super) struct DayArrays {
    reports: ReportArrays,
    day: Vec<i32>,
    standing: Vec<i16>,
    young: Vec<bool>,
    stuck: Vec<bool>,
    upgrading_long: Vec<bool>,
}

/// Returns a number that fits a column of 16 bits.
pub(super) fn small(number: i64) -> i16 {
    i16::try_from(number).unwrap_or_default()
}

impl ReportArrays {
    fn push(&mut self, installation: Uuid, columns: ReportColumns) {
        let ReportColumns { source, counts, agent, kamaji, kubernetes, dimensions } = columns;
        let StateCounts { running, sleeping, not_ready, upgrading } = counts;
        self.installation.push(installation);
        self.source.push(small(source));
        for (states, count) in self.states.iter_mut().zip([running, sleeping, not_ready, upgrading]) {
            // A count is at most MAX_COUNT, which fits.
            states.push(i32::try_from(count).unwrap_or(i32::MAX));
        }
        self.agent.push(agent.cast_signed());
        self.kamaji.push(kamaji.cast_signed());
        self.kubernetes.push(kubernetes.cast_signed());
        self.dimensions.push(dimensions);
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 10] {
        let [running, sleeping, not_ready, upgrading] = &self.states;
        [
            &self.installation,
            &self.source,
            running,
            sleeping,
            not_ready,
            upgrading,
            &self.agent,
            &self.kamaji,
            &self.kubernetes,
            &self.dimensions,
        ]
    }
}

impl LatestArrays {
    /// Returns the columns of rows, in the order of their keys.
    pub(super) fn new<'a, W: WordIds>(
        words: &mut W,
        rows: impl IntoIterator<Item = &'a (Uuid, LatestRow)>,
    ) -> Result<Self, W::Error> {
        let mut arrays = Self::default();
        for (installation, row) in rows {
            let LatestRow { first_seen, confirmed, last_seen, bulk, previous, report } = row;
            arrays.reports.push(*installation, ReportColumns::new(words, report)?);
            arrays.first_seen.push(first_seen.number());
            arrays.confirmed.push(confirmed.map(Hour::number));
            arrays.last_seen.push(last_seen.number());
            arrays.bulk.push(*bulk);
            arrays.previous_day.push(previous.map(|previous| previous.day.number()));
            arrays.previous_not_ready.push(previous.is_some_and(|previous| previous.not_ready));
            arrays.previous_upgrading.push(previous.is_some_and(|previous| previous.upgrading));
        }
        Ok(arrays)
    }

    pub(super) fn len(&self) -> usize {
        self.bulk.len()
    }

    pub(super) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        let mut parameters: Vec<&(dyn ToSql + Sync)> = self.reports.parameters().into();
        parameters.extend([&self.first_seen as &(dyn ToSql + Sync), &self.confirmed, &self.last_seen, &self.bulk]);
        parameters.extend([
            &self.previous_day as &(dyn ToSql + Sync),
            &self.previous_not_ready,
            &self.previous_upgrading,
        ]);
        parameters
    }
}

impl DayArrays {
    /// Returns the columns of rows, which are in the order of the days.
    pub(super) fn new<'a, W: WordIds>(
        words: &mut W,
        rows: impl IntoIterator<Item = (&'a (Day, Uuid), &'a DayRow)>,
    ) -> Result<Self, W::Error> {
        let mut arrays = Self::default();
        for ((day, installation), row) in rows {
            let DayRow { standing: of_day, young, trouble: Trouble { stuck, upgrading_long }, report } = row;
            arrays.reports.push(*installation, ReportColumns::new(words, report)?);
            arrays.day.push(day.number());
            arrays.standing.push(small(standing(*of_day)));
            arrays.young.push(*young);
            arrays.stuck.push(*stuck);
            arrays.upgrading_long.push(*upgrading_long);
        }
        Ok(arrays)
    }

    pub(super) fn len(&self) -> usize {
        self.day.len()
    }

    /// Returns each day once. A history of a year has rows of few days at once.
    pub(super) fn days(&self) -> Vec<Day> {
        let mut days: Vec<_> = self.day.iter().copied().map(Day::from_number).collect();
        days.dedup();
        days
    }

    pub(super) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        let mut parameters: Vec<&(dyn ToSql + Sync)> = self.reports.parameters().into();
        parameters.extend([
            &self.day as &(dyn ToSql + Sync),
            &self.standing,
            &self.young,
            &self.stuck,
            &self.upgrading_long,
        ]);
        parameters
    }
}

fn report_columns(row: &Row) -> Result<ReportColumns, PostgresError> {
    let count = |column| row.try_get::<_, i32>(column).map(i32::cast_unsigned);
    Ok(ReportColumns {
        source: row.try_get::<_, i16>("source")?.into(),
        counts: StateCounts {
            running: count("running")?,
            sleeping: count("sleeping")?,
            not_ready: count("not_ready")?,
            upgrading: count("upgrading")?,
        },
        agent: count("agent")?,
        kamaji: count("kamaji")?,
        kubernetes: count("kubernetes")?,
        dimensions: row.try_get("dimensions")?,
    })
}

fn report_words(columns: &ReportColumns) -> impl Iterator<Item = WordId> {
    [columns.agent, columns.kamaji, columns.kubernetes].into_iter().chain(dimension_ids(&columns.dimensions))
}

/// Reads rows of `latest`, with their installations.
pub(super) async fn latest_rows(
    connection: &mut PostgresConnection,
    rows: &[Row],
) -> Result<BTreeMap<Uuid, LatestRow>, PostgresError> {
    let reports = rows.iter().map(report_columns).collect::<Result<Vec<_>, _>>()?;
    let mut words = connection.read_words(reports.iter().flat_map(report_words)).await?;
    let mut latest = BTreeMap::new();
    for (row, report) in rows.iter().zip(&reports) {
        latest.insert(row.try_get("installation")?, latest_row(&mut words, row, report)?);
    }
    Ok(latest)
}

fn latest_row(words: &mut KnownWords, row: &Row, report: &ReportColumns) -> Result<LatestRow, PostgresError> {
    let hour = |column| row.try_get::<_, i32>(column).map(Hour::from_number);
    let previous_day: Option<i32> = row.try_get("previous_day")?;
    let (not_ready, upgrading) = (row.try_get("previous_not_ready")?, row.try_get("previous_upgrading")?);
    Ok(LatestRow {
        first_seen: hour("first_seen")?,
        confirmed: row.try_get::<_, Option<i32>>("confirmed")?.map(Hour::from_number),
        last_seen: hour("last_seen")?,
        bulk: row.try_get("bulk")?,
        previous: previous_day.map(|day| PreviousDay { day: Day::from_number(day), not_ready, upgrading }),
        report: decode_report(words, report)?,
    })
}

/// Reads rows of `days`, in the order of `rows`.
pub(super) async fn day_rows(
    connection: &mut PostgresConnection,
    rows: &[Row],
) -> Result<Vec<(Uuid, Day, DayRow)>, PostgresError> {
    let reports = rows.iter().map(report_columns).collect::<Result<Vec<_>, _>>()?;
    let mut words = connection.read_words(reports.iter().flat_map(report_words)).await?;
    let mut days = Vec::with_capacity(rows.len());
    for (row, report) in rows.iter().zip(&reports) {
        let day = DayRow {
            standing: parse_standing(row.try_get::<_, i16>("standing")?.into()),
            young: row.try_get("young")?,
            trouble: Trouble { stuck: row.try_get("stuck")?, upgrading_long: row.try_get("upgrading_long")? },
            report: decode_report(&mut words, report)?,
        };
        days.push((row.try_get("installation")?, Day::from_number(row.try_get("day")?), day));
    }
    Ok(days)
}
