//! A link that signs in once.

use std::net::Ipv4Addr;
use std::sync::Arc;

use jiff::Timestamp;
use kamaji_telemetry::backend::auth::{AuthConfig, LoginCode, token};
use kamaji_telemetry::backend::store::{Role, SqliteStore};
use kamaji_telemetry::backend::{Limits, Retention, SecurityConfig, TrustedProxies, parse_network};

use super::super::harness::{Backend, Reply, request_from};

/// Returns an address of this machine that is not loopback; `None` if it has none.
fn other_address() -> Option<Ipv4Addr> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // Connecting sends nothing, and chooses the address by the route.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let std::net::IpAddr::V4(address) = socket.local_addr().ok()?.ip() else { return None };
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// Starts a backend with a code for the token `alice`. Returns it with the path of the link.
async fn with_code(limits: Limits) -> (Backend, String) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&folder.path().join("telemetry.db")).unwrap());
    let (_, text) = token::create(store.as_ref(), "alice".parse().unwrap(), Role::Viewer, 30).await.unwrap();
    let code = LoginCode::new(text).unwrap();
    let path = code.path();
    let auth = AuthConfig { login_code: Some(code), ..AuthConfig::default() };
    let security = SecurityConfig { auth, limits, ..SecurityConfig::default() };
    (Backend::serve(folder, store.into(), Retention::default(), security).await, path)
}

async fn open(backend: &Backend, path: &str) -> Reply {
    backend.send("GET", path, &[]).await
}

/// Returns the actions, statuses and counts of the logins in the audit log.
async fn logins(backend: &Backend) -> Vec<(String, Option<u16>, u64)> {
    let log = backend.auth.audit_log(100).await.unwrap();
    let logins = log.into_iter().filter(|entry| entry.action.contains("/sign-in"));
    logins.map(|entry| (entry.action, entry.status, entry.count)).collect()
}

#[tokio::test]
async fn the_link_signs_in_once_and_is_logged_without_its_code() {
    let (backend, path) = with_code(Limits::default()).await;
    let reply = open(&backend, &path).await;
    assert_eq!((reply.status, reply.header("location")), (303, Some("/")));
    assert_eq!(
        (reply.header("cache-control"), reply.header("referrer-policy")),
        (Some("no-store"), Some("no-referrer"))
    );
    let (pair, attributes) = reply.header("set-cookie").unwrap().split_once("; ").unwrap();
    assert!(attributes.contains("HttpOnly; SameSite=Strict"), "{attributes}");
    let page = backend.send("GET", "/", &[("cookie", pair)]).await;
    assert!(page.text().contains("alice (viewer)"), "{page:?}");

    let again = open(&backend, &path).await;
    assert_eq!((again.status, again.header("set-cookie")), (401, None));
    let code = path.rsplit_once('/').unwrap().1;
    assert!(again.text().contains("used already") && !again.text().contains(code), "{again:?}");
    assert!(again.text().contains("action=\"/sign-in\""), "the form takes the token instead");
    let policies = ["cache-control", "referrer-policy"].map(|name| again.header(name).unwrap());
    // With `no-referrer`, a browser would not tell the origin of the form.
    assert_eq!(policies, ["no-store", "strict-origin"]);
    let action = "GET /sign-in/{code}".to_owned();
    let mut logins = logins(&backend).await;
    logins.sort();
    assert_eq!(logins, [(action.clone(), Some(303), 1), (action, Some(401), 1)]);
}

#[tokio::test]
async fn the_link_opens_nothing_for_another_machine_whatever_it_says_it_forwards_for() {
    // A machine without a network has loopback alone; the unit tests of the code have the other addresses.
    let Some(elsewhere) = other_address() else { return };
    let networks = vec![parse_network(&elsewhere.to_string()).unwrap()];
    let limits =
        Limits { trusted_proxies: TrustedProxies { networks, ..TrustedProxies::default() }, ..Limits::default() };
    let (backend, path) = with_code(limits).await;
    for headers in [&[][..], &[("x-forwarded-for", "127.0.0.1")]] {
        let reply = request_from(elsewhere, backend.http, "GET", &path, headers, &[]).await.unwrap();
        assert_eq!((reply.status, reply.header("set-cookie")), (401, None), "{headers:?}");
    }
    assert_eq!(open(&backend, &path).await.status, 303, "it was not used up");
}

#[tokio::test]
async fn what_nobody_opened_uses_no_code() {
    let (backend, path) = with_code(Limits::default()).await;
    for headers in [&[][..], &[("sec-purpose", "prefetch;prerender")]] {
        let method = if headers.is_empty() { "HEAD" } else { "GET" };
        let reply = backend.send(method, &path, headers).await;
        assert_eq!((reply.status, reply.header("set-cookie")), (401, None), "{method} {headers:?}");
    }
    assert_eq!(logins(&backend).await, [], "nobody tried");
    assert_eq!(open(&backend, &path).await.status, 303);
}

#[tokio::test]
async fn of_two_at_once_one_signs_in() {
    let (backend, path) = with_code(Limits::default()).await;
    let replies = futures::future::join_all((0..8).map(|_| open(&backend, &path))).await;
    let mut statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [[303].as_slice(), &[401; 7]].concat());
}

#[tokio::test]
async fn a_wrong_code_counts_as_a_failed_login_and_keeps_the_right_one_from_nobody() {
    let (backend, path) = with_code(Limits::default()).await;
    let last = if path.ends_with('0') { "1" } else { "0" };
    let wrong = format!("{}{last}", &path[..path.len() - 1]);
    for _ in 0..10 {
        assert_eq!(open(&backend, &wrong).await.status, 401);
    }
    let reply = open(&backend, &wrong).await;
    assert!(reply.status == 429 && reply.header("retry-after").is_some(), "{reply:?}");
    assert!(reply.text().contains("Too many attempts"), "{reply:?}");
    assert_eq!(open(&backend, &path).await.status, 303);
}

#[tokio::test]
async fn the_code_of_a_revoked_token_opens_nothing() {
    let (backend, path) = with_code(Limits::default()).await;
    backend.auth.revoke_token("alice".into(), Timestamp::now()).await.unwrap();
    let reply = open(&backend, &path).await;
    assert_eq!((reply.status, reply.header("set-cookie")), (401, None));
}

#[tokio::test]
async fn a_backend_without_a_code_has_no_link() {
    let backend = Backend::start().await;
    for path in [format!("/sign-in/{}", "0".repeat(64)), "/sign-in/%00".to_owned()] {
        let reply = open(&backend, &path).await;
        assert_eq!((reply.status, reply.header("set-cookie")), (401, None), "{path}");
    }
}
