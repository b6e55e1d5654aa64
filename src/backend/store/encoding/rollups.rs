//! Changes of rollups as rows: for each table, a key and the sums that are added to the stored ones.

use super::words::{StoredWord, dimension_word};
use super::{CorruptColumn, WordId, WordIds, WordTexts, change, event_source, parse_word, size, source, standing};
use crate::backend::store::fold::{
    ActiveSums, ConditionKey, DayKey, DayPart, DaySums, DimensionKey, DimensionPart, DimensionSums, EventAspect,
    EventDayKey, EventHourKey, EventWeekKey, PairKey, RollupChanges, RowDays, SeenKey, StateSums,
};
use crate::backend::store::hour::Day;

/// The next day of a row that is an installation's last: later than any other.
pub(in crate::backend::store) const NO_NEXT_DAY: i32 = i32::MAX;

/// A table of sums: its name, the columns of its key, and its sums. The first sum is a number of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend::store) struct RollupTable {
    pub(in crate::backend::store) name: &'static str,
    pub(in crate::backend::store) keys: &'static [&'static str],
    pub(in crate::backend::store) sums: &'static [&'static str],
}

/// A row of a table: the values of its key and its sums, in the order of the columns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::backend::store) struct RollupRow {
    pub(in crate::backend::store) key: Vec<i64>,
    pub(in crate::backend::store) sums: Vec<i64>,
}

const ACTIVE: &[&str] = &["installations", "control_planes", "weight"];

/// All tables, in the order in which [`rollup_rows`] returns their rows.
pub(in crate::backend::store) const TABLES: [RollupTable; 9] = [
    RollupTable { name: "first_seen_rollup", keys: &["source", "standing", "day"], sums: &["installations"] },
    RollupTable { name: "last_seen_rollup", keys: &["source", "standing", "day"], sums: &["installations"] },
    RollupTable {
        name: "day_rollup",
        keys: &["source", "part", "day", "version"],
        sums: &["installations", "running", "sleeping", "not_ready", "upgrading", "left_out", "weight"],
    },
    RollupTable {
        name: "active_pair_rollup",
        keys: &["source", "next_day", "day", "kamaji", "kubernetes", "established"],
        sums: ACTIVE,
    },
    RollupTable {
        name: "active_condition_rollup",
        keys: &["source", "next_day", "day", "kamaji", "size", "stuck", "upgrading_long", "established"],
        sums: ACTIVE,
    },
    RollupTable {
        name: "active_dimension_rollup",
        keys: &["source", "next_day", "day", "dimension"],
        sums: &["points", "count"],
    },
    RollupTable { name: "event_hour_rollup", keys: &["source", "hour", "kind"], sums: &["events"] },
    RollupTable { name: "event_day_rollup", keys: &["source", "day", "change", "minor"], sums: &["events"] },
    RollupTable {
        name: "event_week_rollup",
        keys: &["source", "week", "aspect", "first", "second"],
        sums: &["events"],
    },
];

/// Returns the rows of changes, by table.
pub(in crate::backend::store) fn rollup_rows<W: WordIds>(
    words: &mut W,
    changes: &RollupChanges,
) -> Result<[Vec<RollupRow>; TABLES.len()], W::Error> {
    Ok([
        seen_rows(&changes.first_seen),
        seen_rows(&changes.last_seen),
        day_rows(words, changes)?,
        pair_rows(words, changes)?,
        condition_rows(words, changes)?,
        dimension_rows(words, changes)?,
        event_hour_rows(words, changes)?,
        event_day_rows(words, changes)?,
        event_week_rows(words, changes)?,
    ])
}

impl RollupRow {
    fn new<const K: usize, const S: usize>(key: [i64; K], sums: [i64; S]) -> Self {
        Self { key: key.into(), sums: sums.into() }
    }
}

fn id<W: WordIds>(words: &mut W, word: &(impl ToString + ?Sized)) -> Result<i64, W::Error> {
    words.id(&word.to_string()).map(i64::from)
}

