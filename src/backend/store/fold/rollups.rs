//! The rollups: sums over rows, so that no question reads all rows. Here they are changes of sums, which a store adds to
//! those that it holds.

use std::collections::HashMap;
use std::hash::Hash;

use super::weight::weight;
use super::{DayRow, LatestRow, Standing};
use crate::backend::store::hour::{Day, Hour};
use crate::backend::store::rows::{Dimension, EventRow, Report, SourceKind, StateCounts};
use crate::catalog::{Event, EventKind, KamajiVersion, KubernetesVersion};

/// The direction of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// A row is added.
    Plus,
    /// A row is removed.
    Minus,
}

/// A key of the rollup of latest rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LatestKey {
    /// The kind of the sender.
    pub source: SourceKind,
    /// Their standing.
    pub standing: Standing,
    /// The hour in which they were last seen.
    pub hour: Hour,
    /// Their Kamaji's version; unknown for those that are in no figure.
    pub kamaji: KamajiVersion,
    /// The version of their management cluster; unknown for those that are in no figure.
    pub kubernetes: KubernetesVersion,
}

/// A key of the rollup of the extended gauges in latest rows of confirmed installations.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DimensionKey {
    /// The kind of the sender.
    pub source: SourceKind,
    /// The hour in which the installations were last seen.
    pub hour: Hour,
    /// The dimension.
    pub dimension: Dimension,
}

/// A key of the rollup of days of confirmed installations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DayKey {
    /// The kind of the sender.
    pub source: SourceKind,
    /// The day.
    pub day: Day,
    /// The part of the rows that is summed up.
    pub component: Component,
}

/// The part of a day's rows that is summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Component {
    /// All rows of the day.
    All,
    /// Those of one version of a component.
    Version(Version),
}

/// The version of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// A version of Kamaji.
    Kamaji(KamajiVersion),
    /// A version of Kubernetes.
    Kubernetes(KubernetesVersion),
}

/// A key of the rollup of events by hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventHourKey {
    /// The kind of the sender.
    pub source: SourceKind,
    /// The hour.
    pub hour: Hour,
    /// The name of the kind of event.
    pub kind: &'static str,
    /// True if the events are beyond their senders' shares.
    pub bulk: bool,
}

/// A key of the rollup of installations by the day of their first receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FirstSeenKey {
    /// The kind of the sender.
    pub source: SourceKind,
    /// The day.
    pub day: Day,
    /// True if the installations are in bulk.
    pub bulk: bool,
}

/// A key of the rollup of events by day and version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventDayKey {
    /// The kind of the sender.
    pub source: SourceKind,
    /// The day.
    pub day: Day,
    /// The name of the kind of event.
    pub kind: &'static str,
    /// Kamaji's version.
    pub kamaji: KamajiVersion,
    /// The version of the control plane; of an update, the new one.
    pub tcp_version: KubernetesVersion,
}

/// Sums over installations. A young one weighs 50 control planes at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateSums {
    /// The number of installations.
    pub installations: i64,
    /// Their control planes whose API answers.
    pub running: i64,
    /// Their control planes that are scaled to zero.
    pub sleeping: i64,
    /// Their control planes that do not work, or do not work yet.
    pub not_ready: i64,
    /// Their control planes that change their version.
    pub upgrading: i64,
    /// Their control planes beyond their weight.
    pub left_out: i64,
}

/// Sums over the points of one dimension.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DimensionSums {
    /// The number of points.
    pub points: i64,
    /// The sum of their values.
    pub count: i64,
}

/// Changes of the rollups, to be added to the stored sums. A sum whose number of rows becomes zero is to be deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RollupChanges {
    /// Changes by the hour in which installations were last seen.
    pub latest: HashMap<LatestKey, StateSums>,
    /// Changes by dimension.
    pub dimensions: HashMap<DimensionKey, DimensionSums>,
    /// Changes by day.
    pub days: HashMap<DayKey, StateSums>,
    /// Changes of the numbers of installations by the day of their first receipt.
    pub first_seen: HashMap<FirstSeenKey, i64>,
    /// Changes of the numbers of events by hour.
    pub event_hours: HashMap<EventHourKey, i64>,
    /// Changes of the numbers of events by day and version.
    pub event_days: HashMap<EventDayKey, i64>,
}

impl Sign {
    const fn factor(self) -> i64 {
        match self {
            Self::Plus => 1,
            Self::Minus => -1,
        }
    }
}

