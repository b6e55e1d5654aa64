//! The words of the questions, defined once. Each page shows [`WORDS`].

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use utoipa::ToSchema;

use crate::backend::store::Day;
use crate::catalog::{KamajiMinor, KamajiVersion, KubernetesMinor, KubernetesVersion, Stage, VersionNumbers};

/// The words and their definitions.
pub const WORDS: [(&str, &str); 10] = [
    (
        "Day, week",
        "A UTC day; an ISO week from Monday 00:00 UTC, named by its Monday. Only complete ones are compared, fitted or ranked.",
    ),
    (
        "Confirmed",
        "An installation that was received on two UTC days, at least 20 hours apart. All others, such as CI clusters, trials and \
         forgeries, are not confirmed, and counted apart. So are those in bulk: beyond their sender's share, or too large.",
    ),
    (
        "Active",
        "A confirmed installation that was received in the window. It is counted by its last report in the window; what is received later does not change that.",
    ),
    ("State of a day", "The last report of an installation on that day."),
    (
        "Stuck",
        "A control plane was not ready in the last reports of two days running. One that is being made is not ready either, which a \
         single report cannot tell apart. Upgrading for long: likewise.",
    ),
    (
        "Version",
        "Stable and edge releases of Kamaji are two lines of versions. Older, newer, and the one before hold within a line only. \
         `latest` and unknown versions are rows of their own, in no order. A version that too few installations report is in `other`.",
    ),
    (
        "By control planes",
        "Each installation weighs its control planes, 1,000 at most, and 50 at most until 28 days after its first receipt, so that one \
         sender can't outweigh all others. Totals are not capped.",
    ),
    (
        "Source",
        "`agent` is this project's agent, `kamaji` is Kamaji's built-in telemetry. An installation may run both: they are never added up.",
    ),
    (
        "Events",
        "Events, not installations: nothing ties an event to an installation, and one busy CI can be most of them. They come up to 30 days late.",
    ),
    ("Not known here", "How many opted out, and how many have no way to send."),
];

/// A window: the days up to the last complete day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
pub enum Window {
    /// 7 days.
    #[serde(rename = "7d")]
    Days7,
    /// 30 days.
    #[default]
    #[serde(rename = "30d")]
    Days30,
    /// 90 days.
    #[serde(rename = "90d")]
    Days90,
    /// 365 days.
    #[serde(rename = "365d")]
    Days365,
}

/// The unit by which shares are computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum By {
    /// Each installation counts as one.
    #[default]
    Installations,
    /// Each installation weighs its control planes, 1,000 at most.
    ControlPlanes,
}

/// The component whose versions are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Component {
    /// Kamaji.
    #[default]
    Kamaji,
    /// The Kubernetes of the management cluster.
    Kubernetes,
}

/// A text that is none of the words of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct UnknownWord(pub &'static str);

impl Window {
    /// All windows, shortest first.
    pub const ALL: [Self; 4] = [Self::Days7, Self::Days30, Self::Days90, Self::Days365];

    /// Returns the number of days.
    pub const fn days(self) -> i32 {
        match self {
            Self::Days7 => 7,
            Self::Days30 => 30,
            Self::Days90 => 90,
            Self::Days365 => 365,
        }
    }

    /// Returns the number of complete ISO weeks that stand for the window where events are counted.
    pub const fn weeks(self) -> i32 {
        match self {
            Self::Days7 => 1,
            Self::Days30 => 4,
            Self::Days90 => 13,
            Self::Days365 => 52,
        }
    }

    /// Returns the first day of the window that ends with `through`.
    pub const fn first_day(self, through: Day) -> Day {
        through.minus(self.days() - 1)
    }

    /// Returns the word, such as `30d`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Days7 => "7d",
            Self::Days30 => "30d",
            Self::Days90 => "90d",
            Self::Days365 => "365d",
        }
    }
}

impl By {
    /// Returns the word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Installations => "installations",
            Self::ControlPlanes => "control-planes",
        }
    }

    /// Returns the number of installations, or their weight.
    pub const fn of(self, installations: u64, weight: u64) -> u64 {
        match self {
            Self::Installations => installations,
            Self::ControlPlanes => weight,
        }
    }
}

impl Component {
    /// Returns the word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kamaji => "kamaji",
            Self::Kubernetes => "kubernetes",
        }
    }
}

impl FromStr for Window {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|window| window.as_str() == text).ok_or(UnknownWord("7d, 30d, 90d or 365d"))
    }
}

