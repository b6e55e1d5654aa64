//! Filters, by which an operator looks at rows and erases them. No I/O.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;
use uuid::Uuid;

use super::fold::LatestRow;
use super::hour::{Day, Hour};
use super::pseudonym::{InstallationId, PseudonymKey};
use super::rows::{EventRow, OTHER};
use crate::catalog::{InvalidVersion, KamajiVersion, KubernetesVersion};

/// A bound of time in a filter: the hour of a timestamp, or the first one of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterTime(pub Hour);

/// A text that is not a [`FilterTime`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no time: expected a UTC date such as 2026-11-24, or a time such as 2026-11-24T12:00:00Z")]
pub struct InvalidFilterTime;

impl FromStr for FilterTime {
    type Err = InvalidFilterTime;

    fn from_str(text: &str) -> Result<Self, InvalidFilterTime> {
        let of_date = || text.parse::<Date>().map(|date| Day::of(date).first_hour());
        let hour = text.parse::<Timestamp>().map(Hour::of).or_else(|_| of_date());
        hour.map(Self).map_err(|_| InvalidFilterTime)
    }
}

/// A version in a filter: as a store has it, `other` included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterVersion<V>(pub V);

impl FromStr for FilterVersion<KamajiVersion> {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        if text == OTHER { Ok(Self(KamajiVersion::Other)) } else { text.parse().map(Self) }
    }
}

impl FromStr for FilterVersion<KubernetesVersion> {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        if text == OTHER { Ok(Self(KubernetesVersion::Other)) } else { text.parse().map(Self) }
    }
}

/// A range of hours. A bound that is absent is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HourRange {
    /// The first hour.
    pub from: Option<Hour>,
    /// The hour after the last.
    pub until: Option<Hour>,
}

/// A filter of installations. All of its conditions hold for those that match; one that is absent is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstallationFilter {
    /// The name by which readers know the installation.
    pub id: Option<InstallationId>,
    /// The hours of the first receipt.
    pub first_seen: HourRange,
    /// The hours of the last receipt.
    pub last_seen: HourRange,
    /// The version of Kamaji.
    pub kamaji_version: Option<KamajiVersion>,
    /// The version of the management cluster.
    pub kubernetes_version: Option<KubernetesVersion>,
    /// True for installations in bulk, false for all others.
    pub bulk: Option<bool>,
    /// True for confirmed installations, false for all others.
    pub confirmed: Option<bool>,
}

/// A filter of events. All of its conditions hold for those that match; one that is absent is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// The hours in which the events happened.
    pub time: HourRange,
    /// The version of Kamaji.
    pub kamaji_version: Option<KamajiVersion>,
    /// The version of the management cluster.
    pub kubernetes_version: Option<KubernetesVersion>,
    /// The version of the control plane; of an update, the old or the new one.
    pub tcp_version: Option<KubernetesVersion>,
    /// True for events in bulk, false for all others.
    pub bulk: Option<bool>,
}

/// The rows that match a filter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct MatchedRows {
    /// Installations.
    pub installations: u64,
    /// Their days. They are not counted before an erasure.
    pub days: u64,
    /// Events.
    pub events: u64,
}

impl HourRange {
    /// Creates the range between two bounds.
    pub fn between(from: Option<FilterTime>, until: Option<FilterTime>) -> Self {
        Self { from: from.map(|from| from.0), until: until.map(|until| until.0) }
    }

    fn contains(self, hour: Hour) -> bool {
        self.from.is_none_or(|from| from <= hour) && self.until.is_none_or(|until| hour < until)
    }
}

impl InstallationFilter {
    /// Returns whether an installation matches. `key` gives the name by which readers know it.
    pub fn matches(&self, installation: Uuid, row: &LatestRow, key: &PseudonymKey) -> bool {
        let Self { id, first_seen, last_seen, kamaji_version, kubernetes_version, bulk, confirmed } = self;
        first_seen.contains(row.first_seen)
            && last_seen.contains(row.last_seen)
            && is(*kamaji_version, row.report.kamaji_version)
            && is(*kubernetes_version, row.report.kubernetes_version)
            && is(*bulk, row.bulk)
            && is(*confirmed, row.confirmed.is_some())
            && id.is_none_or(|id| id == key.installation_id(installation))
    }
}

impl EventFilter {
    /// Returns whether an event matches.
    pub fn matches(&self, row: &EventRow) -> bool {
        let Self { time, kamaji_version, kubernetes_version, tcp_version, bulk } = self;
        let record = &row.record;
        time.contains(Hour::of(record.time))
            && is(*kamaji_version, record.kamaji_version)
            && is(*kubernetes_version, record.kubernetes_version)
            && is(*bulk, row.bulk)
            && tcp_version.is_none_or(|wanted| record.event.tcp_versions().any(|version| version == wanted))
    }
}

fn is<T: PartialEq + Copy>(wanted: Option<T>, value: T) -> bool {
    wanted.is_none_or(|wanted| wanted == value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_or_a_timestamp() {
        let hour = |text: &str| text.parse::<FilterTime>().map(|time| time.0.start().to_string());
        assert_eq!(hour("2026-11-24"), Ok("2026-11-24T00:00:00Z".into()));
        assert_eq!(hour("2026-11-24T12:59:00Z"), Ok("2026-11-24T12:00:00Z".into()));
        for bad in ["", "yesterday", "2026-13-01", "12:00"] {
            assert_eq!(hour(bad), Err(InvalidFilterTime), "{bad}");
        }
    }

    #[test]
    fn a_range_has_its_first_hour_and_not_the_one_after_its_last() {
        let time = |text: &str| Some(text.parse().unwrap());
        let range = HourRange::between(time("2026-11-24"), time("2026-11-25"));
        let contains = |text: &str| range.contains(Hour::of(text.parse().unwrap()));
        assert!(contains("2026-11-24T00:30:00Z") && contains("2026-11-24T23:30:00Z"));
        assert!(!contains("2026-11-23T23:30:00Z") && !contains("2026-11-25T00:30:00Z"));
    }
}
