//! The payloads of Kamaji's built-in telemetry, and the records that they become. No I/O.
//!
//! Versions and statuses are normalized to their public form rather than rejected, since Kamaji's client would never send
//! them in another. All other fields of a body are ignored.

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::backend::store::{
    Batch, Dimension, EventRow, GaugeSnapshot, Hour, PseudonymKey, Report, Source, StateCounts, truncate_to_hour,
};
use crate::catalog::{
    DATASTORE_COUNT, DATASTORE_USED_BY, Event, EventRecord, ExtendedAttributes, KamajiVersion, KubernetesVersion,
    MAX_COUNT, Metric, Status,
};

/// The context of a received payload.
#[derive(Debug)]
pub(in crate::backend) struct ReceiveContext<'a> {
    /// The time of the receipt.
    pub(in crate::backend) now: Timestamp,
    /// The uid of an event: Kamaji's events have none.
    pub(in crate::backend) uid: Uuid,
    /// The key of pseudonyms.
    pub(in crate::backend) key: &'a PseudonymKey,
}

/// The payload of one of the four paths.
pub(super) trait Payload: DeserializeOwned {
    /// A description of the expected body, for errors.
    const EXPECTED: &'static str;

    /// Returns the records to store, which are none if nothing changed; `None` if a value is out of range.
    fn into_records(self, context: &ReceiveContext<'_>) -> Option<Batch>;
}

/// The payload of `/stats`: nested, as Kamaji's client sends it, or flat, as its documentation shows it.
#[derive(Debug, Deserialize)]
pub(super) struct Stats {
    uuid: Uuid,
    #[serde(flatten)]
    versions: PayloadVersions,
    tenant_control_plane: Option<StatePayload>,
    #[serde(flatten)]
    flat: Option<StatePayload>,
    #[serde(default)]
    datastores: PayloadDatastores,
}

/// The payload of `/create`. The documentation shows it without the last two fields.
#[derive(Debug, Deserialize)]
pub(super) struct Create {
    #[serde(flatten)]
    versions: PayloadVersions,
    tcp_version: String,
    cluster_api: Option<bool>,
    network_profile: Option<String>,
}

/// The payload of `/update`, which Kamaji sends on every update of the object.
#[derive(Debug, Deserialize)]
pub(super) struct Update {
    #[serde(flatten)]
    versions: PayloadVersions,
    /// The old version, which is empty until the control plane first came up.
    old_tcp_version: String,
    new_tcp_version: String,
}

/// The payload of `/delete`.
#[derive(Debug, Deserialize)]
pub(super) struct Delete {
    #[serde(flatten)]
    versions: PayloadVersions,
    tcp_version: String,
    status: Option<String>,
}

/// The versions, which all payloads have.
#[derive(Debug, Deserialize)]
struct PayloadVersions {
    kamaji_version: String,
    kubernetes_version: String,
}

/// The control planes by state. All four are required: a missing one would count as zero.
#[derive(Debug, Clone, Copy, Deserialize)]
struct StatePayload {
    running: u32,
    sleeping: u32,
    not_ready: u32,
    upgrading: u32,
}

/// The datastores by driver.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PayloadDatastores {
    etcd: DriverPayload,
    mysql: DriverPayload,
    postgres: DriverPayload,
    nats: DriverPayload,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct DriverPayload {
    count: u32,
    used_by_count: u32,
}

impl Payload for Stats {
    const EXPECTED: &'static str = "JSON with uuid, kamaji_version, kubernetes_version, and running, sleeping, not_ready \
        and upgrading from 0 to 1000000, flat or in tenant_control_plane";

