//! The page and what is beside it.

use uuid::Uuid;

use super::harness::Backend;
use super::samples::{created_with, deleted, logs_request, metrics_request, now, state_gauges, updated};
use crate::servers::eventually;

#[tokio::test]
async fn the_page_shows_installations_counts_and_events() {
    let backend = Backend::start().await;
    let installation = Uuid::new_v4();
    backend.received_before(installation).await;
    let gauges = metrics_request(installation, state_gauges([12_345, 2, 1, 0], now()));
    backend.metrics_client().await.export(gauges).await.unwrap();
    let uid = Uuid::new_v4;
    let records = vec![created_with(uid(), now()), updated(uid(), now()), deleted(uid(), now())];
    backend.logs_client().await.export(logs_request(records)).await.unwrap();
    let reply = backend.get("/").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let page = reply.text();
    for shown in [
        "12,345",
        "12,348",
        "0 not confirmed",
        "v1.34.2 → v1.35.1",
        "was NotReady",
        "through Cluster API, exposed by gateway",
        "events, not installations",
    ] {
        assert!(page.contains(shown), "{shown} is not in {page}");
    }
    assert!(!page.contains("No data yet"));
    assert!(!page.contains(&installation.to_string()), "who knows a UUID can write");
}

#[tokio::test]
async fn an_empty_page_says_how_to_send_the_first_data() {
    let backend = Backend::start().await;
    let page = backend.get("/").await;
    let command = format!("kamaji-telemetry agent --endpoint http://localhost:{}", backend.grpc.port());
    assert!(page.text().contains("No data yet") && page.text().contains(&command), "{}", page.text());
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere_and_runs_nothing() {
    let backend = Backend::start().await;
    for path in ["/", "/style.css", "/icon.svg", "/api/v1/insights/overview", "/nowhere"] {
        let reply = backend.get(path).await;
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'self'; img-src 'self';"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
    }
    let page = backend.get("/").await;
    for reference in page.text().split(" href=\"").skip(1) {
        assert!(reference.starts_with('/'), "{reference}");
    }
    for forbidden in ["<script", " style=", " src=", " onload"] {
        assert!(!page.text().contains(forbidden), "{forbidden}");
    }
}

#[tokio::test]
async fn health_is_reported_and_unknown_routes_are_not_found() {
    let backend = Backend::start().await;
    assert_eq!(backend.get("/livez").await.status, 200);
    eventually("it to be ready", async || (backend.get("/readyz").await.status == 200).then_some(())).await;
    for path in ["/nowhere", "/v1/traces", "/api/v1/insights", "/style.css/", "/../etc/passwd"] {
        assert_eq!(backend.get(path).await.status, 404, "{path}");
    }
    assert_eq!(backend.get("/v1/logs").await.status, 405);
}

#[tokio::test]
async fn the_json_is_the_documented_one() {
    let backend = Backend::start().await;
    let installation = Uuid::new_v4();
    backend.received_before(installation).await;
    let gauges = metrics_request(installation, state_gauges([5, 2, 1, 0], now()));
    backend.metrics_client().await.export(gauges).await.unwrap();
    backend.logs_client().await.export(logs_request(vec![updated(Uuid::new_v4(), now())])).await.unwrap();
    let reply = backend.get("/api/v1/insights/overview").await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let json: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(json["seen"]["day"], serde_json::json!({"active": 1, "not_confirmed": 0, "bulk": 0}));
    assert_eq!(
        json["current"]["control_planes"],
        serde_json::json!({"running": 5, "sleeping": 2, "not_ready": 1, "upgrading": 0, "left_out": 0})
    );
    let id = json["installations"][0]["id"].as_str().unwrap();
    assert!(id.len() == 16 && !installation.simple().to_string().contains(id), "{id}");
    let event = json["events"][0].as_object().unwrap();
    let keys: Vec<_> = event.keys().map(String::as_str).collect();
    let mut expected = ["time", "name", "old_tcp_version", "new_tcp_version", "kamaji_version", "kubernetes_version"];
    expected.sort_unstable();
    let mut sorted = keys;
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    let days = json["days"].as_array().unwrap();
    assert_eq!((days.len(), days[29]["installations"].as_u64()), (30, Some(1)));
}
