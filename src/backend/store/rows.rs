//! The rows of a store.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use uuid::Uuid;

use super::hour::Hour;
use crate::catalog::{Attribute, EventRecord, KamajiVersion, KubernetesVersion, METRICS, Metric, Values};

/// The word that stands for more values than a store keeps apart.
pub(super) const OTHER: &str = "other";

/// A batch of rows, stored atomically.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// States of installations.
    pub snapshots: Vec<GaugeSnapshot>,
    /// Events.
    pub events: Vec<EventRow>,
}

/// A gauge snapshot of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GaugeSnapshot {
    /// The installation.
    pub installation: Uuid,
    /// The hour of the receipt. The sender's own time decides nothing.
    pub received: Hour,
    /// The content.
    pub report: Report,
}

/// The report of an installation on itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its control planes.
    pub counts: StateCounts,
    /// The kind of its sender.
    pub source: Source,
    /// The version of its Kamaji.
    pub kamaji_version: KamajiVersion,
    /// The version of its management cluster.
    pub kubernetes_version: KubernetesVersion,
    /// The points of the extended gauges, each dimension once.
    pub dimensions: Vec<(Dimension, u32)>,
}

/// Control planes by state, each from 0 to [`crate::catalog::MAX_COUNT`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateCounts {
    /// Control planes whose API answers.
    pub running: u32,
    /// Control planes scaled to zero.
    pub sleeping: u32,
    /// Control planes that do not work, or do not work yet.
    pub not_ready: u32,
    /// Control planes that change their version.
    pub upgrading: u32,
}

/// The dimension of an extended gauge's point: the gauge, and the value of its own attribute.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Dimension {
    metric: &'static Metric,
    value: String,
}

/// The error of a gauge that is not extended in the catalog, or of a value that the catalog does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a point of an extended gauge: expected a name and a value of the catalog")]
pub struct InvalidDimension;

/// An event, and its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// The event, whose time is the beginning of an hour.
    pub record: EventRecord,
    /// The kind of its sender.
    pub source: Source,
    /// True if it is beyond its sender's share, and in no figure. A store decides this.
    pub bulk: bool,
}

/// The kind of a row's sender. An installation may run both, so their rows are never added up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// This project's agent, with its version.
    Agent(AgentVersion),
    /// Kamaji's built-in telemetry.
    Kamaji,
}

/// A [`Source`] without the version, by which rows are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceKind {
    /// This project's agents.
    Agent,
    /// Kamaji's built-in telemetry.
    Kamaji,
}

/// The version of an agent: `X.Y.Z`, with a pre-release stage where there is one. Shared, since each event of a batch has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AgentVersion(Arc<str>);

/// A text that is not an [`AgentVersion`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a version of an agent: expected X.Y.Z or X.Y.Z-(alpha|beta|rc).N")]
pub struct InvalidAgentVersion;

impl Batch {
    /// Returns the number of rows, dimensions included.
    pub fn len(&self) -> usize {
        let dimensions: usize = self.snapshots.iter().map(|snapshot| snapshot.report.dimensions.len()).sum();
        self.snapshots.len() + dimensions + self.events.len()
    }

    /// Returns whether it holds no rows.
    pub fn is_empty(&self) -> bool {
        self.snapshots.is_empty() && self.events.is_empty()
    }
}

impl Source {
    /// Returns the kind.
    pub const fn kind(&self) -> SourceKind {
        match self {
            Self::Agent(_) => SourceKind::Agent,
            Self::Kamaji => SourceKind::Kamaji,
        }
    }
}

impl StateCounts {
    /// Returns the number of control planes.
    pub fn total(&self) -> u64 {
        [self.running, self.sleeping, self.not_ready, self.upgrading].into_iter().map(u64::from).sum()
    }
}

impl Dimension {
    /// Creates a dimension, if the catalog allows `value`.
    pub fn new(metric: &'static Metric, value: &str) -> Result<Self, InvalidDimension> {
        let attribute = Self::attribute_of(metric).ok_or(InvalidDimension)?;
        if !attribute.values.allows_text(value) {
            return Err(InvalidDimension);
        }
        Ok(Self { metric, value: value.to_owned() })
    }

    /// Creates the dimension of more values than a store keeps apart.
    pub fn other(metric: &'static Metric) -> Self {
        Self { metric, value: OTHER.to_owned() }
    }

    /// Creates a dimension from its stored form.
    pub fn parse(name: &str, value: &str) -> Result<Self, InvalidDimension> {
        let metric = METRICS.iter().find(|metric| metric.name == name).ok_or(InvalidDimension)?;
        if value == OTHER && Self::attribute_of(metric).is_some() {
            return Ok(Self::other(metric));
        }
        Self::new(metric, value)
    }

    /// Returns the gauge's own attribute; `None` if the gauge is not extended.
    pub fn attribute_of(metric: &Metric) -> Option<&'static Attribute> {
        metric.attributes.iter().find(|attribute| attribute.extended).copied()
    }

    /// Returns the gauge.
    pub fn metric(&self) -> &'static Metric {
        self.metric
    }

    /// Returns the value.
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl Report {
    /// Adds the point of `dimension` to the one of all other values of its gauge.
    pub(super) fn merge_into_other(&mut self, dimension: &Dimension) {
        let Some(position) = self.dimensions.iter().position(|(known, _)| known == dimension) else { return };
        let (_, count) = self.dimensions.remove(position);
        let other = Dimension::other(dimension.metric);
        match self.dimensions.iter_mut().find(|(known, _)| *known == other) {
            Some((_, sum)) => *sum = sum.saturating_add(count),
            None => self.dimensions.push((other, count)),
        }
    }
}

impl AgentVersion {
    /// Returns the one that stands for more versions than a store keeps apart.
    pub fn other() -> Self {
        Self(OTHER.into())
    }

    /// Parses the stored form.
    pub fn parse_stored(text: &str) -> Result<Self, InvalidAgentVersion> {
        if text == OTHER { Ok(Self::other()) } else { text.parse() }
    }
}

impl FromStr for AgentVersion {
    type Err = InvalidAgentVersion;

    fn from_str(text: &str) -> Result<Self, InvalidAgentVersion> {
        if Values::ServiceVersion.allows_text(text) { Ok(Self(text.into())) } else { Err(InvalidAgentVersion) }
    }
}

impl fmt::Display for AgentVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the UTC day of `time`.
pub fn utc_day(time: Timestamp) -> Date {
    Hour::of(time).day().date()
}

/// Returns the beginning of the hour of `time`.
pub fn truncate_to_hour(time: Timestamp) -> Timestamp {
    Hour::of(time).start()
}
