//! The public page.

use std::net::Ipv4Addr;
use std::sync::Arc;

use jiff::Timestamp;
use kamaji_telemetry::backend::insights::public_week::{PublicDimension, PublicRow, PublicTable, PublicWeek};
use kamaji_telemetry::backend::store::{Batch, GaugeSnapshot, Hour, Report, Source, SqliteStore, StateCounts, Store};
use kamaji_telemetry::backend::{Limits, ManualClock, SecurityConfig, ServeSettings};
use kamaji_telemetry::catalog::{KamajiVersion, KubernetesVersion};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use super::harness::{Backend, PUBLISHED_WEEK, connect_from, converse, unlimited};
use crate::servers::{checkout, eventually};

const PATHS: [&str; 3] = ["/public", "/public/2026-11-16", "/api/v1/public/weeks"];

#[tokio::test]
async fn without_the_flag_there_is_no_public_page_and_no_week_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let backend = serve(fleet_in(folder).await, at("2026-11-23T01:00:00Z"), false).await;
    for path in PATHS {
        let reply = backend.send("GET", path, &[]).await;
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (404, None), "{path}");
        assert_eq!(backend.get(path).await.status, 404, "{path}, for an admin");
    }
    // The jobs run at the start: this one's first run is over when the health check's is.
    eventually("it to be ready", async || (backend.get("/readyz").await.status == 200).then_some(())).await;
    assert_eq!(backend.count("public_weeks"), 0);
}

#[tokio::test]
async fn everybody_may_read_it_from_any_site_and_caches_may_keep_it() {
    let backend = Backend::public().await;
    for (path, cache) in [
        ("/public", "public, max-age=3600"),
        ("/public/2026-11-16", "public, max-age=31536000, immutable"),
        ("/api/v1/public/weeks", "public, max-age=3600"),
    ] {
        let origin = ("origin", "https://elsewhere.example.org");
        let reply = backend.send("GET", path, &[origin]).await;
        assert_eq!((reply.status, reply.header("cache-control")), (200, Some(cache)), "{path}");
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"), "{path}");
        for absent in ["set-cookie", "access-control-allow-credentials", "vary"] {
            assert_eq!(reply.header(absent), None, "{path}");
        }
        let with_cookie = backend.send("GET", path, &[origin, ("cookie", "ktt_session=a")]).await;
        assert_eq!(with_cookie.body, reply.body, "{path}");
        let head = backend.send("HEAD", path, &[]).await;
        assert_eq!((head.status, head.header("cache-control")), (200, Some(cache)), "{path}");
        assert_eq!(backend.send("POST", path, &[origin]).await.status, 405, "{path}");
    }
    for (path, cache) in
        [("/", "no-store"), ("/style.css", "no-store"), ("/api/v1/insights/overview", "private, no-cache")]
    {
        let reply = backend.get(path).await;
        assert_eq!(reply.header("access-control-allow-origin"), None, "{path}");
        assert_eq!(reply.header("cache-control"), Some(cache), "{path}");
    }
}

#[tokio::test]
async fn a_week_that_was_not_published_is_not_found_and_not_cached() {
    let backend = Backend::public().await;
    for path in ["/public/2026-11-09", "/public/2026-11-17", "/public/x", "/public/2026-11-16%20", "/public/"] {
        let reply = backend.send("GET", path, &[]).await;
        assert_eq!((reply.status, reply.header("cache-control")), (404, Some("no-store")), "{path}");
    }
    let reply = backend.send("GET", "/public/2026-11-09", &[]).await;
    assert!(reply.text().contains("such as /public/2026-11-16"), "{reply:?}");
}

#[tokio::test]
async fn the_page_says_what_is_collected_and_how_to_opt_out_before_there_is_a_week() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("telemetry.db")).unwrap();
    let backend = serve((folder, store), at("2026-11-23T01:00:00Z"), true).await;
    let reply = backend.send("GET", "/public", &[]).await;
    for shown in
        ["No week yet", "kamaji.tcp.running", "kamaji.tcp.deleted", "telemetry.disabled=true", "docs/agent.md#opt-out"]
    {
        assert!(reply.text().contains(shown), "{shown} is not in {}", reply.text());
    }
    let answer: Value = serde_json::from_slice(&backend.send("GET", PATHS[2], &[]).await.body).unwrap();
    assert_eq!(answer["weeks"], json!([]));
    assert!(answer["rule"].as_array().unwrap().len() > 3);
}

#[tokio::test]
async fn below_fifty_installations_the_page_says_only_that() {
    let backend = Backend::public().await;
    let page = backend.send("GET", "/public/2026-11-16", &[]).await;
    assert!(page.text().contains("Fewer than 54 installations.") && !page.text().contains("<table"), "{page:?}");
    let answer: Value = serde_json::from_slice(&backend.send("GET", PATHS[2], &[]).await.body).unwrap();
    assert_eq!(answer["weeks"], json!([{"week": PUBLISHED_WEEK, "fewer_than": 54, "tables": []}]));
}