impl StateSums {
    fn add(&mut self, counts: StateCounts, young: bool, sign: Sign) {
        let StateCounts { running, sleeping, not_ready, upgrading } = counts;
        let total = counts.total();
        let (mut left_out, factor) = (total.cast_signed(), sign.factor());
        let mut add = |sum: &mut i64, part| {
            let weight = weight(part, total, young).cast_signed();
            left_out -= weight;
            *sum += factor * weight;
        };
        add(&mut self.running, running);
        add(&mut self.sleeping, sleeping);
        add(&mut self.not_ready, not_ready);
        add(&mut self.upgrading, upgrading);
        self.left_out += factor * left_out;
        self.installations += factor;
    }
}

impl RollupChanges {
    /// Adds or removes the latest row of an installation.
    pub fn latest(&mut self, row: &LatestRow, sign: Sign) {
        let LatestRow { first_seen, confirmed: _, last_seen: hour, bulk, report } = row;
        let Report { counts, source, kamaji_version: kamaji, kubernetes_version: kubernetes, dimensions: _ } = report;
        let (source, standing, hour) = (source.kind(), row.standing(), *hour);
        let is_counted = standing == Standing::Confirmed;
        // No question asks for the versions of those that are in no figure, which strangers choose.
        let (kamaji, kubernetes) =
            if is_counted { (*kamaji, *kubernetes) } else { (KamajiVersion::Unknown, KubernetesVersion::Unknown) };
        let key = LatestKey { source, standing, hour, kamaji, kubernetes };
        self.latest.entry(key).or_default().add(*counts, row.is_young(), sign);
        let first_seen = FirstSeenKey { source, day: first_seen.day(), bulk: *bulk };
        *self.first_seen.entry(first_seen).or_default() += sign.factor();
        if is_counted {
            self.dimensions(row, sign);
        }
    }

    fn dimensions(&mut self, row: &LatestRow, sign: Sign) {
        let (source, dimensions) = (row.report.source.kind(), &row.report.dimensions);
        for (dimension, count) in dimensions {
            let of_metric = dimensions.iter().filter(|(other, _)| other.metric().name == dimension.metric().name);
            let total = of_metric.map(|(_, count)| u64::from(*count)).sum();
            let key = DimensionKey { source, hour: row.last_seen, dimension: dimension.clone() };
            let sums = self.dimensions.entry(key).or_default();
            sums.points += sign.factor();
            sums.count += sign.factor() * weight(*count, total, row.is_young()).cast_signed();
        }
    }

    /// Adds or removes the row of an installation's day.
    pub fn day(&mut self, day: Day, row: &DayRow, sign: Sign) {
        let DayRow { standing, young, report } = row;
        if *standing != Standing::Confirmed {
            return;
        }
        let versions = [Version::Kamaji(report.kamaji_version), Version::Kubernetes(report.kubernetes_version)]
            .map(Component::Version);
        for component in [Component::All].into_iter().chain(versions) {
            let key = DayKey { source: report.source.kind(), day, component };
            self.days.entry(key).or_default().add(report.counts, *young, sign);
        }
    }

    /// Adds or removes an event.
    pub fn event(&mut self, row: &EventRow, sign: Sign) {
        let EventRow { record, source, bulk } = row;
        let (source, hour) = (source.kind(), Hour::of(record.time));
        let EventKind { name: kind, .. } = record.event.kind();
        let tcp_version = match record.event {
            Event::Created { tcp_version, .. } | Event::Deleted { tcp_version, .. } => tcp_version,
            Event::Updated { new_tcp_version, .. } => new_tcp_version,
        };
        let by_day = EventDayKey { source, day: hour.day(), kind, kamaji: record.kamaji_version, tcp_version };
        *self.event_hours.entry(EventHourKey { source, hour, kind, bulk: *bulk }).or_default() += sign.factor();
        if !bulk {
            *self.event_days.entry(by_day).or_default() += sign.factor();
        }
    }

    /// Leaves out the sums that don't change.
    #[must_use]
    pub fn without_zeros(mut self) -> Self {
        retain_changes(&mut self.latest);
        retain_changes(&mut self.dimensions);
        retain_changes(&mut self.days);
        retain_changes(&mut self.first_seen);
        retain_changes(&mut self.event_hours);
        retain_changes(&mut self.event_days);
        self
    }
}

fn retain_changes<K: Eq + Hash, V: Default + PartialEq>(changes: &mut HashMap<K, V>) {
    changes.retain(|_, change| *change != V::default());
}
