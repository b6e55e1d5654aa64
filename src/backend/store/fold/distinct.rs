//! The bound on distinct values: what strangers choose adds no more than so many words and rows of rollups an hour.

use std::borrow::Cow;
use std::hash::Hash;

use foldhash::{HashMap, HashMapExt};

use super::{LatestRow, Standing};
use crate::backend::store::hour::Hour;
use crate::backend::store::rows::{AgentVersion, Dimension, EventRow, Report, Source};
use crate::catalog::{Event, KamajiVersion, KubernetesVersion};

/// The most values that are known from the hours before: half of the 256 that an hour keeps apart by default, so that a release
/// of today finds room as well. A fleet of all versions that are supported has some dozens.
const MAX_ESTABLISHED: usize = 128;

/// The part of an hour's values that one sender may add: an eighth, which is 32 by default, all versions of a new fleet's first
/// hour and a quarter of the places that are free.
const SENDERS: usize = 8;

/// The rows of a day that establish a value. Whoever fills a column in the first second of an hour takes no established
/// value's place.
const ESTABLISHED_ROWS: u32 = 3;

/// The hours for which a value stays established.
const ESTABLISHED_HOURS: i32 = 24;

/// A pool of values, so that rows outside of the figures take no place of those in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// Snapshots of installations that were in the figures before.
    Counted,
    /// Snapshots of all others, and events in bulk.
    Uncounted,
    /// Events that count.
    Events,
}

/// The values of the last hours, by pool and column.
#[derive(Debug, Default)]
pub struct DistinctValues {
    hour: Hour,
    pools: [PoolValues; 3],
}

#[derive(Debug, Default)]
struct PoolValues {
    kamaji: ColumnValues<KamajiVersion>,
    kubernetes: ColumnValues<KubernetesVersion>,
    tcp_version: ColumnValues<KubernetesVersion>,
    agent: ColumnValues<AgentVersion>,
    dimension: ColumnValues<Dimension>,
}

#[derive(Debug)]
struct ColumnValues<V> {
    values: HashMap<V, ValueRows>,
    /// The number of values that each sender has added in this hour.
    added: HashMap<u64, usize>,
}

/// The rows of a value, halved each hour, and the hour of the last.
#[derive(Debug, Clone, Copy)]
struct ValueRows {
    rows: u32,
    last: Hour,
}

/// The treatment of a value that is not known when a row of it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unknown {
    /// It has no place, and is not counted.
    Ignored,
    /// It is in the store, and gets one. The next hour forgets it unless it is established.
    Added,
}

/// The bound on the values that a sender may add.
#[derive(Debug, Clone, Copy)]
pub(super) struct ValueBound {
    /// The number of the sender.
    pub(super) sender: u64,
    /// The number of values of a column that an hour keeps apart.
    pub(super) max: usize,
}

impl Pool {
    /// Returns the pool of an installation's snapshots.
    pub(super) fn of(known: Option<&LatestRow>) -> Self {
        match known.map(LatestRow::standing) {
            Some(Standing::Confirmed) => Self::Counted,
            _ => Self::Uncounted,
        }
    }
}

impl DistinctValues {
    /// Establishes the values of an installation that counts, as its store has it at the start: whoever sends first after a
    /// restart takes no place of those in use.
    pub fn establish_report(&mut self, row: &LatestRow) {
        self.pools[Pool::Counted as usize].count_report(&row.report, row.last_seen, Unknown::Added);
    }

    /// Establishes the values of an event that counts, as [`DistinctValues::establish_report`] does.
    pub fn establish_event(&mut self, row: &EventRow) {
        self.pools[Pool::Events as usize].count_event(row, Hour::of(row.record.time), Unknown::Added);
    }

