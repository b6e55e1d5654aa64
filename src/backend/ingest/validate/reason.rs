//! The reasons for which points and records are rejected.

use std::fmt;

/// The reason for which a point or a record is rejected. Its text states what was expected, and never what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RejectReason {
    /// The resource is missing, or has more than attributes.
    Resource,
    /// The instrumentation scope is missing or not this project's.
    Scope,
    /// A schema URL is set.
    SchemaUrl,
    /// The name is not in the catalog.
    UnknownSignal,
    /// A metric's unit, description or metadata is not the catalog's.
    Metadata,
    /// A metric is not a gauge.
    NotAGauge,
    /// A point's value is not an integer in range.
    Value,
    /// A required attribute is missing.
    MissingAttribute,
    /// An attribute is not in the catalog for this signal.
    UnknownAttribute,
    /// An attribute is repeated.
    RepeatedAttribute,
    /// An attribute's value is not in the catalog.
    AttributeValue,
    /// The sender reports dropped attributes.
    DroppedAttributes,
    /// A point has exemplars.
    Exemplars,
    /// Flags are set.
    Flags,
    /// A record's severity is not INFO.
    Severity,
    /// A record has a body.
    Body,
    /// A record has a trace or a span.
    Trace,
    /// The time is missing.
    Time,
    /// The four gauges of a snapshot are not complete, or do not belong together.
    Snapshot,
    /// An extended gauge has too many points, or a value twice.
    Dimension,
}

impl RejectReason {
    /// Every reason, in the order of their discriminants.
    pub const ALL: [Self; 20] = [
        Self::Resource,
        Self::Scope,
        Self::SchemaUrl,
        Self::UnknownSignal,
        Self::Metadata,
        Self::NotAGauge,
        Self::Value,
        Self::MissingAttribute,
        Self::UnknownAttribute,
        Self::RepeatedAttribute,
        Self::AttributeValue,
        Self::DroppedAttributes,
        Self::Exemplars,
        Self::Flags,
        Self::Severity,
        Self::Body,
        Self::Trace,
        Self::Time,
        Self::Snapshot,
        Self::Dimension,
    ];

    /// Returns the label in metrics and logs, in `snake_case`. It does not change between versions.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Resource => "resource",
            Self::Scope => "scope",
            Self::SchemaUrl => "schema_url",
            Self::UnknownSignal => "unknown_signal",
            Self::Metadata => "metadata",
            Self::NotAGauge => "not_a_gauge",
            Self::Value => "value",
            Self::MissingAttribute => "missing_attribute",
            Self::UnknownAttribute => "unknown_attribute",
            Self::RepeatedAttribute => "repeated_attribute",
            Self::AttributeValue => "attribute_value",
            Self::DroppedAttributes => "dropped_attributes",
            Self::Exemplars => "exemplars",
            Self::Flags => "flags",
            Self::Severity => "severity",
            Self::Body => "body",
            Self::Trace => "trace",
            Self::Time => "time",
            Self::Snapshot => "snapshot",
            Self::Dimension => "dimension",
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resource => "the resource is not just attributes",
            Self::Scope => "the scope is not kamaji-telemetry's",
            Self::SchemaUrl => "a schema URL is set",
            Self::UnknownSignal => "the name is not in the catalog",
            Self::Metadata => "unit, description or metadata are not the catalog's",
            Self::NotAGauge => "the metric is not a gauge",
            Self::Value => "the value is not a whole number from 0 to 1000000",
            Self::MissingAttribute => "a required attribute is missing",
            Self::UnknownAttribute => "an attribute is not in the catalog",
            Self::RepeatedAttribute => "an attribute is there twice",
            Self::AttributeValue => "an attribute's value is not one of the catalog's",
            Self::DroppedAttributes => "attributes were dropped on the way",
            Self::Exemplars => "exemplars are not accepted",
            Self::Flags => "flags are set",
            Self::Severity => "the severity is not INFO",
            Self::Body => "a body is not accepted",
            Self::Trace => "a trace or span is not accepted",
            Self::Time => "the time is missing",
            Self::Snapshot => "the four gauges are not there once each with the same attributes",
            Self::Dimension => "an extended gauge has too many points, one twice, or no snapshot that it belongs to",
        })
    }
}

/// The number of rejected points or records, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rejections([u64; RejectReason::ALL.len()]);

impl Rejections {
    /// Adds `count` rejections.
    pub fn add(&mut self, reason: RejectReason, count: usize) {
        self.0[reason as usize] += u64::try_from(count).unwrap_or(u64::MAX);
    }

    /// Returns the number of rejections.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Returns the reasons with at least one rejection, and their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (RejectReason, u64)> {
        RejectReason::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }
}

impl fmt::Display for Rejections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (reason, count)) in self.iter().enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            write!(f, "{separator}{count} rejected: {reason}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_is_counted_under_its_own_number_and_label() {
        let mut rejections = Rejections::default();
        for (position, reason) in RejectReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, position);
            rejections.add(reason, position + 1);
        }
        assert!(
            rejections
                .iter()
                .zip(1..)
                .all(|((reason, count), expected)| count == expected && reason as u64 + 1 == count)
        );
        let labels: HashSet<_> = RejectReason::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), RejectReason::ALL.len());
    }

    #[test]
    fn the_message_names_each_reason_with_its_count() {
        let mut rejections = Rejections::default();
        rejections.add(RejectReason::Body, 2);
        rejections.add(RejectReason::Scope, 1);
        let message = "1 rejected: the scope is not kamaji-telemetry's; 2 rejected: a body is not accepted";
        assert_eq!(rejections.to_string(), message);
    }
}