    fn into_records(self, context: &ReceiveContext<'_>) -> Option<Batch> {
        let Self { uuid, versions, tenant_control_plane, flat, datastores } = self;
        let StatePayload { running, sleeping, not_ready, upgrading } = tenant_control_plane.or(flat)?;
        let dimensions = datastores.dimensions();
        let dimension_counts = dimensions.iter().map(|(_, count)| *count);
        if [running, sleeping, not_ready, upgrading].into_iter().chain(dimension_counts).any(|count| count > MAX_COUNT)
        {
            return None;
        }
        let (kamaji_version, kubernetes_version) = versions.normalize();
        let snapshot = GaugeSnapshot {
            installation: context.key.pseudonym(uuid),
            received: Hour::of(context.now),
            report: Report {
                counts: StateCounts { running, sleeping, not_ready, upgrading },
                source: Source::Kamaji,
                kamaji_version,
                kubernetes_version,
                dimensions,
            },
        };
        Some(Batch { snapshots: vec![snapshot], ..Batch::default() })
    }
}

impl Payload for Create {
    const EXPECTED: &'static str = "JSON with tcp_version, kamaji_version and kubernetes_version";

    fn into_records(self, context: &ReceiveContext<'_>) -> Option<Batch> {
        let Self { versions, tcp_version, cluster_api, network_profile } = self;
        let network_profile = network_profile.and_then(|word| word.parse().ok());
        let extended = cluster_api.map(|cluster_api| ExtendedAttributes { cluster_api, network_profile });
        let tcp_version = KubernetesVersion::normalize(&tcp_version);
        Some(versions.event(context, Event::Created { tcp_version, extended }))
    }
}

impl Payload for Update {
    const EXPECTED: &'static str = "JSON with old_tcp_version, new_tcp_version, kamaji_version and kubernetes_version";

    fn into_records(self, context: &ReceiveContext<'_>) -> Option<Batch> {
        let Self { versions, old_tcp_version, new_tcp_version } = self;
        let old = KubernetesVersion::normalize(&old_tcp_version);
        let new = KubernetesVersion::normalize(&new_tcp_version);
        if old_tcp_version.is_empty() || old == new {
            return Some(Batch::default());
        }
        Some(versions.event(context, Event::Updated { old_tcp_version: old, new_tcp_version: new }))
    }
}

impl Payload for Delete {
    const EXPECTED: &'static str = "JSON with status, tcp_version, kamaji_version and kubernetes_version";

    fn into_records(self, context: &ReceiveContext<'_>) -> Option<Batch> {
        let Self { versions, tcp_version, status } = self;
        let status = Status::normalize(status.as_deref());
        let tcp_version = KubernetesVersion::normalize(&tcp_version);
        Some(versions.event(context, Event::Deleted { status, tcp_version }))
    }
}

impl PayloadVersions {
    fn normalize(&self) -> (KamajiVersion, KubernetesVersion) {
        let Self { kamaji_version, kubernetes_version } = self;
        (KamajiVersion::normalize(kamaji_version), KubernetesVersion::normalize(kubernetes_version))
    }

    fn event(&self, context: &ReceiveContext<'_>, event: Event) -> Batch {
        let (kamaji_version, kubernetes_version) = self.normalize();
        let ReceiveContext { now, uid, key: _ } = *context;
        let record = EventRecord { uid, time: truncate_to_hour(now), kamaji_version, kubernetes_version, event };
        Batch { events: vec![EventRow { record, source: Source::Kamaji, bulk: false }], ..Batch::default() }
    }
}

impl PayloadDatastores {
    /// Returns the drivers in use. Kamaji always sends all of them: a zero means the same as a missing one.
    fn dimensions(&self) -> Vec<(Dimension, u32)> {
        let Self { etcd, mysql, postgres, nats } = self;
        let mut dimensions = Vec::new();
        for (driver, datastore) in [("etcd", etcd), ("MySQL", mysql), ("PostgreSQL", postgres), ("NATS", nats)] {
            let DriverPayload { count, used_by_count } = *datastore;
            let mut add = |metric: &'static Metric, count| {
                let dimension = Dimension::new(metric, driver).ok().filter(|_| count > 0);
                dimensions.extend(dimension.map(|dimension| (dimension, count)));
            };
            add(&DATASTORE_COUNT, count);
            add(&DATASTORE_USED_BY, used_by_count);
        }
        dimensions
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::catalog::{DRIVERS, NetworkProfile};

    fn records<P: Payload>(body: &Value) -> Option<Batch> {
        let key = PseudonymKey::from([7; PseudonymKey::LENGTH]);
        let now = "2026-11-23T20:34:56Z".parse().unwrap();
        serde_json::from_value::<P>(body.clone()).ok()?.into_records(&ReceiveContext {
            now,
            uid: Uuid::from_u128(1),
            key: &key,
        })
    }