#[tokio::test]
async fn a_week_is_published_on_monday_at_one_and_erasure_and_a_restart_leave_it_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let backend = serve(fleet_in(folder).await, at("2026-11-23T00:59:59Z"), true).await;
    // The week before is published at the start, since it was not yet.
    let before = eventually("a week", async || weeks(&backend).await.first().cloned()).await;
    assert_eq!((&before["week"], &before["fewer_than"]), (&json!("2026-11-09"), &json!(54)));
    let backend = restart(backend, at("2026-11-23T01:00:00Z")).await;
    let newest = async |backend: &Backend| {
        let week = weeks(backend).await.first().cloned();
        week.filter(|week| week["week"] == PUBLISHED_WEEK)
    };
    let made = eventually("the next week", async || newest(&backend).await).await;
    assert_eq!(made["fewer_than"], Value::Null);
    for table in made["tables"].as_array().unwrap() {
        let rows = table["rows"].as_array().unwrap();
        assert!(rows.len() >= 2 && rows.iter().all(|row| row["at_least"].as_u64().unwrap() % 5 == 0), "{table}");
        assert!(rows.iter().all(|row| row["at_least"].as_u64().unwrap() >= 10), "{table}");
        let sum: u64 = rows.iter().map(|row| row["at_least"].as_u64().unwrap()).sum();
        assert_eq!(table["sum_at_least"], sum + table["others_at_least"].as_u64().unwrap_or(0), "{table}");
    }
    let page = backend.send("GET", "/public/2026-11-16", &[]).await;
    assert!(page.text().contains(">v1.1</th>") && page.text().contains("or more"), "{}", page.text());
    assert!(!page.text().contains("v1.1.0"), "an exact version");

    for installation in 0..60 {
        backend.store().erase(Uuid::from_u128(installation)).await.unwrap();
    }
    let backend = restart(backend, at("2026-11-24T12:00:00Z")).await;
    eventually("it to be ready", async || (backend.get("/readyz").await.status == 200).then_some(())).await;
    assert_eq!(weeks(&backend).await, [made, before]);
}

#[tokio::test]
async fn it_is_limited_as_other_pages_are() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("telemetry.db")).unwrap();
    let security = SecurityConfig { limits: Limits { requests: 1, ..unlimited() }, ..SecurityConfig::default() };
    let settings = ServeSettings { security, public_page: true, ..ServeSettings::default() };
    let backend = Backend::serve_with(folder, Arc::new(store).into(), settings).await;
    let mut connection = connect_from(Ipv4Addr::LOCALHOST, backend.http).await.unwrap();
    let mut status = 200;
    // Twenty seconds' worth may come at once.
    for _ in 0..100 {
        status = converse(&mut connection, "GET", "/public", &[], &[]).await.status;
        if status != 200 {
            break;
        }
    }
    assert_eq!(status, 429);
}

#[test]
fn the_json_of_a_week_is_the_documented_one() {
    let row = |category: &str, at_least| PublicRow { category: category.into(), at_least };
    let table = PublicTable {
        table: PublicDimension::KamajiMinor,
        rows: vec![row("v1.1", 35), row("v1.0", 20)],
        others_at_least: None,
        sum_at_least: 55,
    };
    let week = PublicWeek { week: PUBLISHED_WEEK.parse().unwrap(), fewer_than: None, tables: vec![table] };
    let documentation = std::fs::read_to_string(checkout("docs/backend.md")).unwrap();
    let json = serde_json::to_string(&week).unwrap();
    assert!(documentation.contains(&format!("```json\n{json}\n```")), "{json}");
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Creates a store with 60 installations that were received in the week of November 16 for the last time.
async fn fleet_in(folder: TempDir) -> (TempDir, SqliteStore) {
    let store = SqliteStore::open(&folder.path().join("telemetry.db")).unwrap();
    for time in ["2026-10-01T00:00:00Z", "2026-10-05T00:00:00Z", "2026-11-18T12:00:00Z"] {
        let snapshot = |installation: u128| GaugeSnapshot {
            installation: Uuid::from_u128(installation),
            received: Hour::of(at(time)),
            report: Report {
                counts: StateCounts { running: if installation < 25 { 3 } else { 8 }, ..StateCounts::default() },
                source: Source::Agent("0.1.0".parse().unwrap()),
                kamaji_version: KamajiVersion::normalize(if installation < 25 { "v1.1.0" } else { "26.7.4-edge" }),
                kubernetes_version: KubernetesVersion::normalize(if installation < 35 { "v1.35.1" } else { "v1.34.0" }),
                dimensions: vec![],
            },
        };
        store.write(Batch { snapshots: (0..60).map(snapshot).collect(), ..Batch::default() }).await.unwrap();
    }
    (folder, store)
}

/// Serves a store at a time that stands still.
async fn serve((folder, store): (TempDir, SqliteStore), now: Timestamp, public_page: bool) -> Backend {
    let clock = ManualClock::new(now).into();
    Backend::serve_with(
        folder,
        Arc::new(store).into(),
        ServeSettings { clock, public_page, ..ServeSettings::default() },
    )
    .await
}

async fn restart(backend: Backend, now: Timestamp) -> Backend {
    let folder = backend.stop().await;
    let store = SqliteStore::open(&folder.path().join("telemetry.db")).unwrap();
    serve((folder, store), now, true).await
}

async fn weeks(backend: &Backend) -> Vec<Value> {
    let reply = backend.send("GET", "/api/v1/public/weeks", &[]).await;
    let answer: Value = serde_json::from_slice(&reply.body).unwrap();
    answer["weeks"].as_array().unwrap().clone()
}
