//! The parts that metrics and log records have in common: resource, scope and attributes.

use std::str::FromStr;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::RejectReason;
use crate::catalog::{Attribute, SERVICE_NAME, Values};

/// The number of attributes that are not charged; each further one counts as an item. No signal of the catalog has as
/// many.
const FREE_ATTRIBUTES: usize = 16;

/// Returns the number of attributes beyond those that any signal of the catalog has.
pub(super) fn excess_attributes(attributes: &[KeyValue]) -> usize {
    attributes.len().saturating_sub(FREE_ATTRIBUTES)
}

/// Returns the number of attributes of a resource beyond those that any signal has, and of its entity references.
pub(super) fn excess_resource_attributes(resource: Option<&Resource>) -> usize {
    resource.map_or(0, |resource| excess_attributes(&resource.attributes) + resource.entity_refs.len())
}

/// Attributes that the catalog allows where they are, each once.
#[derive(Debug)]
pub(super) struct Attributes<'a>(Vec<(&'static Attribute, &'a Value)>);

impl<'a> Attributes<'a> {
    /// Validates `sent` against `allowed`, of which every attribute that is not extended is required.
    pub(super) fn read(sent: &'a [KeyValue], allowed: &[&'static Attribute]) -> Result<Self, RejectReason> {
        let mut found = Self(Vec::with_capacity(allowed.len()));
        for KeyValue { key, value, key_strindex } in sent {
            let attribute =
                allowed.iter().find(|attribute| attribute.key == key).ok_or(RejectReason::UnknownAttribute)?;
            if *key_strindex != 0 {
                return Err(RejectReason::UnknownAttribute);
            }
            if found.get(attribute).is_some() {
                return Err(RejectReason::RepeatedAttribute);
            }
            found.0.push((attribute, check_value(attribute, value.as_ref())?));
        }
        let missing = allowed.iter().any(|attribute| !attribute.extended && !found.has(attribute));
        if missing { Err(RejectReason::MissingAttribute) } else { Ok(found) }
    }

    fn get(&self, attribute: &Attribute) -> Option<&'a Value> {
        self.0.iter().find(|(found, _)| found.key == attribute.key).map(|(_, value)| *value)
    }

    /// Returns the value of a string attribute.
    pub(super) fn text(&self, attribute: &Attribute) -> Result<&'a str, RejectReason> {
        match self.get(attribute) {
            Some(Value::StringValue(text)) => Ok(text),
            Some(_) => Err(RejectReason::AttributeValue),
            None => Err(RejectReason::MissingAttribute),
        }
    }

    /// Parses the value of a string attribute.
    pub(super) fn parse<T: FromStr>(&self, attribute: &Attribute) -> Result<T, RejectReason> {
        self.text(attribute)?.parse().map_err(|_| RejectReason::AttributeValue)
    }

    /// Returns the value of a boolean attribute, if there is one.
    pub(super) fn bool(&self, attribute: &Attribute) -> Option<bool> {
        match self.get(attribute) {
            Some(Value::BoolValue(value)) => Some(*value),
            _ => None,
        }
    }

    /// Returns whether the attribute is present.
    pub(super) fn has(&self, attribute: &Attribute) -> bool {
        self.get(attribute).is_some()
    }
}

fn check_value<'a>(attribute: &Attribute, value: Option<&'a AnyValue>) -> Result<&'a Value, RejectReason> {
    let value = value.and_then(|value| value.value.as_ref()).ok_or(RejectReason::AttributeValue)?;
    let is_allowed = match value {
        Value::StringValue(text) => attribute.values.allows_text(text),
        Value::BoolValue(_) => attribute.values == Values::Bool,
        _ => false,
    };
    if is_allowed { Ok(value) } else { Err(RejectReason::AttributeValue) }
}

/// Validates a resource, which carries `allowed` and nothing else.
pub(super) fn read_resource<'a>(
    resource: Option<&'a Resource>,
    schema_url: &str,
    allowed: &[&'static Attribute],
) -> Result<Attributes<'a>, RejectReason> {
    let Resource { attributes, dropped_attributes_count, entity_refs } = resource.ok_or(RejectReason::Resource)?;
    if !entity_refs.is_empty() {
        return Err(RejectReason::Resource);
    }
    check_not_dropped(*dropped_attributes_count)?;
    check_schema_url(schema_url)?;
    Attributes::read(attributes, allowed)
}

/// Checks that a scope is this project's. The relay blanks its version.
pub(super) fn check_scope(scope: Option<&InstrumentationScope>, schema_url: &str) -> Result<(), RejectReason> {
    let InstrumentationScope { name, version, attributes, dropped_attributes_count } =
        scope.ok_or(RejectReason::Scope)?;
    let known_version = version.is_empty() || Values::ServiceVersion.allows_text(version);
    if name != SERVICE_NAME || !known_version || !attributes.is_empty() {
        return Err(RejectReason::Scope);
    }
    check_not_dropped(*dropped_attributes_count)?;
    check_schema_url(schema_url)
}

fn check_schema_url(url: &str) -> Result<(), RejectReason> {
    if url.is_empty() { Ok(()) } else { Err(RejectReason::SchemaUrl) }
}

pub(super) fn check_not_dropped(count: u32) -> Result<(), RejectReason> {
    if count == 0 { Ok(()) } else { Err(RejectReason::DroppedAttributes) }
}