    fn event<P: Payload>(own: &Value) -> Option<Event> {
        let mut body = json!({"kamaji_version": "edge-24.12.1", "kubernetes_version": "v1.30.4+k3s1"});
        body.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        let Batch { snapshots, events } = records::<P>(&body)?;
        assert!(snapshots.is_empty() && events.len() < 2);
        let EventRow { record, source, bulk: _ } = events.into_iter().next()?;
        assert_eq!((record.uid, source), (Uuid::from_u128(1), Source::Kamaji));
        assert_eq!(record.time.to_string(), "2026-11-23T20:00:00Z");
        assert_eq!(
            (record.kamaji_version.to_string(), record.kubernetes_version.to_string()),
            ("edge-24.12.1".into(), "v1.30.4".into())
        );
        Some(record.event)
    }

    fn stats() -> Value {
        json!({
            "uuid": "6f8bd8e2-6d1f-4c0e-9a53-0d9f2b8f9a11", "kamaji_version": "26.7.4-edge", "kubernetes_version": "v1.36.0",
            "tenant_control_plane": {"running": 4, "upgrading": 1, "not_ready": 2, "sleeping": 3},
            "datastores": {
                "etcd": {"count": 1, "used_by_count": 9}, "postgres": {"count": 2, "used_by_count": 1},
                "mysql": {"count": 0, "used_by_count": 0}, "nats": {"count": 0, "used_by_count": 0},
            },
        })
    }

    fn version(text: &str) -> KubernetesVersion {
        text.parse().unwrap()
    }

    #[test]
    fn stats_become_a_snapshot_under_a_pseudonym() {
        let snapshot = records::<Stats>(&stats()).unwrap().snapshots.remove(0);
        assert_eq!(snapshot.report.counts, StateCounts { running: 4, sleeping: 3, not_ready: 2, upgrading: 1 });
        assert_eq!(snapshot.report.source, Source::Kamaji);
        assert_ne!(snapshot.installation.to_string(), stats()["uuid"]);
        let dimensions: Vec<_> =
            snapshot.report.dimensions.iter().map(|(of, count)| (of.metric().name, of.value(), *count)).collect();
        let expected = [
            ("kamaji.datastore.count", "etcd", 1),
            ("kamaji.datastore.used_by", "etcd", 9),
            ("kamaji.datastore.count", "PostgreSQL", 2),
            ("kamaji.datastore.used_by", "PostgreSQL", 1),
        ];
        assert_eq!(dimensions, expected);
    }

    #[test]
    fn stats_are_read_flat_and_in_either_case_of_the_uuid() {
        let nested = records::<Stats>(&stats()).unwrap();
        let mut flat = stats();
        let states = flat.as_object_mut().unwrap().remove("tenant_control_plane").unwrap();
        flat.as_object_mut().unwrap().extend(states.as_object().unwrap().clone());
        flat["uuid"] = "6F8BD8E2-6D1F-4C0E-9A53-0D9F2B8F9A11".into();
        assert_eq!(records::<Stats>(&flat), Some(nested));
    }

    #[test]
    fn stats_without_a_count_or_out_of_range_are_rejected() {
        for (pointer, value) in [
            ("/tenant_control_plane/running", Value::Null),
            ("/tenant_control_plane/running", json!(1_000_001)),
            ("/tenant_control_plane/running", json!(-1)),
            ("/tenant_control_plane/running", json!(1.5)),
            ("/tenant_control_plane/running", json!("4")),
            ("/tenant_control_plane", json!({"running": 1})),
            ("/tenant_control_plane", Value::Null),
            ("/datastores/etcd/count", json!(1_000_001)),
            ("/datastores", json!(1)),
            ("/uuid", json!("acme")),
            ("/uuid", Value::Null),
            ("/kamaji_version", Value::Null),
        ] {
            let mut body = stats();
            *body.pointer_mut(pointer).unwrap() = value.clone();
            assert_eq!(records::<Stats>(&body), None, "{pointer} {value}");
        }
    }

