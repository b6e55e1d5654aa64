//! Kamaji's built-in telemetry, as its client sends it, on a real socket.

use kamaji_telemetry::backend::store::fold::EventChange;
use kamaji_telemetry::backend::store::{Facts, SourceKind};
use serde_json::json;
use uuid::Uuid;

use super::harness::{Backend, JSON, Reply, stored_bytes, today};

/// Returns the body that Kamaji's client posts to `/stats`.
pub(crate) fn stats(cluster: Uuid) -> String {
    let none = json!({"count": 0, "used_by_count": 0});
    json!({
        "uuid": cluster, "kamaji_version": "v1.0.0", "kubernetes_version": "v1.35.1",
        "tenant_control_plane": {"running": 4, "upgrading": 1, "not_ready": 2, "sleeping": 3},
        "datastores": {"etcd": {"count": 1, "used_by_count": 10}, "postgres": none, "mysql": none, "nats": none},
    })
    .to_string()
}

/// Returns a body with the fields of the other three paths.
fn change(old: &str, new: &str) -> String {
    json!({
        "kamaji_version": "edge-24.12.1", "kubernetes_version": "v1.30.4+k3s1", "tcp_version": new, "status": "Ready",
        "old_tcp_version": old, "new_tcp_version": new, "cluster_api": true, "network_profile": "node_port",
    })
    .to_string()
}

async fn post(backend: &Backend, path: &str, body: &str) -> Reply {
    let agent = ("user-agent", "clastix/kamaji-telemetry");
    backend.post(path, &[JSON, agent], body.as_bytes()).await
}

#[tokio::test]
async fn a_post_of_kamaji_is_stored_before_the_response() {
    let backend = Backend::start().await;
    let cluster = Uuid::new_v4();
    backend.received_from_kamaji_before(cluster).await;
    for _ in 0..2 {
        let reply = post(&backend, "/stats", &stats(cluster)).await;
        assert_eq!((reply.status, reply.text()), (200, ""));
    }
    assert_eq!((backend.count("latest"), backend.count("days")), (1, 2));
    for (path, events) in [("/create", 1), ("/update", 2), ("/delete", 3)] {
        assert_eq!(post(&backend, path, &change("v1.34.2", "v1.35.1")).await.status, 200, "{path}");
        assert_eq!(backend.count("events"), events, "{path}");
    }
    let facts = backend.facts(SourceKind::Kamaji, today()).await;
    assert_eq!((facts.pairs.len(), facts.pairs[0].control_planes), (1, 10));
    let mut changes: Vec<_> = facts.event_days.iter().map(|fact| (fact.change, fact.events)).collect();
    changes.sort_unstable();
    assert_eq!(changes, [(EventChange::Created, 1), (EventChange::MinorUpdated, 1), (EventChange::Deleted, 1)]);
}

#[tokio::test]
async fn its_numbers_are_shown_apart_and_never_added() {
    let backend = Backend::start().await;
    let cluster = Uuid::new_v4();
    backend.received_from_kamaji_before(cluster).await;
    post(&backend, "/stats", &stats(cluster)).await;
    post(&backend, "/create", &change("", "v1.35.1")).await;
    assert_eq!(backend.facts(SourceKind::Agent, today()).await, Facts::default());
    let received = async |source| {
        let active = backend.overview(source, "active").await.remove(0);
        (active["installations"].clone(), backend.overview(source, "day").await)
    };
    assert_eq!(received("agent").await, (0.into(), vec![]));
    let (active, days) = received("kamaji").await;
    assert_eq!((active, days.len(), &days[0]["control_planes"]), (1.into(), 1, &10.into()));
    let sources = [backend.installations().await[0].source.clone(), backend.events().await[0].source.clone()];
    assert_eq!(sources, ["kamaji", "kamaji"]);
}

#[tokio::test]
async fn the_uid_of_a_cluster_is_in_no_file() {
    let backend = Backend::start().await;
    let cluster = Uuid::new_v4();
    post(&backend, "/stats", &stats(cluster)).await;
    assert_eq!(backend.count("latest"), 1);
    let bytes = stored_bytes(backend.file().parent().unwrap());
    let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(!holds(cluster.as_bytes()) && !holds(cluster.to_string().as_bytes()));
    assert!(holds(b"v1.35.1"), "what is stored is found");
}

#[tokio::test]
async fn a_cluster_stays_one_installation_across_a_restart() {
    let backend = Backend::start().await;
    let cluster = Uuid::new_v4();
    post(&backend, "/stats", &stats(cluster)).await;
    let backend = backend.restart().await;
    post(&backend, "/stats", &stats(cluster)).await;
    post(&backend, "/stats", &stats(Uuid::new_v4())).await;
    assert_eq!(backend.count("latest"), 2);
}

#[tokio::test]
async fn an_update_that_changes_no_version_is_acknowledged_and_not_stored() {
    let backend = Backend::start().await;
    for (old, new) in [("v1.35.1", "v1.35.1"), ("", "v1.35.1"), ("v1.35.1", "1.35.1-acme.7")] {
        assert_eq!(post(&backend, "/update", &change(old, new)).await.status, 200);
    }
    assert_eq!(backend.rows(), 0);
}

#[tokio::test]
async fn a_malformed_body_is_rejected_without_an_echo() {
    let backend = Backend::start().await;
    let mut large = stats(Uuid::new_v4());
    large.insert_str(1, &format!("\"acme\": \"{}\", ", "a".repeat(4096)));
    let deep = format!("{{\"acme\": {}", "[".repeat(2000));
    let text = ("content-type", "text/plain");
    let good = stats(Uuid::new_v4());
    for (header, body, status, expected) in [
        (text, good.as_bytes(), 400, "application/json"),
        (JSON, br#"{"uuid": "acme"}"#, 400, "kamaji_version"),
        (JSON, b"acme", 400, "JSON"),
        (JSON, b"", 400, "JSON"),
        (JSON, b"[]", 400, "JSON"),
        (JSON, b"\xff\xfe", 400, "JSON"),
        (JSON, deep.as_bytes(), 400, "JSON"),
        (JSON, large.as_bytes(), 413, "4096"),
    ] {
        for path in ["/stats", "/create", "/update", "/delete"] {
            let reply = backend.post(path, &[header], body).await;
            assert_eq!(reply.status, status, "{path} {reply:?}");
            assert!(reply.text().contains(expected) && !reply.text().contains("acme"), "{path} {}", reply.text());
        }
    }
    assert_eq!((backend.rows(), backend.get("/stats").await.status), (0, 405));
}

#[tokio::test]
async fn the_fields_that_its_client_does_not_have_are_not_stored() {
    let backend = Backend::start().await;
    let body = stats(Uuid::new_v4()).replacen('{', r#"{"cluster_name": "acmebank", "#, 1);
    assert_eq!(post(&backend, "/stats", &body).await.status, 200);
    let bytes = stored_bytes(backend.file().parent().unwrap());
    assert!(!bytes.windows(8).any(|window| window == b"acmebank"));
}
