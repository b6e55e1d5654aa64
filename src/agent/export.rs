//! The export to the collector: gauges and events over one connection.

pub mod connection;
mod diagnosis;
pub mod events;
pub mod gauges;
pub mod headers;
pub mod health;
pub mod instruments;
pub mod metric_exporter;
mod reporting_exporter;
mod retry;

use opentelemetry_sdk::Resource;
use uuid::Uuid;

use crate::catalog::{
    SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_NAME_ATTRIBUTE, SERVICE_VERSION, SERVICE_VERSION_ATTRIBUTE,
};

/// Builds a resource with no attributes but these. The SDK's default would add those of `OTEL_RESOURCE_ATTRIBUTES`, and
/// operators put names there.
fn resource(installation: Option<Uuid>) -> Resource {
    let instance = installation.map(|uuid| (SERVICE_INSTANCE_ID.key, uuid.hyphenated().to_string()));
    let attributes = [
        (SERVICE_NAME_ATTRIBUTE.key, SERVICE_NAME.to_owned()),
        (SERVICE_VERSION_ATTRIBUTE.key, SERVICE_VERSION.to_owned()),
    ];
    let attributes = attributes.into_iter().chain(instance);
    Resource::builder_empty()
        .with_attributes(attributes.map(|(key, value)| opentelemetry::KeyValue::new(key, value)))
        .build()
}