    /// Returns the report with values that are kept, and the number of those that are new in this hour.
    pub(super) fn bound_report<'a>(
        &mut self,
        pool: Pool,
        by: ValueBound,
        received: Hour,
        report: &'a Report,
    ) -> (Cow<'a, Report>, u32) {
        let values = self.pool(pool, received);
        let mut bound = Bound { bounded: Cow::Borrowed(report), by, new: 0 };
        bound.column(&mut values.kamaji, &report.kamaji_version, |report| report.kamaji_version = KamajiVersion::Other);
        bound.column(&mut values.kubernetes, &report.kubernetes_version, |report| {
            report.kubernetes_version = KubernetesVersion::Other;
        });
        if let Source::Agent(version) = &report.source {
            bound.column(&mut values.agent, version, |report| {
                report.source = Source::Agent(AgentVersion::other());
            });
        }
        for (dimension, _) in &report.dimensions {
            bound.column(&mut values.dimension, dimension, |report| report.merge_into_other(dimension));
        }
        (bound.bounded, bound.new)
    }

    /// Returns the event with values that are kept, and the number of those that are new in this hour.
    pub(super) fn bound_event<'a>(
        &mut self,
        pool: Pool,
        by: ValueBound,
        received: Hour,
        row: &'a EventRow,
    ) -> (Cow<'a, EventRow>, u32) {
        let values = self.pool(pool, received);
        let mut bound = Bound { bounded: Cow::Borrowed(row), by, new: 0 };
        let record = &row.record;
        bound
            .column(&mut values.kamaji, &record.kamaji_version, |row| row.record.kamaji_version = KamajiVersion::Other);
        bound.column(&mut values.kubernetes, &record.kubernetes_version, |row| {
            row.record.kubernetes_version = KubernetesVersion::Other;
        });
        if let Source::Agent(version) = &row.source {
            bound.column(&mut values.agent, version, |row| row.source = Source::Agent(AgentVersion::other()));
        }
        for version in record.event.tcp_versions() {
            bound.column(&mut values.tcp_version, &version, |row| replace_tcp_version(&mut row.record.event, version));
        }
        values.count_event(row, received, Unknown::Ignored);
        (bound.bounded, bound.new)
    }

    /// Counts a row of an hour for which an installation had none before: one of each installation and hour.
    pub(super) fn count_report(&mut self, pool: Pool, received: Hour, report: &Report) {
        self.pool(pool, received).count_report(report, received, Unknown::Ignored);
    }

    /// Returns the values of a pool, once those of earlier hours are forgotten but for the established ones.
    fn pool(&mut self, pool: Pool, received: Hour) -> &mut PoolValues {
        // A clock that was ahead is set back; a group may begin before the hour and end in it.
        if received > self.hour || received < self.hour.minus(1) {
            self.hour = received;
            self.pools.iter_mut().for_each(|pool| pool.begin_hour(received));
        }
        &mut self.pools[pool as usize]
    }
}

impl PoolValues {
    fn begin_hour(&mut self, hour: Hour) {
        let Self { kamaji, kubernetes, tcp_version, agent, dimension } = self;
        kamaji.begin_hour(hour);
        kubernetes.begin_hour(hour);
        tcp_version.begin_hour(hour);
        agent.begin_hour(hour);
        dimension.begin_hour(hour);
    }

    fn count_report(&mut self, report: &Report, hour: Hour, unknown: Unknown) {
        self.kamaji.count(&report.kamaji_version, hour, unknown);
        self.kubernetes.count(&report.kubernetes_version, hour, unknown);
        if let Source::Agent(version) = &report.source {
            self.agent.count(version, hour, unknown);
        }
        for (dimension, _) in &report.dimensions {
            self.dimension.count(dimension, hour, unknown);
        }
    }

    fn count_event(&mut self, row: &EventRow, hour: Hour, unknown: Unknown) {
        self.kamaji.count(&row.record.kamaji_version, hour, unknown);
        self.kubernetes.count(&row.record.kubernetes_version, hour, unknown);
        if let Source::Agent(version) = &row.source {
            self.agent.count(version, hour, unknown);
        }
        for version in row.record.event.tcp_versions() {
            self.tcp_version.count(&version, hour, unknown);
        }
    }
}

impl<V> Default for ColumnValues<V> {
    fn default() -> Self {
        Self { values: HashMap::new(), added: HashMap::new() }
    }
}

impl<V: Clone + Eq + Hash> ColumnValues<V> {
    /// Forgets all values but those that are established, the most frequent first.
    fn begin_hour(&mut self, hour: Hour) {
        self.added.clear();
        let mut known: Vec<_> = self.values.drain().collect();
        known.retain(|(_, value)| value.rows >= ESTABLISHED_ROWS && hour.since(value.last) <= ESTABLISHED_HOURS);
        known.sort_unstable_by_key(|(_, value)| std::cmp::Reverse(value.rows));
        known.truncate(MAX_ESTABLISHED);
        // A value fades, and stays established for as long as it comes.
        let fade =
            |(value, ValueRows { rows, last })| (value, ValueRows { rows: (rows / 2).max(ESTABLISHED_ROWS), last });
        self.values.extend(known.into_iter().map(fade));
    }

    /// Counts a row of a value.
    fn count(&mut self, value: &V, hour: Hour, unknown: Unknown) {
        if unknown == Unknown::Added && !self.values.contains_key(value) {
            self.values.insert(value.clone(), ValueRows { rows: 0, last: hour });
        }
        if let Some(ValueRows { rows, last }) = self.values.get_mut(value) {
            *rows = rows.saturating_add(1);
            *last = match unknown {
                Unknown::Ignored => hour,
                // Rows of the store come in no order.
                Unknown::Added => hour.max(*last),
            };
        }
    }
}

/// A row whose values are being bounded.
struct Bound<'a, T: ToOwned + ?Sized> {
    bounded: Cow<'a, T>,
    by: ValueBound,
    /// The number of values that are new in this hour.
    new: u32,
}

impl<T: Clone> Bound<'_, T> {
    /// Keeps `value` if there is room in its column, and replaces it otherwise.
    fn column<V: Clone + Eq + Hash>(&mut self, column: &mut ColumnValues<V>, value: &V, replace: impl FnOnce(&mut T)) {
        if column.values.contains_key(value) {
            return;
        }
        let ValueBound { sender, max } = self.by;
        let added = column.added.entry(sender).or_default();
        if column.values.len() >= max || *added >= (max / SENDERS).max(1) {
            replace(self.bounded.to_mut());
            return;
        }
        *added += 1;
        column.values.insert(value.clone(), ValueRows { rows: 0, last: Hour::default() });
        self.new += 1;
    }
}

