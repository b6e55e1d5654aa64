//! What the store's rows tell. No I/O.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::store::{
    ActiveCounts, DayTotals, Dimension, EventRow, InstallationRow, KamajiTotals, OverviewData, OverviewQuery, Totals,
    utc_day,
};
use crate::catalog::{CreatedWith, Event, NetworkProfile};

/// The most versions that a list shows; the rest is summed up. Ten hold all that a maintainer supports.
const VERSIONS: u32 = 10;

/// The most values of an extended gauge that are summed: nothing is left out as long as the fleet has no more of them,
/// and one installation reports 64 at most.
const VALUES: u32 = 256;
/// The most installations and events that a list shows: what a reader scrolls through.
const LISTED: u32 = 25;
/// The days of history: a season, and wide enough to see a release spread.
const DAYS: u32 = 90;
/// The days of history that are shown however young the store is, so that a chart has a scale.
const MIN_DAYS: i32 = 30;

/// Everything that the front page shows. All but [`Overview::by_kamaji`] is of this project's agents alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// When it was read.
    pub generated_at: Timestamp,
    /// Installations by when they were last seen.
    pub seen: ActiveWindows,
    /// Installations seen in the last 24 hours, and what they run.
    pub current: CurrentFleet,
    /// Installations, most recently seen first; 25 at most.
    pub installations: Vec<InstallationEntry>,
    /// Events, newest first; 25 at most. These count events, not installations.
    pub events: Vec<EventEntry>,
    /// A row for each of the last UTC days, oldest first, today last: 30 to 90, as far back as there is data.
    pub days: Vec<DayTotals>,
    /// What the telemetry says that Kamaji has built in, never added to the rest: an installation may run both.
    pub by_kamaji: KamajiTotals,
}

/// Installations by when they were last seen, the shorter windows within the longer ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveWindows {
    /// In the last 24 hours.
    pub day: ActiveCounts,
    /// In the last 7 times 24 hours.
    pub week: ActiveCounts,
    /// In the last 30 times 24 hours.
    pub month: ActiveCounts,
}

/// What the installations run that were seen in the last 24 hours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrentFleet {
    /// How many they are.
    pub installations: u64,
    /// Their control planes by state.
    pub control_planes: Totals,
    /// Installations by Kamaji's version.
    pub kamaji_versions: TopVersions,
    /// Installations by the version of the management cluster.
    pub kubernetes_versions: TopVersions,
    /// Sums of the extended gauges, largest first within a gauge. Empty where nobody turned them on.
    pub extended: Vec<ExtendedSum>,
}

/// Installations by version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopVersions {
    /// The ten most used, most used first.
    pub top: Vec<VersionShare>,
    /// Installations that run any other.
    pub others: u64,
}

/// Installations that run one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionShare {
    /// The version in its canonical form, or `unknown`.
    pub version: String,
    /// How many run it.
    pub installations: u64,
}

/// One value of an extended gauge, summed over installations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtendedSum {
    /// The gauge's name in the catalog.
    pub metric: String,
    /// The value of the attribute that is its own.
    pub value: String,
    /// The sum.
    pub count: u64,
}

/// The latest state of one installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallationEntry {
    /// Its random UUID.
    pub uuid: Uuid,
    /// The first UTC day on which it was seen.
    pub first_day: Date,
    /// When its latest state was measured.
    pub last_seen: Timestamp,
    /// Control planes whose API answers.
    pub running: u32,
    /// Control planes scaled to zero.
    pub sleeping: u32,
    /// Control planes that do not work, or not yet.
    pub not_ready: u32,
    /// Control planes that change their version.
    pub upgrading: u32,
    /// The version of its Kamaji.
    pub kamaji_version: String,
    /// The version of its management cluster.
    pub kubernetes_version: String,
    /// The version of its agent.
    pub agent_version: String,
}

/// One event. The attributes are those of its kind; others are absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventEntry {
    /// The beginning of the hour in which it happened.
    pub time: Timestamp,
    /// Its name in the catalog.
    pub name: String,
    /// Of created and deleted: the desired version of the control plane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_version: Option<String>,
    /// Of updated: the version before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_tcp_version: Option<String>,
    /// Of updated: the version after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_tcp_version: Option<String>,
    /// Of deleted: the last status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Of created, extended: whether it was made through Cluster API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_api: Option<bool>,
    /// Of created, extended: how it is exposed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_profile: Option<String>,
    /// The version of Kamaji at that time.
    pub kamaji_version: String,
    /// The version of the management cluster at that time.
    pub kubernetes_version: String,
}

