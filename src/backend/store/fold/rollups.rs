//! The rollups: sums over rows, so that no question reads all rows. Here they are changes of sums, which a store adds to
//! those that it holds.

use std::collections::HashMap;
use std::hash::Hash;

use super::size::SizeClass;
use super::weight::{capped, weight};
use super::{DayRow, LatestRow, Standing, Trouble};
use crate::backend::store::hour::{Day, Hour};
use crate::backend::store::rows::{AgentVersion, Dimension, EventRow, Report, Source, SourceKind, StateCounts};
use crate::catalog::{
    Event, EventKind, KamajiMinor, KamajiVersion, KubernetesMinor, KubernetesVersion, Metric, NetworkProfile, Status,
};

/// The days for which an installation is known when it is established: those after which it weighs what it has.
pub const ESTABLISHED_DAYS: i32 = super::YOUNG_DAYS;

/// The direction of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// A row is added.
    Plus,
    /// A row is removed.
    Minus,
}

/// A key of the rollup of days of confirmed installations.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DayKey {
    /// The kind of the sender.
    pub source: SourceKind,
    /// The day.
    pub day: Day,
    /// The part of the rows that is summed up.
    pub part: DayPart,
}

/// A part of the rows of a day.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DayPart {
    /// All rows of the day.
    All,
    /// Those of one version of Kamaji.
    Kamaji(KamajiVersion),
    /// Those of one version of the management cluster.
    Kubernetes(KubernetesVersion),
    /// Those of one version of the agent.
    Agent(AgentVersion),
}

/// The days of a confirmed installation's row: its own, and that of the next row.
///
/// As of a day, an installation is counted by the last row until then: the row whose own day is not later, and whose next
/// day is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowDays {
    /// The kind of the sender.
    pub source: SourceKind,
    /// The day of the row.
    pub day: Day,
    /// The day of the next row; `None` if there is none.
    pub next: Option<Day>,
}

/// A key of the rollup of confirmed installations by their pair of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PairKey {
    /// The days of the rows.
    pub days: RowDays,
    /// The version of Kamaji.
    pub kamaji: KamajiVersion,
    /// The version of the management cluster.
    pub kubernetes: KubernetesVersion,
    /// True if the first receipt was 28 days before the Monday of the day's week, or earlier.
    pub established: bool,
}

/// A key of the rollup of confirmed installations by their condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConditionKey {
    /// The days of the rows.
    pub days: RowDays,
    /// The version of Kamaji.
    pub kamaji: KamajiVersion,
    /// The size.
    pub size: SizeClass,
    /// The trouble.
    pub trouble: Trouble,
    /// True if the first receipt was 28 days before the Monday of the day's week, or earlier.
    pub established: bool,
}

/// A key of the rollup of confirmed installations by the points of their extended gauges.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DimensionKey {
    /// The days of the rows.
    pub days: RowDays,
    /// The gauge, or one value of it.
    pub part: DimensionPart,
}

/// A part of the points of an extended gauge.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DimensionPart {
    /// All points of a gauge.
    Metric(&'static Metric),
    /// The points of one value.
    Value(Dimension),
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

/// A key of the rollups of installations by the day of their first, or last, receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SeenKey {
    /// The kind of the sender.
    pub source: SourceKind,
    /// The standing.
    pub standing: Standing,
    /// The day.
    pub day: Day,
}

/// A key of the rollup of events by day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventDayKey {
    /// The kind of the sender.
    pub source: SourceKind,
    /// The day.
    pub day: Day,
    /// The kind of change.
    pub change: EventChange,
    /// The minor version of the control plane; of an update, the new one.
    pub minor: KubernetesMinor,
}

/// A key of the rollup of events by week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventWeekKey {
    /// The kind of the sender.
    pub source: SourceKind,
    /// The Monday of the week.
    pub week: Day,
    /// The aspect.
    pub aspect: EventAspect,
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

/// Sums over the installations of a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DaySums {
    /// Their states.
    pub states: StateSums,
    /// Their weight by control planes.
    pub weight: i64,
}

/// Sums over active installations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ActiveSums {
    /// The number of installations.
    pub installations: i64,
    /// Their control planes. Those of a young one are 50 at most.
    pub control_planes: i64,
    /// Their weight by control planes.
    pub weight: i64,
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
    /// Changes by day.
    pub days: HashMap<DayKey, DaySums>,
    /// Changes by pair of versions.
    pub pairs: HashMap<PairKey, ActiveSums>,
    /// Changes by condition.
    pub conditions: HashMap<ConditionKey, ActiveSums>,
    /// Changes by the points of extended gauges.
    pub dimensions: HashMap<DimensionKey, DimensionSums>,
    /// Changes of the numbers of installations by the day of their first receipt.
    pub first_seen: HashMap<SeenKey, i64>,
    /// Changes of the numbers of installations by the day of their last receipt.
    pub last_seen: HashMap<SeenKey, i64>,
    /// Changes of the numbers of events by hour.
    pub event_hours: HashMap<EventHourKey, i64>,
    /// Changes of the numbers of events by day.
    pub event_days: HashMap<EventDayKey, i64>,
    /// Changes of the numbers of events by week.
    pub event_weeks: HashMap<EventWeekKey, i64>,
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

