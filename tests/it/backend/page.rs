//! The pages of the questions and what is beside them.

use kamaji_telemetry::backend::insights::parameters::QuestionName;
use uuid::Uuid;

use super::equal_answers::plain;
use super::harness::Backend;
use super::samples::{created_with, deleted, logs_request, metrics_request, now, state_gauges, updated};
use crate::servers::eventually;

/// Returns the paths of the pages of all questions.
fn pages() -> Vec<String> {
    let path = |question| match question {
        QuestionName::Overview => "/".to_owned(),
        other => format!("/insights/{other}"),
    };
    QuestionName::ALL.map(path).to_vec()
}

/// Stores a confirmed installation with these control planes by state, and an event of each kind.
async fn send_one(backend: &Backend, states: [i64; 4]) -> Uuid {
    let installation = Uuid::new_v4();
    backend.received_before(installation).await;
    backend.metrics_client().await.export(metrics_request(installation, state_gauges(states, now()))).await.unwrap();
    let uid = Uuid::new_v4;
    let records = vec![created_with(uid(), now()), updated(uid(), now()), deleted(uid(), now())];
    backend.logs_client().await.export(logs_request(records)).await.unwrap();
    installation
}

#[tokio::test]
async fn the_pages_show_aggregates_and_no_installation() {
    let backend = Backend::start().await;
    let installation = send_one(&backend, [12_345, 2, 1, 0]).await;
    for path in pages() {
        let reply = backend.get(&path).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/html; charset=utf-8")), "{path}");
        let page = reply.text();
        assert!(page.contains(&format!("href=\"{path}\" aria-current=\"page\"")), "{path}: {page}");
        assert!(page.contains("What is counted") && page.contains("format=csv"), "{path}: {page}");
        assert!(!page.contains(&installation.to_string()), "who knows a UUID can write");
    }
    let overview = backend.get("/").await;
    for shown in ["12,348 control planes", "and 0 not confirmed", "Active today", "partial"] {
        assert!(overview.text().contains(shown), "{shown} is not in {}", overview.text());
    }
}

#[tokio::test]
async fn an_empty_page_says_how_to_send_the_first_data() {
    let backend = Backend::start().await;
    let command = format!("kamaji-telemetry agent --endpoint http://localhost:{}", backend.grpc.port());
    for path in pages() {
        let page = backend.get(&path).await;
        assert!(page.text().contains("No data yet") && page.text().contains(&command), "{path}: {}", page.text());
    }
}

#[tokio::test]
async fn the_address_holds_the_view_and_an_unusable_one_says_what_was_expected() {
    let backend = Backend::start().await;
    send_one(&backend, [5, 0, 0, 0]).await;
    let page = backend.get("/insights/versions?component=kubernetes&window=365d&by=control-planes").await;
    for part in [
        "<option value=\"kubernetes\" selected>",
        "<option value=\"365d\" selected>",
        "/api/v1/insights/versions?window=365d&amp;source=agent&amp;by=control-planes&amp;component=kubernetes&amp;format=csv",
        "href=\"/insights/versions?component=kubernetes&amp;window=365d&amp;by=control-planes\"",
    ] {
        assert!(page.text().contains(part), "{part} is not in {}", page.text());
    }
    for (path, parts) in [
        ("/?window=1d", ["window", "1d", "30d, 7d, 90d or 365d"]),
        ("/insights/versions?cover=90", ["cover", "90", "window, source, by or component"]),
        ("/insights/health?source=kamaji", ["source", "kamaji", "agent: Kamaji&#39;s built-in"]),
        ("/insights/test-matrix?window=30d&window=7d", ["window", "7d", "window once"]),
        ("/insights/coverage?%3Cb%3E=%3Ci%3E", ["&lt;b&gt;", "&lt;i&gt;", "window"]),
    ] {
        let reply = backend.get(path).await;
        assert_eq!(reply.status, 400, "{path}");
        for part in parts {
            let is_shown = reply.text().contains(part) || reply.text().contains(&part.replace("&#39;", "'"));
            assert!(is_shown, "{path}: {part} is not in {}", reply.text());
        }
        assert!(reply.text().contains("<nav") && !reply.text().contains("<b>"), "{path}: {}", reply.text());
    }
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere_and_runs_nothing() {
    let backend = Backend::start().await;
    let others = ["/style.css", "/icon.svg", "/nowhere"].map(str::to_owned);
    for path in pages().into_iter().chain(others) {
        let reply = backend.get(&path).await;
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'self'; img-src 'self';"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
    }
    send_one(&backend, [5, 2, 1, 0]).await;
    for path in pages() {
        let page = backend.get(&path).await;
        for attribute in [" href=\"", " src=\""] {
            for reference in page.text().split(attribute).skip(1) {
                assert!(reference.starts_with('/') || reference.starts_with('#'), "{path}: {reference}");
            }
        }
        for forbidden in ["<script", "<style", " style=", " onload", "http-equiv"] {
            assert!(!page.text().contains(forbidden), "{path}: {forbidden}");
        }
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
async fn the_json_of_the_overview_is_that_of_its_page() {
    let backend = Backend::start().await;
    send_one(&backend, [5, 2, 1, 0]).await;
    let reply = backend.get("/api/v1/insights/overview").await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let json: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    let rows = json["rows"].as_array().unwrap();
    let today = rows.iter().find(|row| row["period"] == "today").unwrap();
    let expected = serde_json::json!([1, 0, 0, true]);
    assert_eq!(
        serde_json::json!([today["installations"], today["not_confirmed"], today["bulk"], today["partial"]]),
        expected
    );
    let day = rows.iter().find(|row| row["table"] == "day" && row["partial"] == true).unwrap();
    assert_eq!(day["control_planes"], 8);
    let page = plain(backend.get("/").await.text());
    for row in rows.iter().filter(|row| row["table"] == "answer") {
        let sentence = row["sentence"].as_str().unwrap();
        assert!(page.contains(sentence), "{sentence} is not in {page}");
    }
}
