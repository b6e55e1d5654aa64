//! The overview of the stored rows, as the page and the API show it. No I/O.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use super::store::{
    ActiveCounts, DayTotals, Dimension, EventRow, InstallationRow, KamajiTotals, OverviewData, OverviewQuery,
    PseudonymKey, Report, Source, Totals, utc_day,
};
use crate::catalog::{Event, ExtendedAttributes, NetworkProfile};

/// The maximum number of versions in a list; the rest is summed up. Ten are all that a maintainer supports.
const MAX_VERSIONS: u32 = 10;

/// The maximum number of values of an extended gauge. One installation reports 16 at most. Nothing is left out unless
/// the whole fleet has more values than this.
const MAX_DIMENSIONS: u32 = 256;

/// The maximum number of installations and events in a list: as many as fit on one page.
const MAX_LISTED: u32 = 25;

/// The maximum number of days of history: long enough to see a release spread.
const MAX_DAYS: u32 = 90;

/// The minimum number of days of history, also of a young store, so that a chart has a scale.
const MIN_DAYS: i32 = 30;

/// The data of the front page. All but [`Overview::by_kamaji`] comes from this project's agents alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// The time at which the store was read.
    pub generated_at: Timestamp,
    /// Installations by the window in which they were last received.
    pub seen: ActiveWindows,
    /// Installations that are active in the last 24 hours, and what they run.
    pub current: CurrentFleet,
    /// Confirmed installations, most recently seen first; 25 at most.
    pub installations: Vec<InstallationEntry>,
    /// Events, newest first; 25 at most. These count events, not installations.
    pub events: Vec<EventEntry>,
    /// The last 30 to 90 UTC days, as far back as there is data: oldest first, today last, none left out.
    pub days: Vec<DayTotals>,
    /// The totals of Kamaji's built-in telemetry, never added to the rest: an installation may run both.
    pub by_kamaji: KamajiTotals,
}

/// Installations by the window in which they were last received. A longer window includes the shorter ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveWindows {
    /// The last 24 hours.
    pub day: ActiveCounts,
    /// The last 7 times 24 hours.
    pub week: ActiveCounts,
    /// The last 30 times 24 hours.
    pub month: ActiveCounts,
}

/// The installations that are active in the last 24 hours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrentFleet {
    /// Their number.
    pub installations: u64,
    /// Their control planes by state.
    pub control_planes: Totals,
    /// Installations by Kamaji's version.
    pub kamaji_versions: TopVersions,
    /// Installations by the version of the management cluster.
    pub kubernetes_versions: TopVersions,
    /// Sums of the extended gauges, largest first within a gauge. Empty if no operator turned them on.
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
    /// The number of installations that run it.
    pub installations: u64,
}

/// A value of an extended gauge, summed over installations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtendedSum {
    /// The gauge's name in the catalog.
    pub metric: String,
    /// The value of the gauge's own attribute.
    pub value: String,
    /// The sum.
    pub count: u64,
}

/// A confirmed installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallationEntry {
    /// The name by which readers know it: 16 hexadecimal digits of a keyed hash of its UUID.
    pub id: String,
    /// The hour of its first receipt.
    pub first_seen: Timestamp,
    /// The hour of its last receipt.
    pub last_seen: Timestamp,
    /// Control planes whose API answers.
    pub running: u32,
    /// Control planes scaled to zero.
    pub sleeping: u32,
    /// Control planes that do not work, or do not work yet.
    pub not_ready: u32,
    /// Control planes that change their version.
    pub upgrading: u32,
    /// The version of its Kamaji.
    pub kamaji_version: String,
    /// The version of its management cluster.
    pub kubernetes_version: String,
    /// The version of its agent.
    pub agent_version: Option<String>,
}

/// An event. Attributes of other kinds are absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventEntry {
    /// The beginning of the hour in which it happened.
    pub time: Timestamp,
    /// Its name in the catalog.
    pub name: String,
    /// The desired version of the control plane (created, deleted).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_version: Option<String>,
    /// The version before (updated).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_tcp_version: Option<String>,
    /// The version after (updated).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_tcp_version: Option<String>,
    /// The last status (deleted).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The use of Cluster API to create it (created, extended).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_api: Option<bool>,
    /// The way in which it is exposed (created, extended).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_profile: Option<String>,
    /// The version of Kamaji at that time.
    pub kamaji_version: String,
    /// The version of the management cluster at that time.
    pub kubernetes_version: String,
}

/// Returns the query whose answer [`overview`] needs.
pub fn overview_query(now: Timestamp) -> OverviewQuery {
    OverviewQuery {
        now,
        versions: MAX_VERSIONS,
        dimensions: MAX_DIMENSIONS,
        installations: MAX_LISTED,
        events: MAX_LISTED,
        days: MAX_DAYS,
    }
}

/// Creates the overview from the answer to [`overview_query`] with the same `now`. `key` hides the UUIDs.
pub fn overview(data: OverviewData, key: &PseudonymKey, now: Timestamp) -> Overview {
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
    } = data;
    let current = day.active;
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
        installations: installations.into_iter().map(|row| installation(row, key)).collect(),
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

/// Returns a row for each day up to `today`, with zeros for a day without data. A row of tomorrow, from a sender whose
/// clock is ahead, is left out.
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

fn installation(row: InstallationRow, key: &PseudonymKey) -> InstallationEntry {
    let InstallationRow { uuid, first_seen, last_seen, report } = row;
    let Report { counts, source, kamaji_version, kubernetes_version, dimensions: _ } = report;
    InstallationEntry {
        id: key.installation_id(uuid).to_string(),
        first_seen: first_seen.start(),
        last_seen: last_seen.start(),
        running: counts.running,
        sleeping: counts.sleeping,
        not_ready: counts.not_ready,
        upgrading: counts.upgrading,
        kamaji_version: kamaji_version.to_string(),
        kubernetes_version: kubernetes_version.to_string(),
        agent_version: match source {
            Source::Agent(version) => Some(version.to_string()),
            Source::Kamaji => None,
        },
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
            Event::Created { tcp_version, extended } => entry.created(tcp_version.to_string(), extended),
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
    fn created(self, tcp_version: String, extended: Option<ExtendedAttributes>) -> Self {
        let profile = extended.and_then(|extended| extended.network_profile).map(NetworkProfile::as_str);
        Self {
            tcp_version: Some(tcp_version),
            cluster_api: extended.map(|extended| extended.cluster_api),
            network_profile: profile.map(str::to_owned),
            ..self
        }
    }
}