impl ActiveSums {
    fn add(&mut self, counts: StateCounts, young: bool, sign: Sign) {
        let (total, factor) = (counts.total(), sign.factor());
        let bound = if young { super::MAX_YOUNG_CONTROL_PLANES } else { u64::MAX };
        self.installations += factor;
        self.control_planes += factor * total.min(bound).cast_signed();
        self.weight += factor * capped(total, young).cast_signed();
    }
}

impl RollupChanges {
    /// Adds or removes the latest row of an installation.
    pub fn latest(&mut self, row: &LatestRow, sign: Sign) {
        let (source, standing) = (row.report.source.kind(), row.standing());
        for (rollup, hour) in [(&mut self.first_seen, row.first_seen), (&mut self.last_seen, row.last_seen)] {
            *rollup.entry(SeenKey { source, standing, day: hour.day() }).or_default() += sign.factor();
        }
    }

    /// Adds or removes the rows of an installation's last days, in their order.
    pub fn chain<'a>(&mut self, first_seen: Hour, rows: impl Iterator<Item = (Day, &'a DayRow)>, sign: Sign) {
        let mut rows = rows.peekable();
        while let Some((day, row)) = rows.next() {
            let next = rows.peek().map(|(next, _)| *next);
            self.day(first_seen, day, row, next, sign);
        }
    }

    /// Moves an installation from `before` to `after`, whose first receipt is earlier. `days` are all its days. Returns the row of
    /// its last day, which it changes.
    pub fn first_seen_moved(&mut self, before: &LatestRow, after: &LatestRow, days: &[(Day, DayRow)]) -> (Day, DayRow) {
        self.latest(before, Sign::Minus);
        self.latest(after, Sign::Plus);
        let stored = || days.iter().map(|(day, row)| (*day, row));
        self.chain(before.first_seen, stored(), Sign::Minus);
        let (last, row) = after.day_row();
        let earlier = stored().filter(|(day, _)| *day < last);
        self.chain(after.first_seen, earlier.chain([(last, &row)]), Sign::Plus);
        (last, row)
    }

    /// Adds or removes the row of an installation's day, whose next row is of the day `next`.
    pub fn day(&mut self, first_seen: Hour, day: Day, row: &DayRow, next: Option<Day>, sign: Sign) {
        let DayRow { standing, young, trouble, report } = row;
        if *standing != Standing::Confirmed {
            return;
        }
        let Report { counts, source, kamaji_version: kamaji, kubernetes_version: kubernetes, dimensions } = report;
        let (kamaji, kubernetes) = (*kamaji, *kubernetes);
        self.day_parts(day, row, sign);
        let days = RowDays { source: source.kind(), day, next };
        let established = first_seen.day() <= day.monday().minus(ESTABLISHED_DAYS);
        let pair = PairKey { days, kamaji, kubernetes, established };
        self.pairs.entry(pair).or_default().add(*counts, *young, sign);
        let condition =
            ConditionKey { days, kamaji, size: SizeClass::of(counts.total()), trouble: *trouble, established };
        self.conditions.entry(condition).or_default().add(*counts, *young, sign);
        self.points(days, dimensions, *young, sign);
    }

    fn day_parts(&mut self, day: Day, row: &DayRow, sign: Sign) {
        let Report { counts, source, kamaji_version, kubernetes_version, .. } = &row.report;
        let agent = match source {
            Source::Agent(version) => Some(DayPart::Agent(version.clone())),
            Source::Kamaji => None,
        };
        let versions = [DayPart::Kamaji(*kamaji_version), DayPart::Kubernetes(*kubernetes_version)];
        for part in [DayPart::All].into_iter().chain(versions).chain(agent) {
            let sums = self.days.entry(DayKey { source: source.kind(), day, part }).or_default();
            sums.states.add(*counts, row.young, sign);
            sums.weight += sign.factor() * capped(counts.total(), row.young).cast_signed();
        }
    }

    fn points(&mut self, days: RowDays, dimensions: &[(Dimension, u32)], young: bool, sign: Sign) {
        let mut add = |part, installations: i64, count: u64| {
            let sums = self.dimensions.entry(DimensionKey { days, part }).or_default();
            sums.points += sign.factor() * installations;
            sums.count += sign.factor() * count.cast_signed();
        };
        for (position, (dimension, count)) in dimensions.iter().enumerate() {
            let is_of_metric = |other: &Dimension| other.metric().name == dimension.metric().name;
            let of_metric = dimensions.iter().filter(|(other, _)| is_of_metric(other));
            let total = of_metric.map(|(_, count)| u64::from(*count)).sum();
            let weight = weight(*count, total, young);
            add(DimensionPart::Value(dimension.clone()), 1, weight);
            // An installation that tells of a gauge is counted once.
            let is_first = !dimensions[..position].iter().any(|(other, _)| is_of_metric(other));
            add(DimensionPart::Metric(dimension.metric()), i64::from(is_first), weight);
        }
    }

    /// Adds so many events that are alike but for their uids, or removes them if the number is negative.
    pub fn events(&mut self, row: &EventRow, number: i64) {
        let EventRow { record, source, bulk } = row;
        let (source, hour, kamaji) = (source.kind(), Hour::of(record.time), record.kamaji_version);
        let EventKind { name: kind, .. } = record.event.kind();
        *self.event_hours.entry(EventHourKey { source, hour, kind, bulk: *bulk }).or_default() += number;
        if *bulk {
            return;
        }
        let (day, (change, minor)) = (hour.day(), change(record.event));
        *self.event_days.entry(EventDayKey { source, day, change, minor }).or_default() += number;
        for aspect in aspects(kamaji, record.event) {
            let key = EventWeekKey { source, week: day.monday(), aspect };
            *self.event_weeks.entry(key).or_default() += number;
        }
    }

    /// Leaves out the sums that don't change.
    #[must_use]
    pub fn without_zeros(mut self) -> Self {
        retain_changes(&mut self.days);
        retain_changes(&mut self.pairs);
        retain_changes(&mut self.conditions);
        retain_changes(&mut self.dimensions);
        retain_changes(&mut self.first_seen);
        retain_changes(&mut self.last_seen);
        retain_changes(&mut self.event_hours);
        retain_changes(&mut self.event_days);
        retain_changes(&mut self.event_weeks);
        self
    }
}

