//! The record of what the backend refused and of when it served, through its ports.

use jiff::Timestamp;
use kamaji_telemetry::backend::store::{FactsQuery, Hour, SourceKind, SqliteStore, Store};
use prost::Message;
use uuid::Uuid;

use super::harness::{Backend, JSON, PROTOBUF};
use super::samples::{created, logs_request, now};

#[tokio::test]
async fn what_was_refused_is_known_by_day_and_reason_after_a_shutdown() {
    let started = Hour::of(Timestamp::now());
    let backend = Backend::start().await;
    let mut unknown = created(Uuid::new_v4(), now());
    unknown.event_name = "acmebank".into();
    let late = created(Uuid::new_v4(), 1);
    let mut client = backend.logs_client().await;
    client.export(logs_request(vec![created(Uuid::new_v4(), now()), unknown.clone(), late])).await.unwrap();
    client.export(logs_request(vec![unknown.clone(), unknown])).await.unwrap_err();
    let too_many = logs_request(vec![created(Uuid::new_v4(), now()); 2_001]).encode_to_vec();
    assert_eq!(backend.post("/v1/logs", &[PROTOBUF], &too_many).await.status, 400);
    assert_eq!(backend.post("/v1/metrics", &[("content-type", "text/plain")], b"").await.status, 415);
    assert_eq!(backend.post("/v1/traces", &[PROTOBUF], b"").await.status, 404);
    assert_eq!(backend.post("/stats", &[JSON], b"acmebank").await.status, 400);
    // A reader's request is no record.
    assert_eq!(backend.send("GET", "/api/v1/insights/overview", &[]).await.status, 401);

    let folder = backend.stop().await;
    let store = SqliteStore::open_existing(&folder.path().join("telemetry.db")).unwrap();
    let query = FactsQuery { operations: Some(started.day()), ..FactsQuery::new(SourceKind::Agent, started.day()) };
    let facts = store.facts(vec![query]).await.unwrap().remove(0);
    let refusals: Vec<_> = facts.refusals.iter().map(|fact| (fact.reason.as_str(), fact.records)).collect();
    let expected = [
        ("content_type", 1),
        ("expired", 1),
        ("malformed", 1),
        ("too_many_items", 1),
        ("unknown_signal", 3),
        ("unrouted", 1),
    ];
    // One that was sent after midnight is of another day.
    let of_one_day = Hour::of(Timestamp::now()).day() == started.day();
    assert!(!of_one_day || refusals == expected, "{refusals:?}");
    assert_eq!(facts.refusals.iter().map(|fact| fact.records).sum::<u64>(), 8);
    assert!((1..=2).contains(&facts.served_hours.len()), "{facts:?}");
    assert_eq!(facts.served_hours[0].hour, started);
}
