//! Facts: sums over the rows of a store, from which questions are answered.
//!
//! An installation is counted by its row of a UTC day, which is its last report of that day, with the standing that it had by
//! then. It is *active* in a window if its last row within the window is confirmed. Facts of a window are as of its last day:
//! what is received later does not change them.

use super::Totals;
use super::fold::{DimensionPart, EventAspect, EventChange, SizeClass, Standing};
use super::hour::{Day, Hour};
use super::rows::{AgentVersion, SourceKind};
use crate::catalog::{KamajiVersion, KubernetesMinor, KubernetesVersion};

/// A query for [`Facts`]: one source, the last day, and for each kind of fact the first day or week. A kind without one is not
/// read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FactsQuery {
    /// The kind of the senders.
    pub source: SourceKind,
    /// The last day, which is complete.
    pub through: Day,
    /// The first day of [`Facts::days`].
    pub days: Option<Day>,
    /// The first day of [`Facts::kamaji_days`].
    pub kamaji_days: Option<Day>,
    /// The first day of [`Facts::kubernetes_days`].
    pub kubernetes_days: Option<Day>,
    /// The first day of [`Facts::agent_days`].
    pub agent_days: Option<Day>,
    /// The first day of the window of [`Facts::pairs`].
    pub pairs: Option<Day>,
    /// The first day of the window of [`Facts::conditions`].
    pub conditions: Option<Day>,
    /// The first day of the window of [`Facts::dimensions`].
    pub dimensions: Option<Day>,
    /// The first day of [`Facts::first_seen`].
    pub first_seen: Option<Day>,
    /// The first day of [`Facts::last_seen`].
    pub last_seen: Option<Day>,
    /// The first day of [`Facts::event_days`].
    pub event_days: Option<Day>,
    /// The first day of [`Facts::event_weeks`], of which the week is the first.
    pub event_weeks: Option<Day>,
    /// The first day of [`Facts::refusals`] and [`Facts::served_hours`].
    pub operations: Option<Day>,
}

/// Facts about one source, from one consistent state of a store. No list has an order unless it says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The first day with an active installation; `None` if there is none.
    pub first_day: Option<Day>,
    /// Installations by day, up to the last day and the day after it, which is not over. In the order of the days.
    pub days: Vec<DayFact>,
    /// Installations by day and version of Kamaji, in the order of the days; also of the day after the last.
    pub kamaji_days: Vec<VersionFact<KamajiVersion>>,
    /// Installations by day and version of the management cluster, likewise.
    pub kubernetes_days: Vec<VersionFact<KubernetesVersion>>,
    /// Installations by day and version of the agent, likewise.
    pub agent_days: Vec<VersionFact<AgentVersion>>,
    /// Active installations of a window by their pair of versions.
    pub pairs: Vec<PairFact>,
    /// Active installations of a window by version, size and trouble.
    pub conditions: Vec<ConditionFact>,
    /// Active installations of a window by the points of their extended gauges.
    pub dimensions: Vec<DimensionFact>,
    /// Installations by the day of their first receipt, up to the moment of the reading. In the order of the days.
    pub first_seen: Vec<SeenFact>,
    /// Installations by the day of their last receipt, up to the moment of the reading. In the order of the days.
    pub last_seen: Vec<SeenFact>,
    /// Events by day, in the order of the days, up to the moment of the reading.
    pub event_days: Vec<EventDayFact>,
    /// Events by week, in the order of the weeks, up to the moment of the reading.
    pub event_weeks: Vec<EventWeekFact>,
    /// Refused records by day, in the order of the days. They have no source.
    pub refusals: Vec<RefusalFact>,
    /// The hours in which the backend served, in their order, up to the moment of the reading. The first is the last one before
    /// those that were asked for, if there is any: what is between the two is known as well.
    pub served_hours: Vec<ServedHour>,
}

/// Active installations of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayFact {
    /// The day.
    pub day: Day,
    /// Their number.
    pub installations: u64,
    /// Their control planes.
    pub control_planes: Totals,
    /// Their weight by control planes.
    pub weight: u64,
}

/// Active installations of a day that run one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionFact<V> {
    /// The day.
    pub day: Day,
    /// The version.
    pub version: V,
    /// Their number.
    pub installations: u64,
    /// Their control planes, with those that are left out.
    pub control_planes: u64,
    /// Their weight by control planes.
    pub weight: u64,
}

/// Active installations of a window that run one pair of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairFact {
    /// The version of Kamaji.
    pub kamaji: KamajiVersion,
    /// The version of the management cluster.
    pub kubernetes: KubernetesVersion,
    /// Their number.
    pub installations: u64,
    /// Their control planes. Those of a young one are 50 at most.
    pub control_planes: u64,
    /// Their weight by control planes.
    pub weight: u64,
}

/// Active installations of a window of one version and size, in one condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConditionFact {
    /// The version of Kamaji.
    pub kamaji: KamajiVersion,
    /// The size.
    pub size: SizeClass,
    /// True if a control plane was not ready in the last two rows, of two days running.
    pub stuck: bool,
    /// True if a control plane was upgrading in the last two rows, of two days running.
    pub upgrading_long: bool,
    /// Their number.
    pub installations: u64,
    /// Their weight by control planes.
    pub weight: u64,
}

/// Active installations of a window that report one point of an extended gauge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DimensionFact {
    /// The gauge, or one value of it.
    pub part: DimensionPart,
    /// Their number.
    pub installations: u64,
    /// The sum of the point over them.
    pub count: u64,
}

/// Installations that were received first, or last, on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenFact {
    /// The day.
    pub day: Day,
    /// Their standing at the moment of the reading.
    pub standing: Standing,
    /// Their number.
    pub installations: u64,
}

/// Events of one day. Those beyond their senders' shares are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventDayFact {
    /// The day.
    pub day: Day,
    /// The kind of change.
    pub change: EventChange,
    /// The minor version of the control planes; of an update, the new one.
    pub minor: KubernetesMinor,
    /// Their number.
    pub events: u64,
}

/// Events of one ISO week. Those beyond their senders' shares are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventWeekFact {
    /// The Monday of the week.
    pub week: Day,
    /// The aspect by which they are counted. An event has several.
    pub aspect: EventAspect,
    /// Their number.
    pub events: u64,
}

/// Records that were refused on one day for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalFact {
    /// The day.
    pub day: Day,
    /// The reason: the label of a rejected record in the metrics, or of a request that was refused as a whole.
    pub reason: String,
    /// The number of points, events and whole requests. What was sent again was counted again.
    pub records: u64,
}

/// An hour in which the backend served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServedHour {
    /// The hour.
    pub hour: Hour,
    /// The number of its minutes in which it served, 60 at most.
    pub minutes: u32,
}

impl FactsQuery {
    /// Creates a query of no facts about a source, up to a day.
    pub const fn new(source: SourceKind, through: Day) -> Self {
        Self {
            source,
            through,
            days: None,
            kamaji_days: None,
            kubernetes_days: None,
            agent_days: None,
            pairs: None,
            conditions: None,
            dimensions: None,
            first_seen: None,
            last_seen: None,
            event_days: None,
            event_weeks: None,
            operations: None,
        }
    }
}