    #[test]
    fn every_driver_is_one_of_the_catalog() {
        let one = DriverPayload { count: 1, used_by_count: 1 };
        let all = PayloadDatastores { etcd: one, mysql: one, postgres: one, nats: one };
        assert_eq!(all.dimensions().len(), 2 * DRIVERS.len());
    }

    #[test]
    fn a_creation_is_read_as_sent_and_as_documented() {
        let tcp_version = version("v1.35.1");
        let created = |extended| Some(Event::Created { tcp_version, extended });
        for (own, expected) in [
            (json!({"tcp_version": "v1.35.1"}), created(None)),
            (
                json!({"tcp_version": "1.35.1-acme", "cluster_api": true, "network_profile": "load_balancer"}),
                created(Some(ExtendedAttributes {
                    cluster_api: true,
                    network_profile: Some(NetworkProfile::LoadBalancer),
                })),
            ),
            (
                json!({"tcp_version": "v1.35.1", "cluster_api": false, "network_profile": "acme"}),
                created(Some(ExtendedAttributes { cluster_api: false, network_profile: None })),
            ),
            (json!({}), None),
        ] {
            assert_eq!(event::<Create>(&own), expected, "{own}");
        }
    }

    #[test]
    fn an_update_without_a_version_change_is_acknowledged_and_dropped() {
        let update = |old: &str, new: &str| {
            let body =
                json!({"kamaji_version": "", "kubernetes_version": "", "old_tcp_version": old, "new_tcp_version": new});
            records::<Update>(&body).unwrap().events.into_iter().map(|row| row.record.event).collect::<Vec<_>>()
        };
        for (old, new) in
            [("v1.35.1", "v1.35.1"), ("", "v1.35.1"), ("1.35.1", "v1.35.1-acme"), ("acme", "initech"), ("", "")]
        {
            assert_eq!(update(old, new), [], "{old} {new}");
        }
        let expected = Event::Updated { old_tcp_version: version("v1.34.2"), new_tcp_version: version("v1.35.1") };
        assert_eq!(update("v1.34.2", "v1.35.1"), [expected]);
    }

    #[test]
    fn a_deletion_with_a_status_that_kamaji_does_not_define_is_kept_as_unknown() {
        let tcp_version = version("v1.35.1");
        for (own, status) in [
            (json!({"tcp_version": "v1.35.1", "status": "Sleeping"}), Status::Sleeping),
            (json!({"tcp_version": "v1.35.1", "status": "AcmeSpecial"}), Status::Undefined),
            (json!({"tcp_version": "v1.35.1", "status": ""}), Status::Unknown),
            (json!({"tcp_version": "v1.35.1"}), Status::Unknown),
        ] {
            assert_eq!(event::<Delete>(&own), Some(Event::Deleted { status, tcp_version }), "{own}");
        }
    }

    proptest! {
        #[test]
        fn no_text_of_a_body_is_in_the_rows(text in "[ -~]{0,12}|v?[0-9]{1,3}(\\.[0-9]{1,3}){2}[-+.]?|\\PC{0,8}", extra in "\\PC{0,8}") {
            let marked = format!("{text}acmebank");
            let mut stats = stats();
            stats["kamaji_version"] = marked.as_str().into();
            stats["kubernetes_version"] = marked.as_str().into();
            stats[format!("{extra}acmebank")] = marked.as_str().into();
            let body = json!({
                "kamaji_version": marked, "kubernetes_version": marked, "tcp_version": marked, "status": marked,
                "old_tcp_version": marked, "new_tcp_version": "v1.35.1", "cluster_api": true, "network_profile": marked,
                "name": marked,
            });
            let all = [
                records::<Stats>(&stats), records::<Create>(&body), records::<Update>(&body), records::<Delete>(&body),
            ];
            for batch in all {
                let rows = format!("{:?}", batch.unwrap());
                prop_assert!(!rows.contains("acmebank"), "{}", rows);
            }
        }

        #[test]
        fn any_bytes_are_read_or_rejected(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = serde_json::from_slice::<Stats>(&body);
            let _ = serde_json::from_slice::<Create>(&body);
        }
    }
}
