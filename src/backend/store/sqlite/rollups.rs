//! The writing of changes of rollups: each sum is added to the stored one, and a sum over no rows is deleted.

use std::sync::LazyLock;

use rusqlite::{Connection, params_from_iter};

use super::columns::{self, change, dimension_word, event_source, source, standing};
use super::words::Words;
use crate::backend::store::fold::{
    ActiveSums, ConditionKey, DayKey, DayPart, DaySums, DimensionKey, DimensionPart, DimensionSums, EventAspect,
    EventDayKey, EventHourKey, EventWeekKey, PairKey, RollupChanges, RowDays, SeenKey, StateSums,
};
use crate::backend::store::hour::Day;

/// The next day of a row that is an installation's last: later than any other.
pub(super) const NO_NEXT_DAY: i32 = i32::MAX;

/// The statements that change a rollup. The first of its sums is a number of rows.
struct RollupTable {
    add: String,
    delete: String,
}

impl RollupTable {
    fn new(table: &str, keys: &[&str], sums: &[&str]) -> Self {
        let places = (1..=keys.len() + sums.len()).map(|place| format!("?{place}")).collect::<Vec<_>>().join(", ");
        let columns = [keys, sums].concat().join(", ");
        let added: Vec<_> = sums.iter().map(|sum| format!("{sum} = {sum} + excluded.{sum}")).collect();
        let is_row: Vec<_> = keys.iter().zip(1..).map(|(key, place)| format!("{key} = ?{place}")).collect();
        Self {
            add: format!(
                "INSERT INTO {table} ({columns}) VALUES ({places}) ON CONFLICT DO UPDATE SET {}",
                added.join(", ")
            ),
            delete: format!("DELETE FROM {table} WHERE {} AND {} = 0", is_row.join(" AND "), sums[0]),
        }
    }

    fn add<const K: usize, const S: usize>(
        &self,
        connection: &Connection,
        key: [i64; K],
        sums: [i64; S],
    ) -> rusqlite::Result<()> {
        let row = key.iter().chain(&sums);
        connection.prepare_cached(&self.add)?.execute(params_from_iter(row))?;
        if sums[0] < 0 {
            connection.prepare_cached(&self.delete)?.execute(params_from_iter(key))?;
        }
        Ok(())
    }
}

const STATES: [&str; 6] = ["installations", "running", "sleeping", "not_ready", "upgrading", "left_out"];
const ACTIVE: [&str; 3] = ["installations", "control_planes", "weight"];

static DAYS: LazyLock<RollupTable> = LazyLock::new(|| {
    RollupTable::new("day_rollup", &["source", "part", "day", "version"], &[&STATES[..], &["weight"]].concat())
});
static PAIRS: LazyLock<RollupTable> = LazyLock::new(|| {
    let key = ["source", "next_day", "day", "kamaji", "kubernetes", "established"];
    RollupTable::new("active_pair_rollup", &key, &ACTIVE)
});
static CONDITIONS: LazyLock<RollupTable> = LazyLock::new(|| {
    let key = ["source", "next_day", "day", "kamaji", "size", "stuck", "upgrading_long", "established"];
    RollupTable::new("active_condition_rollup", &key, &ACTIVE)
});
static DIMENSIONS: LazyLock<RollupTable> = LazyLock::new(|| {
    RollupTable::new("active_dimension_rollup", &["source", "next_day", "day", "dimension"], &["points", "count"])
});
static FIRST_SEEN: LazyLock<RollupTable> =
    LazyLock::new(|| RollupTable::new("first_seen_rollup", &["source", "standing", "day"], &["installations"]));
static LAST_SEEN: LazyLock<RollupTable> =
    LazyLock::new(|| RollupTable::new("last_seen_rollup", &["source", "standing", "day"], &["installations"]));
static EVENT_HOURS: LazyLock<RollupTable> =
    LazyLock::new(|| RollupTable::new("event_hour_rollup", &["source", "hour", "kind"], &["events"]));
static EVENT_DAYS: LazyLock<RollupTable> =
    LazyLock::new(|| RollupTable::new("event_day_rollup", &["source", "day", "change", "minor"], &["events"]));
static EVENT_WEEKS: LazyLock<RollupTable> = LazyLock::new(|| {
    RollupTable::new("event_week_rollup", &["source", "week", "aspect", "first", "second"], &["events"])
});

/// A writer of changes, which stores words that are new.
struct RollupWriter<'a> {
    connection: &'a Connection,
    words: &'a mut Words,
}

/// Adds `changes` to the stored sums.
pub(super) fn write(connection: &Connection, words: &mut Words, changes: &RollupChanges) -> rusqlite::Result<()> {
    let mut writer = RollupWriter { connection, words };
    writer.write_installations(changes)?;
    writer.write_days(changes)?;
    writer.write_events(changes)
}