impl FromStr for By {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let all = [Self::Installations, Self::ControlPlanes];
        all.into_iter().find(|by| by.as_str() == text).ok_or(UnknownWord("installations or control-planes"))
    }
}

impl FromStr for Component {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let all = [Self::Kamaji, Self::Kubernetes];
        all.into_iter().find(|component| component.as_str() == text).ok_or(UnknownWord("kamaji or kubernetes"))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A line of versions, within which versions have an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Line {
    /// Releases.
    Stable,
    /// Edge releases of Kamaji, in both forms.
    Edge,
}

/// The place of a version in its line: the line and the numbers, ordered within the line.
pub type Place = (Line, VersionNumbers);

/// A version, or a minor version, that may have a place in a line.
pub trait Versioned: Copy + Ord + fmt::Display {
    /// Returns the place; `None` for `latest`, `unknown` and `other`, which have no order.
    fn place(self) -> Option<Place>;
}

/// Returns whether a version is at or below another one of the same line.
pub fn is_at_or_below(version: Option<Place>, other: Place) -> bool {
    version.is_some_and(|(line, numbers)| line == other.0 && numbers <= other.1)
}

/// Compares two versions for a table: the stable line first, newest first, then the edge line, then those without an order.
pub fn newest_first(left: Option<Place>, right: Option<Place>) -> Ordering {
    match (left, right) {
        (Some((left_line, left)), Some((right_line, right))) => left_line.cmp(&right_line).then(right.cmp(&left)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

/// Returns the place of a minor: that before all of its versions.
const fn minor_place(line: Line, major: u16, minor: u16) -> Place {
    (line, VersionNumbers { major, minor, patch: 0, stage: Stage::Alpha(0) })
}

impl Versioned for KamajiVersion {
    fn place(self) -> Option<Place> {
        match self {
            Self::Unknown | Self::Other | Self::Latest => None,
            Self::Release(numbers) => Some((Line::Stable, numbers)),
            Self::EdgePrefix(major, minor, patch) | Self::EdgeSuffix(major, minor, patch) => {
                Some((Line::Edge, VersionNumbers { major, minor, patch, stage: Stage::Final }))
            }
        }
    }
}

impl Versioned for KubernetesVersion {
    fn place(self) -> Option<Place> {
        match self {
            Self::Unknown | Self::Other => None,
            Self::Release(numbers) => Some((Line::Stable, numbers)),
        }
    }
}

impl Versioned for KamajiMinor {
    fn place(self) -> Option<Place> {
        match self {
            Self::Unknown | Self::Other | Self::Latest => None,
            Self::Stable { major, minor } => Some(minor_place(Line::Stable, major, minor)),
            Self::Edge { major, minor } => Some(minor_place(Line::Edge, major, minor)),
        }
    }
}

impl Versioned for KubernetesMinor {
    fn place(self) -> Option<Place> {
        match self {
            Self::Unknown | Self::Other => None,
            Self::Minor { major, minor } => Some(minor_place(Line::Stable, major, minor)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Option<Place> {
        KamajiVersion::normalize(text).place()
    }

    #[test]
    fn versions_are_ordered_by_their_numbers_within_a_line_only() {
        assert!(place("v1.9.0") < place("v1.10.0"));
        assert!(place("v1.10.0-rc.2") < place("v1.10.0"));
        assert_eq!(place("edge-26.7.4"), place("26.7.4-edge"));
        assert!(place("edge-24.12.1") < place("26.7.4-edge"));
        assert!(is_at_or_below(place("v1.9.9"), place("v1.10.0").unwrap()));
        assert!(!is_at_or_below(place("v1.9.9"), place("26.7.4-edge").unwrap()), "another line");
        assert!(!is_at_or_below(place("latest"), place("v1.10.0").unwrap()), "in no order");
    }

    #[test]
    fn a_table_has_the_newest_first_and_those_without_an_order_last() {
        let mut versions = ["unknown", "26.7.4-edge", "v1.9.0", "latest", "v1.10.0", "edge-26.10.1"];
        versions.sort_by(|left, right| newest_first(place(left), place(right)));
        assert_eq!(versions, ["v1.10.0", "v1.9.0", "edge-26.10.1", "26.7.4-edge", "unknown", "latest"]);
    }

    #[test]
    fn a_window_ends_with_the_last_complete_day() {
        let through = Day::of("2026-11-26".parse().unwrap());
        assert_eq!(Window::Days7.first_day(through).date().to_string(), "2026-11-20");
        assert_eq!("365d".parse(), Ok(Window::Days365));
        assert_eq!("1d".parse::<Window>(), Err(UnknownWord("7d, 30d, 90d or 365d")));
    }
}