fn seen_rows<'a>(changes: impl IntoIterator<Item = (&'a SeenKey, &'a i64)>) -> Vec<RollupRow> {
    let row = |(SeenKey { source: kind, standing: of_rows, day }, installations): (&SeenKey, &i64)| {
        RollupRow::new([source(*kind), standing(*of_rows), day.number().into()], [*installations])
    };
    changes.into_iter().map(row).collect()
}

fn day_rows<W: WordIds>(words: &mut W, changes: &RollupChanges) -> Result<Vec<RollupRow>, W::Error> {
    let row = |(DayKey { source: kind, day, part }, DaySums { states, weight }): (&DayKey, &DaySums)| {
        let (part, version) = match part {
            DayPart::All => (super::ALL, 0),
            DayPart::Kamaji(version) => (super::KAMAJI, id(words, version)?),
            DayPart::Kubernetes(version) => (super::KUBERNETES, id(words, version)?),
            DayPart::Agent(version) => (super::AGENT, id(words, version)?),
        };
        let StateSums { installations, running, sleeping, not_ready, upgrading, left_out } = *states;
        let sums = [installations, running, sleeping, not_ready, upgrading, left_out, *weight];
        Ok(RollupRow::new([source(*kind), part, day.number().into(), version], sums))
    };
    changes.days.iter().map(row).collect()
}

fn pair_rows<W: WordIds>(words: &mut W, changes: &RollupChanges) -> Result<Vec<RollupRow>, W::Error> {
    let row = |(PairKey { days, kamaji, kubernetes, established }, sums): (&PairKey, &ActiveSums)| {
        let [kind, next, day] = row_days(*days);
        let key = [kind, next, day, id(words, kamaji)?, id(words, kubernetes)?, (*established).into()];
        Ok(RollupRow::new(key, active(*sums)))
    };
    changes.pairs.iter().map(row).collect()
}

fn condition_rows<W: WordIds>(words: &mut W, changes: &RollupChanges) -> Result<Vec<RollupRow>, W::Error> {
    let row = |(key, sums): (&ConditionKey, &ActiveSums)| {
        let ConditionKey { days, kamaji, size: of_rows, trouble, established } = key;
        let [kind, next, day] = row_days(*days);
        let (stuck, upgrading_long) = (trouble.stuck.into(), trouble.upgrading_long.into());
        let kamaji = id(words, kamaji)?;
        let key = [kind, next, day, kamaji, size(*of_rows), stuck, upgrading_long, (*established).into()];
        Ok(RollupRow::new(key, active(*sums)))
    };
    changes.conditions.iter().map(row).collect()
}

fn dimension_rows<W: WordIds>(words: &mut W, changes: &RollupChanges) -> Result<Vec<RollupRow>, W::Error> {
    let row = |(DimensionKey { days, part }, DimensionSums { points, count }): (&DimensionKey, &DimensionSums)| {
        let [kind, next, day] = row_days(*days);
        let word = match part {
            DimensionPart::Metric(metric) => id(words, metric.name)?,
            DimensionPart::Value(dimension) => id(words, &dimension_word(dimension))?,
        };
        Ok(RollupRow::new([kind, next, day, word], [*points, *count]))
    };
    changes.dimensions.iter().map(row).collect()
}

fn event_hour_rows<W: WordIds>(words: &mut W, changes: &RollupChanges) -> Result<Vec<RollupRow>, W::Error> {
    let row = |(EventHourKey { source: kind, hour, kind: name, bulk }, events): (&EventHourKey, &i64)| {
        Ok(RollupRow::new([event_source(*kind, *bulk), hour.number().into(), id(words, *name)?], [*events]))
    };
    changes.event_hours.iter().map(row).collect()
}

