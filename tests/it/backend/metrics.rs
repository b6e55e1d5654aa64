//! The backend's own metrics and gRPC health, of a process of its own.

use prost::Message;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use uuid::Uuid;

use super::harness::{JSON, PROTOBUF, request};
use super::kamaji::stats;
use super::samples::{created, logs_request, metrics_request, now, state_gauges};
use crate::program::Backend;
use crate::servers::eventually;

/// Returns the value of one series, by its name without the prefix, with its labels.
fn value(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("kamaji_telemetry_backend_{name} ")));
    line.unwrap_or_else(|| panic!("{name} is not in\n{metrics}")).parse().unwrap()
}

#[tokio::test]
async fn the_metrics_count_requests_and_the_outcome_of_their_records() {
    let backend = Backend::start().await;
    let before = backend.metrics().await;
    for name in [
        "records_rejected_total{reason=\"snapshot\"}",
        "records_accepted_total{kind=\"event\"}",
        "commits_total{result=\"failure\"}",
        "last_write_timestamp_seconds",
        "records_expired_total",
        "write_queue_records",
    ] {
        assert!(value(&before, name).abs() < f64::EPSILON, "{name}");
    }
    let mut unknown = created(Uuid::new_v4(), now());
    unknown.event_name = "acmebank".into();
    let late = created(Uuid::new_v4(), 1);
    let mut client = backend.logs_client().await;
    client.export(logs_request(vec![created(Uuid::new_v4(), now()), unknown.clone(), late])).await.unwrap();
    client.export(logs_request(vec![unknown])).await.unwrap_err();
    let too_large = logs_request(vec![created(Uuid::new_v4(), now()); 4_000]);
    client.export(too_large).await.unwrap_err();
    let gauges = metrics_request(Uuid::new_v4(), state_gauges([1, 2, 3, 4], now())).encode_to_vec();
    let post = async |path, header, body: &[u8]| request(backend.http(), "POST", path, &[header], body).await.status;
    assert_eq!(post("/v1/metrics", PROTOBUF, &gauges).await, 200);
    assert_eq!(post("/v1/metrics", ("content-type", "text/plain"), &gauges).await, 415);
    assert_eq!(post("/stats", JSON, stats(Uuid::new_v4()).as_bytes()).await, 200);
    assert_eq!(post("/stats", JSON, b"acmebank").await, 400);

    let metrics = backend.metrics().await;
    for (name, expected) in [
        ("requests_total{transport=\"grpc\",result=\"success\"}", 1),
        ("requests_total{transport=\"grpc\",result=\"invalid_argument\"}", 2),
        ("requests_total{transport=\"http\",result=\"200\"}", 1),
        ("requests_total{transport=\"http\",result=\"415\"}", 1),
        ("requests_total{transport=\"kamaji\",result=\"200\"}", 1),
        ("requests_total{transport=\"kamaji\",result=\"400\"}", 1),
        ("records_accepted_total{kind=\"event\"}", 1),
        ("records_accepted_total{kind=\"snapshot\"}", 2),
        ("records_rejected_total{reason=\"unknown_signal\"}", 2),
        ("records_rejected_total{reason=\"malformed\"}", 1),
        ("records_expired_total", 1),
        ("commits_total{result=\"success\"}", 3),
        ("commit_duration_seconds_count", 3),
        ("write_queue_records", 0),
    ] {
        assert!((value(&metrics, name) - f64::from(expected)).abs() < f64::EPSILON, "{name} in\n{metrics}");
    }
    assert!(value(&metrics, "last_write_timestamp_seconds") > 1_700_000_000.0);
    assert!(!metrics.contains("acmebank"));
    eventually("the size of the store", async || {
        (value(&backend.metrics().await, "store_size_bytes") > 4_096.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn grpc_health_tells_whether_it_serves() {
    let backend = Backend::start().await;
    let mut client = HealthClient::new(backend.channel().await);
    let logs = "opentelemetry.proto.collector.logs.v1.LogsService";
    for service in ["", logs, "opentelemetry.proto.collector.metrics.v1.MetricsService"] {
        // Nothing is served before the first check of the store.
        eventually("the service to be served", async || {
            let request = HealthCheckRequest { service: service.into() };
            let status = client.check(request).await.unwrap().into_inner().status;
            (status == i32::from(ServingStatus::Serving)).then_some(())
        })
        .await;
    }
    assert!(client.check(HealthCheckRequest { service: "nowhere".into() }).await.is_err());
}