impl RollupWriter<'_> {
    fn word(&mut self, word: &(impl ToString + ?Sized)) -> rusqlite::Result<i64> {
        Ok(self.words.id(self.connection, &word.to_string())?.into())
    }

    fn write_installations(&mut self, changes: &RollupChanges) -> rusqlite::Result<()> {
        let connection = self.connection;
        for (table, seen) in [(&FIRST_SEEN, &changes.first_seen), (&LAST_SEEN, &changes.last_seen)] {
            for (SeenKey { source: kind, standing: of_rows, day }, installations) in seen {
                let key = [source(*kind), standing(*of_rows), day.number().into()];
                table.add(connection, key, [*installations])?;
            }
        }
        Ok(())
    }

    fn write_days(&mut self, changes: &RollupChanges) -> rusqlite::Result<()> {
        let connection = self.connection;
        for (DayKey { source: kind, day, part }, DaySums { states: sums, weight }) in &changes.days {
            let (part, version) = self.part(part)?;
            let [installations, running, sleeping, not_ready, upgrading, left_out] = states(*sums);
            let sums = [installations, running, sleeping, not_ready, upgrading, left_out, *weight];
            DAYS.add(connection, [source(*kind), part, day.number().into(), version], sums)?;
        }
        for (PairKey { days, kamaji, kubernetes, established }, sums) in &changes.pairs {
            let [kind, next, day] = row_days(*days);
            let key = [kind, next, day, self.word(kamaji)?, self.word(kubernetes)?, (*established).into()];
            PAIRS.add(connection, key, active(*sums))?;
        }
        for (ConditionKey { days, kamaji, size, trouble, established }, sums) in &changes.conditions {
            let [kind, next, day] = row_days(*days);
            let (stuck, upgrading_long) = (trouble.stuck.into(), trouble.upgrading_long.into());
            let kamaji = self.word(kamaji)?;
            let key = [kind, next, day, kamaji, columns::size(*size), stuck, upgrading_long, (*established).into()];
            CONDITIONS.add(connection, key, active(*sums))?;
        }
        for (DimensionKey { days, part }, DimensionSums { points, count }) in &changes.dimensions {
            let [kind, next, day] = row_days(*days);
            let word = match part {
                DimensionPart::Metric(metric) => self.word(metric.name)?,
                DimensionPart::Value(dimension) => self.word(&dimension_word(dimension))?,
            };
            DIMENSIONS.add(connection, [kind, next, day, word], [*points, *count])?;
        }
        Ok(())
    }

    fn part(&mut self, part: &DayPart) -> rusqlite::Result<(i64, i64)> {
        Ok(match part {
            DayPart::All => (columns::ALL, 0),
            DayPart::Kamaji(version) => (columns::KAMAJI, self.word(version)?),
            DayPart::Kubernetes(version) => (columns::KUBERNETES, self.word(version)?),
            DayPart::Agent(version) => (columns::AGENT, self.word(version)?),
        })
    }

    fn write_events(&mut self, changes: &RollupChanges) -> rusqlite::Result<()> {
        let connection = self.connection;
        for (EventHourKey { source: kind, hour, kind: name, bulk }, events) in &changes.event_hours {
            let key = [event_source(*kind, *bulk), hour.number().into(), self.word(name)?];
            EVENT_HOURS.add(connection, key, [*events])?;
        }
        for (EventDayKey { source: kind, day, change: of_events, minor }, events) in &changes.event_days {
            let key = [source(*kind), day.number().into(), change(*of_events), self.word(minor)?];
            EVENT_DAYS.add(connection, key, [*events])?;
        }
        for (EventWeekKey { source: kind, week, aspect }, events) in &changes.event_weeks {
            let [aspect, first, second] = self.aspect(*aspect)?;
            EVENT_WEEKS.add(connection, [source(*kind), week.number().into(), aspect, first, second], [*events])?;
        }
        Ok(())
    }

    /// Returns the columns of an aspect: those that [`columns::parse_aspect`] reads.
    fn aspect(&mut self, aspect: EventAspect) -> rusqlite::Result<[i64; 3]> {
        Ok(match aspect {
            EventAspect::Created { kamaji, minor } => [0, self.word(&kamaji)?, self.word(&minor)?],
            EventAspect::Reached { kamaji, minor } => [1, self.word(&kamaji)?, self.word(&minor)?],
            EventAspect::MinorUpdate { from, to } => [2, self.word(&from)?, self.word(&to)?],
            EventAspect::PatchUpdate { kamaji, is_downgrade: false } => [3, self.word(&kamaji)?, 0],
            EventAspect::PatchUpdate { kamaji, is_downgrade: true } => [4, self.word(&kamaji)?, 0],
            EventAspect::Deletion { kamaji, status } => [5, self.word(&kamaji)?, self.word(status.as_str())?],
            EventAspect::ClusterApi(None) => [6, 0, 0],
            EventAspect::ClusterApi(Some(false)) => [7, 0, 0],
            EventAspect::ClusterApi(Some(true)) => [8, 0, 0],
            EventAspect::NetworkProfile(profile) => [9, self.word(profile.as_str())?, 0],
        })
    }
}

fn row_days(RowDays { source: kind, day, next }: RowDays) -> [i64; 3] {
    [source(kind), next.map_or(NO_NEXT_DAY, Day::number).into(), day.number().into()]
}

const fn states(sums: StateSums) -> [i64; 6] {
    let StateSums { installations, running, sleeping, not_ready, upgrading, left_out } = sums;
    [installations, running, sleeping, not_ready, upgrading, left_out]
}

const fn active(ActiveSums { installations, control_planes, weight }: ActiveSums) -> [i64; 3] {
    [installations, control_planes, weight]
}