fn event_day_rows<W: WordIds>(words: &mut W, changes: &RollupChanges) -> Result<Vec<RollupRow>, W::Error> {
    let row = |(EventDayKey { source: kind, day, change: of_events, minor }, events): (&EventDayKey, &i64)| {
        Ok(RollupRow::new([source(*kind), day.number().into(), change(*of_events), id(words, minor)?], [*events]))
    };
    changes.event_days.iter().map(row).collect()
}

fn event_week_rows<W: WordIds>(words: &mut W, changes: &RollupChanges) -> Result<Vec<RollupRow>, W::Error> {
    let row = |(EventWeekKey { source: kind, week, aspect }, events): (&EventWeekKey, &i64)| {
        let [aspect, first, second] = aspect_columns(words, *aspect)?;
        Ok(RollupRow::new([source(*kind), week.number().into(), aspect, first, second], [*events]))
    };
    changes.event_weeks.iter().map(row).collect()
}

/// Returns the columns of an aspect: those that [`parse_aspect`] reads.
fn aspect_columns<W: WordIds>(words: &mut W, aspect: EventAspect) -> Result<[i64; 3], W::Error> {
    Ok(match aspect {
        EventAspect::Created { kamaji, minor } => [0, id(words, &kamaji)?, id(words, &minor)?],
        EventAspect::Reached { kamaji, minor } => [1, id(words, &kamaji)?, id(words, &minor)?],
        EventAspect::MinorUpdate { from, to } => [2, id(words, &from)?, id(words, &to)?],
        EventAspect::PatchUpdate { kamaji, is_downgrade: false } => [3, id(words, &kamaji)?, 0],
        EventAspect::PatchUpdate { kamaji, is_downgrade: true } => [4, id(words, &kamaji)?, 0],
        EventAspect::Deletion { kamaji, status } => [5, id(words, &kamaji)?, id(words, status.as_str())?],
        EventAspect::ClusterApi(None) => [6, 0, 0],
        EventAspect::ClusterApi(Some(false)) => [7, 0, 0],
        EventAspect::ClusterApi(Some(true)) => [8, 0, 0],
        EventAspect::NetworkProfile(profile) => [9, id(words, profile.as_str())?, 0],
    })
}

/// Returns the aspect of the columns `aspect`, `first` and `second`.
pub(in crate::backend::store) fn parse_aspect<W: WordTexts>(
    words: &mut W,
    aspect: i64,
    first: WordId,
    second: WordId,
) -> Result<EventAspect, W::Error> {
    fn parse<T: StoredWord, W: WordTexts>(words: &mut W, id: WordId) -> Result<T, W::Error> {
        parse_word(words, id, "aspect")
    }
    Ok(match aspect {
        0 => EventAspect::Created { kamaji: parse(words, first)?, minor: parse(words, second)? },
        1 => EventAspect::Reached { kamaji: parse(words, first)?, minor: parse(words, second)? },
        2 => EventAspect::MinorUpdate { from: parse(words, first)?, to: parse(words, second)? },
        3 => EventAspect::PatchUpdate { kamaji: parse(words, first)?, is_downgrade: false },
        4 => EventAspect::PatchUpdate { kamaji: parse(words, first)?, is_downgrade: true },
        5 => EventAspect::Deletion { kamaji: parse(words, first)?, status: parse(words, second)? },
        6 => EventAspect::ClusterApi(None),
        7 => EventAspect::ClusterApi(Some(false)),
        8 => EventAspect::ClusterApi(Some(true)),
        9 => EventAspect::NetworkProfile(parse(words, first)?),
        number => return Err(CorruptColumn::unknown_number("aspect", number).into()),
    })
}

fn row_days(RowDays { source: kind, day, next }: RowDays) -> [i64; 3] {
    [source(kind), next.map_or(NO_NEXT_DAY, Day::number).into(), day.number().into()]
}

const fn active(ActiveSums { installations, control_planes, weight }: ActiveSums) -> [i64; 3] {
    [installations, control_planes, weight]
}
