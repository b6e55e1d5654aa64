//! The rows that a store keeps.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use uuid::Uuid;

use crate::catalog::{Attribute, EventRecord, KamajiVersion, KubernetesVersion, METRICS, Metric, Values};

/// Rows that are kept together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// States of installations.
    pub snapshots: Vec<GaugeSnapshot>,
    /// Events.
    pub events: Vec<EventRow>,
}

/// One gauge snapshot of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GaugeSnapshot {
    /// The installation.
    pub installation: Uuid,
    /// When it was measured, of which stores keep the millisecond.
    pub time: Timestamp,
    /// Its control planes.
    pub counts: StateCounts,
    /// TokenRef sent it.
    pub source: Source,
    /// The version of its Kamaji.
    pub kamaji_version: KamajiVersion,
    /// The version of its management cluster.
    pub kubernetes_version: KubernetesVersion,
    /// The extended gauges' points, each dimension once. They are kept for a day's newest snapshot and replaced with it.
    pub dimensions: Vec<(Dimension, u32)>,
}

/// Control planes by state, each from 0 to [`crate::catalog::MAX_COUNT`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateCounts {
    /// Control planes whose API answers.
    pub running: u32,
    /// Control planes scaled to zero.
    pub sleeping: u32,
    /// Control planes that do not work, or not yet.
    pub not_ready: u32,
    /// Control planes that change their version.
    pub upgrading: u32,
}

/// What a point of an extended gauge counts: the gauge, and the value of the one attribute that is its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dimension {
    metric: &'static Metric,
    value: String,
}

/// A gauge that the catalog does not know as extended, or a value that it does not allow there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a point of an extended gauge: expected a name and a value of the catalog")]
pub struct InvalidDimension;

/// An event, and who sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// The event, whose time is the beginning of an hour.
    pub record: EventRecord,
    /// TokenRef sent it.
    pub source: Source,
}

/// TokenRef sent a row. An installation may run both, so what the two say is never added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// This project's agent, of this version.
    Agent(AgentVersion),
    /// The telemetry that Kamaji has built in.
    Kamaji,
}

/// The version of an agent: `X.Y.Z`, with a pre-release stage where there is one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AgentVersion(String);

/// Text that is no [`AgentVersion`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a version of an agent: expected X.Y.Z or X.Y.Z-(alpha|beta|rc).N")]
pub struct InvalidAgentVersion;

impl Batch {
    /// How many rows it holds: what a store's bounds count.
    pub fn len(&self) -> usize {
        let dimensions: usize = self.snapshots.iter().map(|snapshot| snapshot.dimensions.len()).sum();
        self.snapshots.len() + dimensions + self.events.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.snapshots.is_empty() && self.events.is_empty()
    }
}

impl Dimension {
    /// Checks `value` against the catalog's attribute.
    pub fn new(metric: &'static Metric, value: &str) -> Result<Self, InvalidDimension> {
        let attribute = Self::attribute_of(metric).ok_or(InvalidDimension)?;
        if !attribute.values.allows_text(value) {
            return Err(InvalidDimension);
        }
        Ok(Self { metric, value: value.to_owned() })
    }

    /// Reads back what a store kept.
    pub fn parse(name: &str, value: &str) -> Result<Self, InvalidDimension> {
        let metric = METRICS.iter().find(|metric| metric.name == name).ok_or(InvalidDimension)?;
        Self::new(metric, value)
    }

    /// The attribute that is the gauge's own; `None` where the gauge is not extended.
    pub fn attribute_of(metric: &Metric) -> Option<&'static Attribute> {
        metric.attributes.iter().find(|attribute| attribute.extended).copied()
    }

    /// The gauge.
    pub fn metric(&self) -> &'static Metric {
        self.metric
    }

    /// The value.
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl FromStr for AgentVersion {
    type Err = InvalidAgentVersion;

    fn from_str(text: &str) -> Result<Self, InvalidAgentVersion> {
        if Values::ServiceVersion.allows_text(text) { Ok(Self(text.to_owned())) } else { Err(InvalidAgentVersion) }
    }
}

impl fmt::Display for AgentVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The UTC day of `time`.
pub fn utc_day(time: Timestamp) -> Date {
    time.to_zoned(TimeZone::UTC).date()
}

/// The beginning of the hour of `time`.
pub fn cut_to_hour(time: Timestamp) -> Timestamp {
    const HOUR: i64 = 3_600;
    let seconds = time.as_second().div_euclid(HOUR) * HOUR;
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MIN)
}