/// What [`overview`] needs of the store.
pub fn overview_query(now: Timestamp) -> OverviewQuery {
    OverviewQuery { now, versions: VERSIONS, dimensions: VALUES, installations: LISTED, events: LISTED, days: DAYS }
}

/// Makes the overview of what the store answered to [`overview_query`] with the same `now`.
pub fn overview(facts: OverviewData, now: Timestamp) -> Overview {
    let OverviewData {
        day,
        week,
        month,
        control_planes,
        kamaji_versions,
        kubernetes_versions,
        dimensions,
        installations,
        events,
        days,
        kamaji,
    } = facts;
    let current = day.total();
    Overview {
        generated_at: now,
        seen: ActiveWindows { day, week, month },
        current: CurrentFleet {
            installations: current,
            control_planes,
            kamaji_versions: versions(&kamaji_versions, current),
            kubernetes_versions: versions(&kubernetes_versions, current),
            extended: dimensions.into_iter().map(Into::into).collect(),
        },
        installations: installations.into_iter().map(Into::into).collect(),
        events: events.into_iter().map(Into::into).collect(),
        days: every_day(&days, utc_day(now)),
        by_kamaji: kamaji,
    }
}

fn versions<V: ToString>(top: &[(V, u64)], all: u64) -> TopVersions {
    let share = |(version, installations): &(V, u64)| VersionShare {
        version: version.to_string(),
        installations: *installations,
    };
    let listed: u64 = top.iter().map(|(_, installations)| installations).sum();
    TopVersions { top: top.iter().map(share).collect(), others: all.saturating_sub(listed) }
}

/// A row for each day up to `today`, zero where there is none; what clocks ahead of ours sent for tomorrow waits.
fn every_day(days: &[DayTotals], today: Date) -> Vec<DayTotals> {
    let youngest = today.saturating_sub((MIN_DAYS - 1).days());
    let first = days.first().map_or(youngest, |first| first.day.min(youngest));
    let rows = first.series(1.day()).take_while(|day| *day <= today).map(|day| {
        let none = DayTotals { day, installations: 0, control_planes: Totals::default() };
        days.iter().find(|row| row.day == day).copied().unwrap_or(none)
    });
    rows.collect()
}

impl From<(Dimension, u64)> for ExtendedSum {
    fn from((dimension, count): (Dimension, u64)) -> Self {
        Self { metric: dimension.metric().name.to_owned(), value: dimension.value().to_owned(), count }
    }
}

impl From<InstallationRow> for InstallationEntry {
    fn from(row: InstallationRow) -> Self {
        let InstallationRow { uuid, first_day, last_seen, counts, agent_version, kamaji_version, kubernetes_version } =
            row;
        Self {
            uuid,
            first_day,
            last_seen,
            running: counts.running,
            sleeping: counts.sleeping,
            not_ready: counts.not_ready,
            upgrading: counts.upgrading,
            kamaji_version: kamaji_version.to_string(),
            kubernetes_version: kubernetes_version.to_string(),
            agent_version: agent_version.to_string(),
        }
    }
}

impl From<EventRow> for EventEntry {
    fn from(EventRow { record, source: _ }: EventRow) -> Self {
        let entry = Self {
            time: record.time,
            name: record.event.kind().name.to_owned(),
            kamaji_version: record.kamaji_version.to_string(),
            kubernetes_version: record.kubernetes_version.to_string(),
            ..Self::default()
        };
        match record.event {
            Event::Created { tcp_version, with } => entry.created(tcp_version.to_string(), with),
            Event::Updated { old_tcp_version, new_tcp_version } => Self {
                old_tcp_version: Some(old_tcp_version.to_string()),
                new_tcp_version: Some(new_tcp_version.to_string()),
                ..entry
            },
            Event::Deleted { status, tcp_version } => {
                Self { status: Some(status.to_string()), tcp_version: Some(tcp_version.to_string()), ..entry }
            }
        }
    }
}

impl EventEntry {
    fn created(self, tcp_version: String, with: Option<CreatedWith>) -> Self {
        let profile = with.and_then(|with| with.network_profile).map(NetworkProfile::as_str);
        Self {
            tcp_version: Some(tcp_version),
            cluster_api: with.map(|with| with.cluster_api),
            network_profile: profile.map(str::to_owned),
            ..self
        }
    }
}
