//! Single installations and events, for admins.

use serde_json::Value;
use uuid::Uuid;

use super::harness::Backend;
use super::samples::{created, deleted, logs_request, metrics_request, now, state_gauges, updated};

#[tokio::test]
async fn the_page_lists_the_installations_of_its_filter_and_links_to_their_json() {
    let backend = Backend::start().await;
    let [confirmed, new] = [(); 2].map(|()| Uuid::new_v4());
    backend.received_before(confirmed).await;
    for (installation, running) in [(confirmed, 12_345), (new, 7)] {
        let gauges = metrics_request(installation, state_gauges([running, 0, 0, 0], now()));
        backend.metrics_client().await.export(gauges).await.unwrap();
    }
    let all = backend.get("/installations").await;
    assert!(all.text().contains(">2 match<") && all.text().contains("12,345"), "{}", all.text());
    let page = backend.get("/installations?id=&confirmed=true&bulk=").await;
    let text = page.text();
    assert!(text.contains(">1 match<") && text.contains("12,345"), "{text}");
    assert!(text.contains("<option value=\"true\" selected>yes</option>"), "{text}");
    assert!(text.contains("href=\"/api/v1/installations?confirmed=true\""), "{text}");
    let json: Value = serde_json::from_slice(&backend.get("/api/v1/installations?confirmed=true").await.body).unwrap();
    let listed = &json["installations"][0];
    assert_eq!((json["matching"].as_u64(), listed["running"].as_u64()), (Some(1), Some(12_345)));
    assert!(text.contains(listed["id"].as_str().unwrap()));
    assert!(!text.contains(&confirmed.to_string()), "who knows a UUID can write");
}

#[tokio::test]
async fn a_filter_that_cannot_be_used_is_shown_with_its_problem() {
    let backend = Backend::start().await;
    for (query, problem) in [
        ("first_seen_after=yester%3Cday", "first_seen_after: no time"),
        ("bulk=maybe", "bulk"),
        ("colour=red", "colour"),
        ("limit=5", "limit: the page lists 100 at most"),
        ("dry_run=true", "dry_run"),
    ] {
        let page = backend.get(&format!("/installations?{query}")).await;
        assert_eq!(page.status, 400, "{query}");
        assert!(page.text().contains("role=\"alert\"") && page.text().contains(problem), "{query}: {}", page.text());
        assert!(!page.text().contains("yester<day"), "{}", page.text());
    }
    let page = backend.get("/installations?first_seen_after=yesterday").await;
    assert!(page.text().contains("value=\"yesterday\""), "what was entered stays in the form");
}

#[tokio::test]
async fn events_are_listed_by_their_filter_newest_first() {
    let backend = Backend::start().await;
    let (uid, hour) = (Uuid::new_v4, 3_600_000_000_000);
    let records = vec![created(uid(), now() - 3 * hour), updated(uid(), now()), deleted(uid(), now() - hour)];
    backend.logs_client().await.export(logs_request(records)).await.unwrap();
    let names = async |query: &str| -> Vec<String> {
        let reply = backend.get(&format!("/api/v1/events{query}")).await;
        let json: Value = serde_json::from_slice(&reply.body).unwrap();
        let events = json["events"].as_array().unwrap();
        assert!(events.iter().all(|event| event["source"] == "agent" && event["bulk"] == false), "{json}");
        events.iter().map(|event| event["name"].as_str().unwrap().to_owned()).collect()
    };
    let all = names("").await;
    assert_eq!(all.len(), 3);
    assert!(all[0].ends_with("updated") && all[1].ends_with("deleted") && all[2].ends_with("created"), "{all:?}");
    assert_eq!(names("?limit=1").await, all[..1]);
    assert_eq!(names("?bulk=true").await, [""; 0]);
    for bad in ["dry_run=true", "tcp_version=acme", "limit=-1", "colour=red"] {
        assert_eq!(backend.get(&format!("/api/v1/events?{bad}")).await.status, 400, "{bad}");
    }
    assert_eq!(backend.send_as_admin("DELETE", "/api/v1/events?bulk=true&limit=1").await.status, 400);
}