fn replace_tcp_version(event: &mut Event, version: KubernetesVersion) {
    let replace = |of: &mut KubernetesVersion| {
        if *of == version {
            *of = KubernetesVersion::Other;
        }
    };
    match event {
        Event::Created { tcp_version, .. } | Event::Deleted { tcp_version, .. } => replace(tcp_version),
        Event::Updated { old_tcp_version, new_tcp_version } => {
            replace(old_tcp_version);
            replace(new_tcp_version);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::VersionNumbers;

    const HOUR: Hour = Hour::from_number(498_740);

    fn version(patch: u16) -> KamajiVersion {
        let numbers = VersionNumbers { major: 1, minor: 0, patch, stage: crate::catalog::Stage::Final };
        KamajiVersion::Release(numbers)
    }

    fn report(patch: u16) -> Report {
        Report {
            counts: crate::backend::store::StateCounts::default(),
            source: Source::Agent("2.0.0".parse().unwrap()),
            kamaji_version: version(patch),
            kubernetes_version: KubernetesVersion::Unknown,
            dimensions: vec![],
        }
    }

    fn by(sender: u64) -> ValueBound {
        ValueBound { sender, max: 256 }
    }

    fn kept(values: &mut DistinctValues, pool: Pool, hour: Hour, patch: u16) -> KamajiVersion {
        // Each sender has a value of its own.
        values.bound_report(pool, by(patch.into()), hour, &report(patch)).0.kamaji_version
    }

    #[test]
    fn an_hour_keeps_so_many_values_of_a_column_and_the_rest_is_other() {
        let mut values = DistinctValues::default();
        let all: Vec<_> = (0..300).map(|patch| kept(&mut values, Pool::Counted, HOUR, patch)).collect();
        assert_eq!(all[..256], (0..256).map(version).collect::<Vec<_>>());
        assert_eq!(all[256..], [KamajiVersion::Other; 44]);
        assert_eq!(kept(&mut values, Pool::Counted, HOUR, 7), version(7));
        assert_eq!(kept(&mut values, Pool::Uncounted, HOUR, 300), version(300), "another pool has room of its own");
        assert_eq!(kept(&mut values, Pool::Counted, HOUR.minus(-1), 300), version(300));
    }

    #[test]
    fn what_three_installations_had_before_is_kept_however_many_values_come_first() {
        let mut values = DistinctValues::default();
        for rows in 0..3 {
            kept(&mut values, Pool::Counted, HOUR, 7);
            values.count_report(Pool::Counted, HOUR, &report(7));
            if rows < 2 {
                kept(&mut values, Pool::Counted, HOUR, 8);
                values.count_report(Pool::Counted, HOUR, &report(8));
            }
        }
        for hour in 1..24 {
            let hour = HOUR.minus(-hour);
            for patch in 1_000..1_256 {
                kept(&mut values, Pool::Counted, hour, patch);
            }
            assert_eq!(kept(&mut values, Pool::Counted, hour, 7), version(7));
            assert_eq!(kept(&mut values, Pool::Counted, hour, 8), KamajiVersion::Other);
        }
    }

    #[test]
    fn what_the_store_has_at_the_start_is_kept_whoever_sends_first() {
        let mut values = DistinctValues::default();
        let row = |patch, hours| LatestRow {
            first_seen: HOUR.minus(100),
            confirmed: Some(HOUR.minus(50)),
            last_seen: HOUR.minus(hours),
            bulk: false,
            previous: None,
            report: report(patch),
        };
        for (patch, hours) in [(7, 0), (7, 1), (7, 40), (8, 0), (8, 1), (9, 30), (9, 30), (9, 30)] {
            values.establish_report(&row(patch, hours));
        }
        for patch in 1_000..1_256 {
            kept(&mut values, Pool::Counted, HOUR, patch);
        }
        let kept = [7, 8, 9].map(|patch| kept(&mut values, Pool::Counted, HOUR, patch) == version(patch));
        assert_eq!(kept, [true, false, false], "three installations of the last day, two, and three of the day before");
    }

    #[test]
    fn one_sender_adds_so_many_values_of_a_column_and_the_others_find_room() {
        let mut values = DistinctValues::default();
        let mut kept = |sender, patch| {
            values.bound_report(Pool::Counted, by(sender), HOUR, &report(patch)).0.kamaji_version == version(patch)
        };
        assert_eq!((0..300).filter(|patch| kept(1, *patch)).count(), 32);
        assert!(kept(1, 0) && kept(2, 299));
    }

    #[test]
    fn only_a_new_value_is_counted_as_one() {
        let mut values = DistinctValues::default();
        let mut new = |patch| values.bound_report(Pool::Counted, by(1), HOUR, &report(patch)).1;
        assert_eq!([new(1), new(1), new(2)], [3, 0, 1]);
    }
}