/// Returns the kind of change that an event tells, and the minor version of its control plane.
fn change(event: Event) -> (EventChange, KubernetesMinor) {
    match event {
        Event::Created { tcp_version, .. } => (EventChange::Created, tcp_version.to_minor()),
        Event::Deleted { tcp_version, .. } => (EventChange::Deleted, tcp_version.to_minor()),
        Event::Updated { old_tcp_version, new_tcp_version } => {
            let is_patch = is_patch(old_tcp_version, new_tcp_version);
            let change = if is_patch { EventChange::PatchUpdated } else { EventChange::MinorUpdated };
            (change, new_tcp_version.to_minor())
        }
    }
}

/// Returns whether both versions are known, and of one minor.
fn is_patch(old: KubernetesVersion, new: KubernetesVersion) -> bool {
    matches!(old, KubernetesVersion::Release(_)) && old.to_minor() == new.to_minor()
}

fn aspects(kamaji: KamajiVersion, event: Event) -> Vec<EventAspect> {
    match event {
        Event::Created { tcp_version, extended } => {
            let created = EventAspect::Created { kamaji: kamaji.to_minor(), minor: tcp_version.to_minor() };
            let cluster_api = EventAspect::ClusterApi(extended.map(|extended| extended.cluster_api));
            let profile = extended.and_then(|extended| extended.network_profile).map(EventAspect::NetworkProfile);
            [created, cluster_api].into_iter().chain(profile).collect()
        }
        Event::Updated { old_tcp_version: old, new_tcp_version: new } if is_patch(old, new) => {
            vec![EventAspect::PatchUpdate { kamaji, is_downgrade: new < old }]
        }
        Event::Updated { old_tcp_version: old, new_tcp_version: new } => {
            let (from, to) = (old.to_minor(), new.to_minor());
            vec![EventAspect::MinorUpdate { from, to }, EventAspect::Reached { kamaji: kamaji.to_minor(), minor: to }]
        }
        Event::Deleted { status, .. } => vec![EventAspect::Deletion { kamaji, status }],
    }
}

fn retain_changes<K: Eq + Hash, V: Default + PartialEq>(changes: &mut HashMap<K, V>) {
    changes.retain(|_, change| *change != V::default());
}

/// A change of a control plane that an event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventChange {
    /// It was created.
    Created,
    /// Its version changed to one of another minor.
    MinorUpdated,
    /// Its version changed within its minor.
    PatchUpdated,
    /// It was deleted.
    Deleted,
}

/// An aspect by which the events of a week are counted. An event has one or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventAspect {
    /// The minor version with which a control plane was created.
    Created {
        /// The minor of the Kamaji that created it.
        kamaji: KamajiMinor,
        /// The minor of the control plane.
        minor: KubernetesMinor,
    },
    /// The minor version that a control plane reached from another one.
    Reached {
        /// The minor of its Kamaji.
        kamaji: KamajiMinor,
        /// The new minor of the control plane.
        minor: KubernetesMinor,
    },
    /// A change from one minor version to another, or from or to a version that is not known.
    MinorUpdate {
        /// The minor before.
        from: KubernetesMinor,
        /// The minor after.
        to: KubernetesMinor,
    },
    /// A change within a minor version.
    PatchUpdate {
        /// The version of Kamaji.
        kamaji: KamajiVersion,
        /// True if the version after is the older one.
        is_downgrade: bool,
    },
    /// The last status of a control plane that was deleted.
    Deletion {
        /// The version of Kamaji.
        kamaji: KamajiVersion,
        /// The status.
        status: Status,
    },
    /// The use of Cluster API to create a control plane; `None` if that is not told.
    ClusterApi(Option<bool>),
    /// The network profile of a control plane that was created, where it is told.
    NetworkProfile(NetworkProfile),
}
