//! Arbitrary JSON and bytes on the paths of Kamaji's built-in telemetry. `make soak` tries a million of each.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use serde_json::{Value, json};
use uuid::Uuid;

use super::payload::{Create, Delete, Payload, ReceiveContext, Stats, Update};
use crate::backend::store::{Batch, PseudonymKey};
use crate::catalog::MAX_COUNT;

/// A part of each text that is not the catalog's.
const MARK: &str = "acmebank";

const KEYS: [&str; 22] = [
    "uuid",
    "kamaji_version",
    "kubernetes_version",
    "tenant_control_plane",
    "datastores",
    "running",
    "sleeping",
    "not_ready",
    "upgrading",
    "etcd",
    "mysql",
    "postgres",
    "nats",
    "count",
    "used_by_count",
    "tcp_version",
    "old_tcp_version",
    "new_tcp_version",
    "status",
    "cluster_api",
    "network_profile",
    "acmebank",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("6f8bd8e2-6d1f-4c0e-9a53-0d9f2b8f9a11".to_owned()),
        Just("v1.35.1".to_owned()),
        Just(format!("v1.35.1-{MARK}")),
        Just("Ready".to_owned()),
        "\\PC{0,20}".prop_map(|text| format!("{text}{MARK}")),
        Just(String::new()),
    ]
}

/// Returns a strategy for values with known keys in any place.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..=MAX_COUNT + 1).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((prop::sample::select(&KEYS[..]), inner), 0..8).prop_map(|members| Value::Object(
                members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            )),
        ]
    })
}

/// Returns a body that is valid on all four paths.
fn valid_body() -> Value {
    json!({
        "uuid": "6f8bd8e2-6d1f-4c0e-9a53-0d9f2b8f9a11", "kamaji_version": "v1.0.0", "kubernetes_version": "v1.36.0",
        "tenant_control_plane": {"running": 4, "upgrading": 1, "not_ready": 2, "sleeping": 3},
        "datastores": {"etcd": {"count": 1, "used_by_count": 9}},
        "tcp_version": "v1.35.1", "old_tcp_version": "v1.34.2", "new_tcp_version": "v1.35.1", "status": "Ready",
        "cluster_api": true, "network_profile": "gateway",
    })
}

/// Returns the records of a body on each of the four paths.
fn accepted(body: &[u8]) -> Vec<Batch> {
    fn records<P: Payload>(body: &[u8]) -> Option<Batch> {
        let key = PseudonymKey::from([7; PseudonymKey::LENGTH]);
        let now = "2026-11-23T20:34:56Z".parse().ok()?;
        serde_json::from_slice::<P>(body).ok()?.into_records(&ReceiveContext {
            now,
            uid: Uuid::from_u128(1),
            key: &key,
        })
    }
    [records::<Stats>(body), records::<Create>(body), records::<Update>(body), records::<Delete>(body)]
        .into_iter()
        .flatten()
        .collect()
}

/// Checks that each path accepts at most one record, of the catalog's values only.
fn check(body: &[u8]) -> TestCaseResult {
    for Batch { snapshots, events } in accepted(body) {
        prop_assert!(snapshots.len() + events.len() <= 1);
        let rows = format!("{snapshots:?} {events:?}");
        prop_assert!(!rows.contains(MARK) && !rows.contains("6f8bd8e2"), "{rows}");
        for snapshot in snapshots {
            let counts = snapshot.report.counts;
            let states = [counts.running, counts.sleeping, counts.not_ready, counts.upgrading];
            let dimensions = snapshot.report.dimensions.iter().map(|(_, count)| *count);
            prop_assert!(states.into_iter().chain(dimensions).all(|count| count <= MAX_COUNT));
        }
    }
    Ok(())
}

#[test]
fn the_valid_body_is_accepted_on_each_path() {
    assert_eq!(accepted(valid_body().to_string().as_bytes()).len(), 4);
}

proptest! {
    #[test]
    fn any_json_is_accepted_as_the_catalog_allows_or_rejected(
        alone in value(), key in prop::sample::select(&KEYS[..]), inner in value()
    ) {
        check(alone.to_string().as_bytes())?;
        let mut within = valid_body();
        within[key] = inner;
        check(within.to_string().as_bytes())?;
    }

    #[test]
    fn any_bytes_of_json_are_accepted_as_the_catalog_allows_or_rejected(
        raw in vec(any::<u8>(), 0..200), place in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        check(&raw)?;
        let mut corrupted = valid_body().to_string().into_bytes();
        let place = place.index(corrupted.len());
        corrupted[place] = byte;
        check(&corrupted)?;
        corrupted.truncate(place);
        check(&corrupted)?;
    }
}
