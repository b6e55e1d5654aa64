//! Authorization of each route by the route table.

mod closed;
mod log;
mod login_code;
mod reader_tokens;
mod readers;
mod sign_in;
mod tokens;

use jiff::Timestamp;
use kamaji_telemetry::backend::auth::AuthConfig;
use kamaji_telemetry::backend::auth::routes::{ROUTES, Route, RouteAccess};
use kamaji_telemetry::backend::store::{AuditLogEntry, Erased, Role, TokenRef};
use uuid::Uuid;

use super::harness::{Backend, JSON, PUBLISHED_WEEK, Reply, request};
use super::kamaji::stats;
use super::samples::{metrics_request, now, state_gauges};
use crate::program::Backend as Process;
use crate::servers::{checkout, eventually};
use readers::{Reader, State, Way};

/// The outcome of a request to a route.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Authorized,
    LoginForm,
    Redirected,
    Unauthorized,
    Forbidden,
}

fn expected(access: RouteAccess, reader: &Reader) -> Outcome {
    let role = (reader.state == State::Valid).then_some(reader.role);
    match (access, role) {
        (RouteAccess::FrontPage, None) => Outcome::LoginForm,
        (RouteAccess::Page(_), None) => Outcome::Redirected,
        (RouteAccess::Api(_), None) => Outcome::Unauthorized,
        (RouteAccess::Page(needed) | RouteAccess::Api(needed), Some(role)) if role < needed => Outcome::Forbidden,
        (RouteAccess::Public | RouteAccess::Sender | RouteAccess::SameOrigin | RouteAccess::LoginLink, _)
        | (RouteAccess::FrontPage | RouteAccess::Page(_) | RouteAccess::Api(_), Some(_)) => Outcome::Authorized,
    }
}

fn outcome(reply: &Reply) -> Outcome {
    let is_form = reply.text().contains("action=\"/sign-in\"");
    match (reply.status, reply.header("www-authenticate"), reply.header("location")) {
        (401, Some(challenge), _) if challenge.starts_with("Bearer ") => Outcome::Unauthorized,
        (403, ..) => Outcome::Forbidden,
        (303, _, Some("/")) if reply.header("set-cookie").is_none() => Outcome::Redirected,
        (200, ..) if is_form => Outcome::LoginForm,
        (404 | 405 | 500.., ..) => panic!("{reply:?}"),
        _ => Outcome::Authorized,
    }
}

/// Returns the path of a route with values that nothing has for its parameters.
fn path_of(route: &Route) -> String {
    route
        .path
        .replace("{uuid}", &Uuid::new_v4().to_string())
        .replace("{code}", &"0".repeat(64))
        .replace("{week}", PUBLISHED_WEEK)
}

