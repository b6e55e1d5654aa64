//! OTLP as JSON over HTTP: what is taken, and the format of each response.

use kamaji_telemetry::backend::Limits;
use serde_json::{Value, json};
use uuid::Uuid;

use super::harness::{Backend, GZIP, JSON, PROTOBUF, Reply, converse, gzip, unlimited};
use super::samples::{created, created_with, extended_gauges, logs_request, metrics_request, now, state_gauges};

/// A request as the JSON of the OpenTelemetry protocol's own examples, with a field that no version has.
fn gauges(installation: Uuid) -> Value {
    let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let gauge = |name: &str, count: Value| {
        json!({"name": format!("kamaji.tcp.{name}"), "unit": "{tenant_control_plane}", "gauge": {"dataPoints": [{
            "attributes": [attribute("kamaji_version", "v1.0.0"), attribute("kubernetes_version", "v1.35.1")],
            "timeUnixNano": now().to_string(),
            "asInt": count,
            "ofAVersionToCome": {"a": [1, null]},
        }]}})
    };
    json!({"resourceMetrics": [{
        "resource": {"attributes": [
            attribute("service.name", "kamaji-telemetry"),
            attribute("service.version", "0.1.0"),
            attribute("service.instance.id", &installation.to_string()),
        ]},
        "scopeMetrics": [{
            "scope": {"name": "kamaji-telemetry", "version": null},
            "metrics": [
                gauge("running", json!("5")),
                gauge("sleeping", json!(2)),
                gauge("not_ready", json!("1")),
                gauge("upgrading", json!(0)),
            ],
        }],
    }]})
}

fn body(reply: &Reply) -> Value {
    assert_eq!(reply.header("content-type"), Some("application/json"), "{reply:?}");
    serde_json::from_slice(&reply.body).unwrap()
}

#[tokio::test]
async fn gauges_of_hand_written_json_are_stored_and_shown() {
    let backend = Backend::start().await;
    let installation = Uuid::new_v4();
    backend.received_before(installation).await;
    let reply = backend.post("/v1/metrics", &[JSON], gauges(installation).to_string().as_bytes()).await;
    assert_eq!((reply.status, body(&reply)), (200, json!({})));
    let shown = &backend.installations().await[0];
    assert_eq!([shown.running, shown.sleeping, shown.not_ready, shown.upgrading], [5, 2, 1, 0]);
}

#[tokio::test]
async fn both_signals_are_taken_as_json_plain_and_compressed() {
    let backend = Backend::start().await;
    for headers in [&[JSON][..], &[JSON, GZIP], &[("content-type", "Application/JSON; charset=utf-8")]] {
        let encode = |body: Vec<u8>| if headers.len() == 2 { gzip(&body) } else { body };
        let metrics = state_gauges([1, 0, 0, 0], now()).into_iter().chain(extended_gauges(now())).collect();
        let metrics = serde_json::to_vec(&metrics_request(Uuid::new_v4(), metrics)).unwrap();
        let logs = serde_json::to_vec(&logs_request(vec![created_with(Uuid::new_v4(), now())])).unwrap();
        for (path, request) in [("/v1/metrics", metrics), ("/v1/logs", logs)] {
            let reply = backend.post(path, headers, &encode(request)).await;
            assert_eq!((reply.status, body(&reply)), (200, json!({})), "{headers:?}");
        }
    }
    assert_eq!((backend.count("latest"), backend.count("events")), (3, 3));
    // A point takes 8 bytes.
    assert_eq!(backend.count("latest WHERE length(dimensions) = 5 * 8"), 3);
}

#[tokio::test]
async fn the_encoding_of_a_body_is_named_in_any_case_and_by_its_other_names() {
    let backend = Backend::start().await;
    let request = || serde_json::to_vec(&logs_request(vec![created(Uuid::new_v4(), now())])).unwrap();
    let post = async |encodings: &[&'static str], body: &[u8]| {
        let headers: Vec<_> =
            [JSON].into_iter().chain(encodings.iter().map(|name| ("content-encoding", *name))).collect();
        backend.post("/v1/logs", &headers, body).await
    };
    for plain in [&["identity"][..], &["Identity"], &[""], &["identity", "IDENTITY"]] {
        assert_eq!(post(plain, &request()).await.status, 200, "{plain:?}");
    }
    for compressed in [&["GZIP"][..], &["x-gzip"], &["X-Gzip"], &["identity, gzip"], &["identity", "gzip"]] {
        assert_eq!(post(compressed, &gzip(&request())).await.status, 200, "{compressed:?}");
    }
    for other in
        [&["br"][..], &["gzip, br"], &["gzip", "br"], &["gzip", "gzip"], &["gzip, gzip"], &["deflate"], &["gzip2"]]
    {
        let reply = post(other, &gzip(&request())).await;
        assert_eq!((reply.status, reply.header("accept-encoding")), (415, Some("gzip, identity")), "{other:?}");
    }
    assert_eq!(backend.count("events"), 9);
}

#[tokio::test]
async fn an_error_is_a_status_in_the_format_of_the_request() {
    let backend = Backend::start().await;
    let mut unknown = created(Uuid::new_v4(), now());
    unknown.event_name = "acme.secret".into();
    let request = logs_request(vec![unknown.clone(), created(Uuid::new_v4(), now())]);
    let reply = backend.post("/v1/logs", &[JSON], &serde_json::to_vec(&request).unwrap()).await;
    let message = "1 rejected: the name is not in the catalog";
    let partial = json!({"partialSuccess": {"rejectedLogRecords": "1", "errorMessage": message}});
    assert_eq!((reply.status, body(&reply)), (200, partial));

    let reply = backend.post("/v1/logs", &[JSON], &serde_json::to_vec(&logs_request(vec![unknown])).unwrap()).await;
    let details = json!([{"@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [{"description": message}]}]);
    assert_eq!((reply.status, body(&reply)), (400, json!({"code": 3, "message": message, "details": details})));

    let reply = backend.send("GET", "/v1/logs", &[JSON]).await;
    assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")));
    assert_eq!(body(&reply)["message"], "this path has no such method: expected POST");
    let reply = backend.post("/v1/traces", &[JSON], b"{}").await;
    assert_eq!(reply.status, 404);
    let message = body(&reply)["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("only the metrics and logs of kamaji-telemetry are taken here"), "{message}");
    let reply = backend.post("/v1/logs", &[JSON, ("content-encoding", "br")], b"{}").await;
    assert_eq!((reply.status, body(&reply)["code"].clone()), (415, json!(12)));
    for headers in [&[][..], &[("content-type", "text/plain")], &[("content-type", "application/jsonp")]] {
        let reply = backend.post("/v1/logs", headers, b"{}").await;
        assert_eq!((reply.status, reply.header("content-type")), (415, Some(PROTOBUF.1)), "{headers:?}");
    }
    assert_eq!(backend.rows(), 1);
}

#[tokio::test]
async fn a_limit_is_told_in_json_too() {
    let backend = Backend::limited(Limits { requests: 1, ..unlimited() }).await;
    let mut stream = tokio::net::TcpStream::connect(backend.http).await.unwrap();
    let refused = loop {
        let reply = converse(&mut stream, "POST", "/v1/logs", &[JSON], b"{}").await;
        if reply.status != 200 {
            break reply;
        }
    };
    let body = body(&refused);
    let expected = format!("{}s", refused.header("retry-after").unwrap());
    assert_eq!(refused.status, 429);
    assert_eq!(
        body["details"][0],
        json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": expected})
    );
}
