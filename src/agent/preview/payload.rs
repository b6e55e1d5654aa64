//! The payloads in the form that Kamaji's documentation shows.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use crate::agent::export::instruments::GaugeValues;
use crate::agent::kubernetes::datastores::DatastoreUsage;
use crate::catalog::{Event, EventRecord, ExtendedAttributes, NetworkProfile};

#[derive(Serialize)]
struct GaugesPayload {
    uuid: Uuid,
    running: u32,
    sleeping: u32,
    not_ready: u32,
    upgrading: u32,
    kamaji_version: String,
    kubernetes_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_version: Option<BTreeMap<String, u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    datastores: Option<BTreeMap<&'static str, DatastoresPayload>>,
}

#[derive(Serialize)]
struct DatastoresPayload {
    count: u32,
    used_by: u32,
}

#[derive(Serialize)]
struct CreatedPayload {
    tcp_version: String,
    kamaji_version: String,
    kubernetes_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_api: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_profile: Option<&'static str>,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are the documented payload's")]
struct UpdatedPayload {
    kamaji_version: String,
    new_tcp_version: String,
    old_tcp_version: String,
    kubernetes_version: String,
}

#[derive(Serialize)]
struct DeletedPayload {
    status: &'static str,
    tcp_version: String,
    kamaji_version: String,
    kubernetes_version: String,
}

/// Returns one line of JSON for the gauges, and one for each sample.
pub(super) fn lines(installation: Uuid, gauges: &GaugeValues, samples: &[EventRecord]) -> serde_json::Result<String> {
    let mut text = serde_json::to_string(&gauges_payload(installation, gauges))?;
    for sample in samples {
        text.push('\n');
        text.push_str(&event_payload(sample)?);
    }
    text.push('\n');
    Ok(text)
}

fn gauges_payload(installation: Uuid, gauges: &GaugeValues) -> GaugesPayload {
    let GaugeValues { versions, counts, extended } = gauges;
    let by_version = counts.by_version.iter().map(|(minor, count)| (minor.to_string(), *count));
    GaugesPayload {
        uuid: installation,
        running: counts.running,
        sleeping: counts.sleeping,
        not_ready: counts.not_ready,
        upgrading: counts.upgrading,
        kamaji_version: versions.kamaji.to_string(),
        kubernetes_version: versions.kubernetes.to_string(),
        by_version: extended.as_ref().map(|_| by_version.collect()),
        datastores: extended.as_ref().map(|extended| datastores_payload(&extended.datastores)),
    }
}

fn datastores_payload(
    datastores: &BTreeMap<&'static str, DatastoreUsage>,
) -> BTreeMap<&'static str, DatastoresPayload> {
    let payload = |(driver, usage): (&&'static str, &DatastoreUsage)| {
        (*driver, DatastoresPayload { count: usage.count, used_by: usage.used_by })
    };
    datastores.iter().map(payload).collect()
}

fn event_payload(record: &EventRecord) -> serde_json::Result<String> {
    let kamaji_version = record.kamaji_version.to_string();
    let kubernetes_version = record.kubernetes_version.to_string();
    match record.event {
        Event::Created { tcp_version, extended } => serde_json::to_string(&CreatedPayload {
            tcp_version: tcp_version.to_string(),
            kamaji_version,
            kubernetes_version,
            cluster_api: extended.map(|ExtendedAttributes { cluster_api, .. }| cluster_api),
            network_profile: extended.and_then(|extended| extended.network_profile).map(NetworkProfile::as_str),
        }),
        Event::Updated { old_tcp_version, new_tcp_version } => serde_json::to_string(&UpdatedPayload {
            kamaji_version,
            new_tcp_version: new_tcp_version.to_string(),
            old_tcp_version: old_tcp_version.to_string(),
            kubernetes_version,
        }),
        Event::Deleted { status, tcp_version } => serde_json::to_string(&DeletedPayload {
            status: status.as_str(),
            tcp_version: tcp_version.to_string(),
            kamaji_version,
            kubernetes_version,
        }),
    }
}