/// Sends a request to a route, as a page of the backend would.
async fn visit(backend: &Backend, route: &Route, header: Option<&(&'static str, String)>) -> Reply {
    let origin = format!("http://{}", backend.http);
    let mut headers = vec![("origin", origin.as_str())];
    headers.extend(header.map(|(name, value)| (*name, value.as_str())));
    backend.send(route.method.as_str(), &path_of(route), &headers).await
}

#[tokio::test]
async fn each_route_admits_only_authorized_requests() {
    let backend = Backend::public().await;
    let installation = Uuid::new_v4();
    backend.received_before(installation).await;
    let gauges = metrics_request(installation, state_gauges([12_345, 0, 0, 0], now()));
    backend.metrics_client().await.export(gauges).await.unwrap();
    let is_shown = |reply: &Reply| ["12,345", "12345"].iter().any(|shown| reply.text().contains(*shown));
    for route in &ROUTES {
        for reader in Reader::all() {
            // Of its own, since a sign-out ends it.
            let header = reader.enter(backend.auth.as_ref()).await;
            let reply = visit(&backend, route, header.as_ref()).await;
            let expected = expected(route.access, &reader);
            assert_eq!(outcome(&reply), expected, "{route:?} for {reader:?}: {reply:?}");
            let tells = match route.path {
                "/" | "/insights/versions" | "/api/v1/insights/overview" | "/api/v1/insights/versions" => true,
                "/installations" | "/api/v1/installations" => route.method == "GET" && reader.role == Role::Admin,
                _ => false,
            };
            let tells = tells && reader.state == State::Valid;
            // The sentence on the front page is about days that are over.
            let is_answered = route.path == "/" && reply.text().contains("in 30 days");
            assert_eq!(is_shown(&reply) || is_answered, tells, "{route:?} for {reader:?}");
            assert!(!reply.text().contains(&installation.to_string()), "{route:?}: a reader could write by it");
        }
    }
}

#[test]
fn erasing_and_the_log_are_for_admins_and_only_what_tells_nothing_is_for_everybody() {
    let with = |accesses: &[RouteAccess]| -> Vec<_> {
        let routes = ROUTES.iter().filter(|route| accesses.contains(&route.access));
        routes.map(|route| format!("{} {}", route.method, route.path)).collect()
    };
    assert_eq!(
        with(&[RouteAccess::Page(Role::Admin), RouteAccess::Api(Role::Admin)]),
        [
            "GET /audit-log",
            "GET /installations",
            "GET /api/v1/audit-log",
            "GET /api/v1/installations",
            "DELETE /api/v1/installations",
            "DELETE /api/v1/installations/{uuid}",
            "GET /api/v1/events",
            "DELETE /api/v1/events",
        ]
    );
    assert_eq!(
        with(&[RouteAccess::Public]),
        [
            "GET /style.css",
            "GET /icon.svg",
            "GET /api/v1/openapi.json",
            "GET /public",
            "GET /public/{week}",
            "GET /api/v1/public/weeks",
            "GET /livez",
            "GET /readyz",
        ]
    );
    assert_eq!(with(&[RouteAccess::SameOrigin, RouteAccess::FrontPage]), ["GET /", "POST /sign-in"]);
    assert_eq!(with(&[RouteAccess::LoginLink]), ["GET /sign-in/{code}"]);
    let senders = ["/v1/metrics", "/v1/logs", "/stats", "/create", "/update", "/delete"];
    assert_eq!(with(&[RouteAccess::Sender]), senders.map(|path| format!("POST {path}")));
}

#[tokio::test]
async fn a_method_that_is_in_no_route_of_a_path_is_refused_to_everybody() {
    let backend = Backend::public().await;
    let admin = Reader { way: Way::Token, role: Role::Admin, state: State::Valid };
    let header = admin.enter(backend.auth.as_ref()).await;
    for route in &ROUTES {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            let listed = ROUTES.iter().any(|other| other.path == route.path && other.method == method);
            let reply =
                visit(&backend, &Route { method: method.parse().unwrap(), ..route.clone() }, header.as_ref()).await;
            assert_eq!(reply.status == 405, !listed, "{method} {}: {reply:?}", route.path);
            if !listed {
                assert!(reply.header("allow").unwrap().contains(route.method.as_str()), "{reply:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_head_needs_what_a_get_needs() {
    let backend = Backend::start().await;
    // Before it is ready, a probe may be answered in one way and then in the other.
    eventually("it to be ready", async || (backend.get("/readyz").await.status == 200).then_some(())).await;
    for route in ROUTES.iter().filter(|route| route.method == "GET") {
        let head = Route { method: "HEAD".parse().unwrap(), ..route.clone() };
        let get = visit(&backend, route, None).await;
        let head = visit(&backend, &head, None).await;
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{route:?}");
    }
}

#[tokio::test]
async fn what_is_refused_says_what_to_do_and_repeats_nothing() {
    let backend = Backend::start().await;
    let path = "/api/v1/insights/overview";
    let reply = backend.send("GET", path, &[]).await;
    assert!(reply.text().contains("Authorization: Bearer TOKEN") && reply.text().contains("token create"), "{reply:?}");
    for wrong in ["Bearer acme", "Basic YWNtZTphY21l", "Bearer ", "acme", "Bearer ktt_5f0c9a1e_acme"] {
        let reply = backend.send("GET", path, &[("authorization", wrong)]).await;
        assert_eq!((reply.status, reply.header("www-authenticate")), (401, Some("Bearer error=\"invalid_token\"")));
        assert!(reply.text().contains("expired or revoked") && !reply.text().contains("acme"), "{reply:?}");
    }
    let viewer = Reader { way: Way::Token, role: Role::Viewer, state: State::Valid };
    let (name, value) = viewer.enter(backend.auth.as_ref()).await.unwrap();
    let reply = backend.send("GET", "/api/v1/audit-log", &[(name, &value)]).await;
    assert!(reply.status == 403 && reply.text().contains("viewer") && reply.text().contains("role admin"), "{reply:?}");
}

#[tokio::test]
async fn a_token_with_the_right_prefix_and_another_secret_opens_nothing() {
    let backend = Backend::start().await;
    let viewer = Reader { way: Way::Token, role: Role::Viewer, state: State::Valid };
    let (name, value) = viewer.enter(backend.auth.as_ref()).await.unwrap();
    assert_eq!(backend.send("GET", "/api/v1/insights/overview", &[(name, &value)]).await.status, 200);
    let last = if value.ends_with('0') { "1" } else { "0" };
    let other = format!("{}{last}", &value[..value.len() - 1]);
    for wrong in [other, value.to_uppercase().replace("BEARER KTT", "Bearer ktt"), format!("{value}0")] {
        assert_eq!(backend.send("GET", "/api/v1/insights/overview", &[(name, &wrong)]).await.status, 401);
    }
}

#[tokio::test]
async fn an_admin_erases_an_installation_by_either_of_its_names() {
    let backend = Backend::start().await;
    let [installation, cluster] = [(); 2].map(|()| Uuid::new_v4());
    let gauges = metrics_request(installation, state_gauges([5, 0, 0, 0], now()));
    backend.metrics_client().await.export(gauges).await.unwrap();
    backend.post("/stats", &[JSON], stats(cluster).as_bytes()).await;
    assert_eq!(backend.count("latest"), 2);
    let admin = Reader { way: Way::Token, role: Role::Admin, state: State::Valid };
    let (name, value) = admin.enter(backend.auth.as_ref()).await.unwrap();
    let erase = async |uuid: &str| {
        let reply = backend.send("DELETE", &format!("/api/v1/installations/{uuid}"), &[(name, &value)]).await;
        (reply.status, reply.text().to_owned())
    };
    let erased = |latest, days| (200, format!("{{\"latest\":{latest},\"days\":{days}}}"));
    assert_eq!(erase(&installation.to_string()).await, erased(true, 1));
    assert_eq!(erase(&cluster.to_string()).await, erased(true, 1));
    assert_eq!(erase(&cluster.to_string()).await, erased(false, 0));
    assert_eq!(backend.rows(), 0);
    let (status, message) = erase("acme").await;
    assert!(status == 400 && message.contains("expected") && !message.contains("acme"), "{message}");
}

#[test]
fn the_json_of_an_erasure_and_of_the_audit_log_is_the_documented_one() {
    let actor = TokenRef { token: "ktt_5f0c9a1e".into(), name: "alice".into() };
    let entry = AuditLogEntry {
        time: "2026-11-24T03:15:09Z".parse().unwrap(),
        actor: Some(actor),
        action: "GET /api/v1/insights/overview".into(),
        status: Some(200),
        count: 1,
    };
    let erased = Erased { latest: true, days: 12 };
    let documentation = std::fs::read_to_string(checkout("docs/backend.md")).unwrap();
    for json in [serde_json::to_string(&entry).unwrap(), serde_json::to_string(&erased).unwrap()] {
        assert!(documentation.contains(&format!("```json\n{json}\n```")), "{json}");
    }
}

#[tokio::test]
async fn another_host_than_the_public_one_is_answered_to_senders_and_probes_alone() {
    let url = "https://telemetry.example.org";
    let backend =
        Backend::with_auth(AuthConfig { public_url: Some(url.parse().unwrap()), ..AuthConfig::default() }).await;
    for route in &ROUTES {
        let path = path_of(route);
        for (host, is_right) in [("telemetry.example.org", true), ("evil.test", false)] {
            let reply = with_host(&backend, route, &path, host).await;
            let needs_no_host = matches!(route.access, RouteAccess::Public | RouteAccess::Sender);
            assert_eq!(reply.status == 421, !is_right && !needs_no_host, "{route:?} {host}: {reply:?}");
            assert!(reply.status != 421 || reply.text().contains(url) && reply.text().contains("--public-url"));
        }
    }
}

async fn with_host(backend: &Backend, route: &Route, path: &str, host: &str) -> Reply {
    super::harness::request_of(backend.http, host, route.method.as_str(), path, &[], &[]).await.unwrap()
}

#[tokio::test]
async fn a_revocation_and_an_expiry_are_noticed_by_the_next_request() {
    let backend = Backend::start().await;
    for way in [Way::Token, Way::Session] {
        let reader = Reader { way, role: Role::Viewer, state: State::Valid };
        let (name, value) = reader.enter(backend.auth.as_ref()).await.unwrap();
        let status =
            async || request(backend.http, "GET", "/api/v1/insights/overview", &[(name, &value)], &[]).await.status;
        assert_eq!(status().await, 200, "{way:?}");
        let tokens = backend.auth.tokens().await.unwrap().into_iter().map(|used| used.token);
        for token in tokens.filter(|token| !token.name.starts_with("harness")) {
            backend.auth.revoke_token(token.prefix, Timestamp::now()).await.unwrap();
        }
        assert_eq!(status().await, 401, "{way:?}");
    }
}

#[tokio::test]
async fn what_fails_for_strangers_does_not_fill_the_log() {
    let backend = Process::start().await;
    let store = rusqlite::Connection::open(backend.file()).unwrap();
    store.execute_batch("ALTER TABLE tokens RENAME TO unreadable").unwrap();
    let token = format!("Bearer ktt_00000000_{}", "0".repeat(64));
    let get = async |path, headers: &[_]| request(backend.http(), "GET", path, headers, &[]).await.status;
    for _ in 0..20 {
        assert_eq!(get("/", &[]).await, 503);
        assert_eq!(get("/api/v1/insights/overview", &[("authorization", &token)]).await, 503);
    }
    let log = backend.log();
    for line in ["failed to show a page", "failed to answer a reader"] {
        assert_eq!(log.matches(line).count(), 1, "{line}: {log}");
    }
}
