//! Questions about the stored rows, and their answers. No I/O.

pub mod answer;
pub mod definitions;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use super::store::fold::LatestRow;
use super::store::{
    ActiveCounts, DayTotals, Dimension, EventRow, Hour, InstallationRow, KamajiTotals, MatchedInstallations,
    OverviewData, OverviewQuery, PseudonymKey, Report, Source, Totals, utc_day,
};
use crate::catalog::{Event, ExtendedAttributes, KamajiVersion, KubernetesVersion, NetworkProfile};

/// The maximum number of versions in a list; the rest is summed up. Ten are all that a maintainer supports.
const MAX_VERSIONS: usize = 10;

/// The maximum number of versions that are read: all that the store keeps apart in an hour.
const MAX_READ_VERSIONS: u32 = 256;

/// The version that is shown in place of one that too few installations report.
const OTHER: &str = "other";

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
    /// Installations that run any other: one that is not among the ten, or that fewer than three installations report.
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
    /// The version of its Kamaji; `other` if too few installations run it, or none in the last 24 hours.
    pub kamaji_version: String,
    /// The version of its management cluster, likewise.
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
    /// The version of Kamaji at that time; `other` if too few installations run it now.
    pub kamaji_version: String,
    /// The version of the management cluster at that time, likewise.
    pub kubernetes_version: String,
}

/// An installation in a list of all that match a filter, those outside of the figures included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedInstallation {
    /// The name by which readers know it: 16 hexadecimal digits of a keyed hash of its UUID.
    pub id: String,
    /// `agent` or `kamaji`.
    pub source: String,
    /// The hour of its first receipt.
    pub first_seen: Timestamp,
    /// The hour of its last receipt.
    pub last_seen: Timestamp,
    /// The hour in which it was confirmed; `None` if it is not.
    pub confirmed: Option<Timestamp>,
    /// True if it is beyond its sender's share, or too large.
    pub bulk: bool,
    /// Its control planes.
    pub control_planes: u64,
    /// The version of its Kamaji.
    pub kamaji_version: String,
    /// The version of its management cluster.
    pub kubernetes_version: String,
}

/// Installations that match a filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallationList {
    /// The number of all that match.
    pub matching: u64,
    /// Some of them, in no particular order.
    pub installations: Vec<ListedInstallation>,
}

impl InstallationList {
    /// Creates the list. `key` hides the UUIDs.
    pub fn new(MatchedInstallations { listed, matching }: MatchedInstallations, key: &PseudonymKey) -> Self {
        let installations = listed.into_iter().map(|row| ListedInstallation::new(row, key)).collect();
        Self { matching, installations }
    }
}

impl ListedInstallation {
    fn new(row: InstallationRow, key: &PseudonymKey) -> Self {
        let InstallationRow { uuid, latest: LatestRow { first_seen, confirmed, last_seen, bulk, report, .. } } = row;
        let source = if report.source == Source::Kamaji { "kamaji" } else { "agent" };
        Self {
            id: key.installation_id(uuid).to_string(),
            source: source.to_owned(),
            first_seen: first_seen.start(),
            last_seen: last_seen.start(),
            confirmed: confirmed.map(Hour::start),
            bulk,
            control_planes: report.counts.total(),
            kamaji_version: report.kamaji_version.to_string(),
            kubernetes_version: report.kubernetes_version.to_string(),
        }
    }
}

/// Returns the query whose answer [`overview`] needs. A version that fewer installations than `min_installations` report is
/// not shown by its name.
pub fn overview_query(now: Timestamp, min_installations: u64) -> OverviewQuery {
    OverviewQuery {
        now,
        versions: MAX_READ_VERSIONS,
        min_installations,
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
    let entry = |row| installation(row, key, &kamaji_versions, &kubernetes_versions);
    let installations = installations.into_iter().map(entry).collect();
    let event = |row: EventRow| EventEntry {
        kamaji_version: shown_version(&row.record.kamaji_version, &kamaji_versions),
        kubernetes_version: shown_version(&row.record.kubernetes_version, &kubernetes_versions),
        ..EventEntry::from(row)
    };
    let events = events.into_iter().map(event).collect();
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
        installations,
        events,
        days: every_day(&days, utc_day(now)),
        by_kamaji: kamaji,
    }
}

fn versions<V: ToString>(listed: &[(V, u64)], all: u64) -> TopVersions {
    let top = &listed[..listed.len().min(MAX_VERSIONS)];
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

/// Returns the version by its name if it is among `shown`.
fn shown_version<V: ToString + PartialEq>(version: &V, shown: &[(V, u64)]) -> String {
    if shown.iter().any(|(shown, _)| shown == version) { version.to_string() } else { OTHER.to_owned() }
}

fn installation(
    row: InstallationRow,
    key: &PseudonymKey,
    kamaji_versions: &[(KamajiVersion, u64)],
    kubernetes_versions: &[(KubernetesVersion, u64)],
) -> InstallationEntry {
    let InstallationRow { uuid, latest: LatestRow { first_seen, last_seen, report, .. } } = row;
    let Report { counts, source, kamaji_version, kubernetes_version, dimensions: _ } = report;
    InstallationEntry {
        id: key.installation_id(uuid).to_string(),
        first_seen: first_seen.start(),
        last_seen: last_seen.start(),
        running: counts.running,
        sleeping: counts.sleeping,
        not_ready: counts.not_ready,
        upgrading: counts.upgrading,
        kamaji_version: shown_version(&kamaji_version, kamaji_versions),
        kubernetes_version: shown_version(&kubernetes_version, kubernetes_versions),
        agent_version: match source {
            Source::Agent(version) => Some(version.to_string()),
            Source::Kamaji => None,
        },
    }
}

impl From<EventRow> for EventEntry {
    fn from(EventRow { record, source: _, bulk: _ }: EventRow) -> Self {
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
