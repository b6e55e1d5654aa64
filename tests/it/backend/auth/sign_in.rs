//! From a token to a session on the page.

use std::net::Ipv4Addr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kamaji_telemetry::backend::auth::{AuthConfig, token};
use kamaji_telemetry::backend::store::{Role, SqliteStore};
use kamaji_telemetry::backend::{Retention, SecurityConfig, Stores};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use super::super::harness::{Backend, Reply, request_of};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// A token of the backend's, to sign in with.
async fn token_of(backend: &Backend, name: &str, days: u16) -> String {
    token::create(backend.auth.as_ref(), name.parse().unwrap(), Role::Viewer, days).await.unwrap().1
}

/// Sends the form as a browser does that is on the page of this backend.
async fn sign_in(backend: &Backend, text: &str) -> Reply {
    let origin = format!("http://{}", backend.http);
    backend.post("/sign-in", &[FORM, ("origin", &origin)], format!("token={text}").as_bytes()).await
}

/// The status of the same from another address of this machine.
async fn sign_in_from(address: [u8; 4], backend: &Backend, text: &str) -> u16 {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::from(address), 0).into()).unwrap();
    let mut stream = socket.connect(backend.http).await.unwrap();
    let (host, body) = (backend.http, format!("token={text}"));
    let request = format!(
        "POST /sign-in HTTP/1.1\r\nhost: {host}\r\norigin: http://{host}\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The name and the value of the cookie that a reply sets, and the rest.
fn cookie(reply: &Reply) -> (String, String) {
    let cookie = reply.header("set-cookie").unwrap_or_else(|| panic!("{reply:?}"));
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    (pair.to_owned(), attributes.to_owned())
}

#[tokio::test]
async fn a_token_signs_in_and_out_again() {
    let backend = Backend::start().await;
    let reply = sign_in(&backend, &token_of(&backend, "alice", 30).await).await;
    assert_eq!((reply.status, reply.header("location")), (303, Some("/")));
    let (pair, attributes) = cookie(&reply);
    assert!(pair.starts_with("ktt_session=") && pair.len() == "ktt_session=".len() + 64, "{pair}");
    let (rest, seconds) = attributes.rsplit_once("Max-Age=").unwrap();
    assert_eq!(rest, "Path=/; HttpOnly; SameSite=Strict; ");
    assert_eq!(seconds.parse::<u32>().unwrap(), 12 * 3_600);

    let page = backend.send("GET", "/", &[("cookie", &pair)]).await;
    assert!(page.text().contains("alice (viewer)") && page.text().contains("Sign out"), "{page:?}");
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("form-action 'self'") && policy.starts_with("default-src 'none'"), "{policy}");

    let origin = format!("http://{}", backend.http);
    let reply = backend.send("POST", "/sign-out", &[("cookie", &pair), ("origin", &origin)]).await;
    assert_eq!((reply.status, reply.header("location")), (303, Some("/")));
    let (cleared, attributes) = cookie(&reply);
    assert!(cleared == "ktt_session=" && attributes.contains("Max-Age=0"), "{cleared} {attributes}");
    let page = backend.send("GET", "/", &[("cookie", &pair)]).await;
    assert!(page.text().contains("action=\"/sign-in\""), "the session is over, whoever kept its cookie");
}

#[tokio::test]
async fn a_session_outlives_a_restart_and_ends_with_its_token() {
    let backend = Backend::start().await;
    let (pair, _) = cookie(&sign_in(&backend, &token_of(&backend, "alice", 30).await).await);
    let backend = backend.restart().await;
    let status = async || backend.send("GET", "/api/v1/insights/overview", &[("cookie", &pair)]).await.status;
    assert_eq!(status().await, 200);
    backend.auth.revoke_token("alice".into(), Timestamp::now()).await.unwrap();
    assert_eq!((status().await, backend.count("sessions")), (401, 0));
}

#[tokio::test]
async fn a_session_lasts_no_longer_than_its_token() {
    let backend = Backend::start().await;
    let [id, secret] = ["ktt_5f0c9a1e", &"0123456789abcdef".repeat(4)].map(str::to_owned);
    let now = Timestamp::now();
    let short = kamaji_telemetry::backend::store::Token {
        prefix: id.clone(),
        name: "short".into(),
        role: Role::Viewer,
        created: now,
        expires: now + SignedDuration::from_hours(1),
        revoked: None,
    };
    let text = format!("{id}_{secret}");
    let digest = kamaji_telemetry::backend::store::Digest::of(&text);
    backend.auth.create_token(short, digest).await.unwrap();
    let (_, attributes) = cookie(&sign_in(&backend, &text).await);
    let seconds: u32 = attributes.rsplit_once("Max-Age=").unwrap().1.parse().unwrap();
    assert!(seconds <= 3_600, "{attributes}");
}

#[tokio::test]
async fn behind_a_proxy_with_tls_the_cookie_is_of_this_host_and_never_leaves_tls() {
    let public_url = Some("https://telemetry.example.org".parse().unwrap());
    let backend = Backend::with_auth(AuthConfig { public_url, ..AuthConfig::default() }).await;
    let body = format!("token={}", token_of(&backend, "alice", 30).await);
    let headers = [FORM, ("sec-fetch-site", "same-origin")];
    let host = "telemetry.example.org";
    let post = request_of(backend.http, host, "POST", "/sign-in", &headers, body.as_bytes());
    let (pair, attributes) = cookie(&post.await.unwrap());
    assert!(pair.starts_with("__Host-ktt_session=") && attributes.ends_with("; Secure"), "{pair} {attributes}");
    let status = async |cookie: &str| {
        let headers = [("cookie", cookie)];
        let get = request_of(backend.http, host, "GET", "/api/v1/insights/overview", &headers, &[]);
        get.await.unwrap().status
    };
    assert_eq!(status(&pair).await, 200);
    assert_eq!(status(pair.strip_prefix("__Host-").unwrap()).await, 401, "a neighbour could have set that one");
}

#[tokio::test]
async fn a_wrong_token_is_refused_counted_and_not_repeated() {
    let backend = Backend::start().await;
    let reply = sign_in(&backend, "%3Cb%3Eacme").await;
    assert_eq!((reply.status, reply.header("set-cookie")), (401, None));
    assert!(reply.text().contains("unknown, expired or revoked") && !reply.text().contains("acme"), "{reply:?}");
    sign_in(&backend, "acme").await;
    let log = backend.auth.audit_log(10).await.unwrap();
    let failed: Vec<_> = log.iter().filter(|entry| entry.actor.is_none()).collect();
    assert_eq!(failed.iter().map(|entry| entry.count).sum::<u64>(), 2, "{failed:?}");
    for entry in failed {
        assert_eq!((entry.action.as_str(), entry.status), ("POST /sign-in", Some(401)));
    }
}

#[tokio::test]
async fn after_ten_wrong_tokens_a_source_has_to_wait_unless_it_sends_a_right_one() {
    let backend = Backend::start().await;
    let right = token_of(&backend, "alice", 30).await;
    for _ in 0..20 {
        assert_eq!(sign_in(&backend, &right).await.status, 303, "what is right does not count");
    }
    for _ in 0..10 {
        assert_eq!(sign_in(&backend, "wrong").await.status, 401);
    }
    for _ in 0..2 {
        let reply = sign_in(&backend, "wrong").await;
        let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!(reply.status == 429 && (1..=300).contains(&wait) && reply.text().contains("minutes"), "{reply:?}");
        assert_eq!(sign_in(&backend, &right).await.status, 303, "a neighbour's attempts keep nobody out");
    }
    let log = backend.auth.audit_log(100).await.unwrap();
    let failed = log.iter().filter(|entry| entry.actor.is_none());
    assert_eq!(failed.map(|entry| entry.count).sum::<u64>(), 10, "those beyond are not logged");
    assert_eq!(sign_in_from([127, 9, 9, 9], &backend, "wrong").await, 401, "another source has its own attempts");
    let bearer = format!("Bearer {right}");
    let reply = backend.send("GET", "/api/v1/insights/overview", &[("authorization", &bearer)]).await;
    assert_eq!(reply.status, 200, "who has a token is not kept from the API");
}

#[tokio::test]
async fn a_token_that_signs_in_too_often_has_to_wait() {
    let backend = Backend::start().await;
    let right = token_of(&backend, "alice", 30).await;
    let mut replies = Vec::new();
    // A round is 20 s of what it may: one that is quicker than that is refused in part.
    while replies.iter().all(|reply: &Reply| reply.status != 429) {
        replies.extend(futures::future::join_all((0..100).map(|_| sign_in(&backend, &right))).await);
        assert!(replies.len() < 1_000, "there is no bound");
    }
    let (refused, let_in): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 429);
    assert!(let_in.len() >= 100 && let_in.iter().all(|reply| reply.status == 303), "{let_in:?}");
    assert!(refused[0].header("retry-after") == Some("1") && refused[0].header("set-cookie").is_none(), "{refused:?}");
}

#[tokio::test]
async fn what_could_not_be_looked_up_is_no_attempt() {
    let backend = Backend::start().await;
    let right = token_of(&backend, "alice", 30).await;
    assert_eq!(backend.get("/").await.status, 200, "it has opened its store");
    let store = rusqlite::Connection::open(backend.file()).unwrap();
    store.execute_batch("ALTER TABLE tokens RENAME TO unreadable").unwrap();
    for _ in 0..11 {
        assert_eq!(sign_in(&backend, &right).await.status, 503);
    }
    store.execute_batch("ALTER TABLE unreadable RENAME TO tokens").unwrap();
    assert_eq!(sign_in(&backend, "wrong").await.status, 401);
    assert_eq!(sign_in(&backend, &right).await.status, 303);
}

#[tokio::test]
async fn what_another_page_sends_changes_nothing() {
    let backend = Backend::start().await;
    let text = token_of(&backend, "alice", 30).await;
    let (pair, _) = cookie(&sign_in(&backend, &text).await);
    let origin = format!("http://{}", backend.http);
    let body = format!("token={text}");
    for (name, value) in [
        ("origin", "http://evil.test"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-site", "none"),
        ("x-nothing", ""),
    ] {
        let reply = backend.post("/sign-in", &[FORM, (name, value)], body.as_bytes()).await;
        assert_eq!((reply.status, reply.header("set-cookie")), (403, None), "{name}: {value}");
        let reply = backend.send("POST", "/sign-out", &[("cookie", &pair), (name, value)]).await;
        assert_eq!((reply.status, reply.header("set-cookie")), (403, None), "{name}: {value}");
    }
    let reply = backend.send("GET", "/", &[("cookie", &pair), ("origin", "http://evil.test")]).await;
    assert!(reply.text().contains("Sign out"), "still signed in");
    assert_eq!(backend.send("GET", "/sign-out", &[("cookie", &pair), ("origin", &origin)]).await.status, 405);
}

#[tokio::test]
async fn an_admins_session_erases_only_from_its_own_page() {
    let backend = Backend::start().await;
    let admin = token::create(backend.auth.as_ref(), "root".parse().unwrap(), Role::Admin, 1).await.unwrap().1;
    let (pair, _) = cookie(&sign_in(&backend, &admin).await);
    let path = "/api/v1/installations/3f0c7b52-6f0e-4a52-8d4f-6d1b5c0e9a11";
    let delete =
        async |origin: &str| backend.send("DELETE", path, &[("cookie", &pair), ("origin", origin)]).await.status;
    assert_eq!(delete("http://evil.test").await, 403);
    assert_eq!(delete(&format!("http://{}", backend.http)).await, 200);
}

#[tokio::test]
async fn a_body_that_is_no_form_is_refused() {
    let backend = Backend::start().await;
    let origin = format!("http://{}", backend.http);
    let large = format!("token={}", "a".repeat(2_000));
    let json = ("content-type", "application/json");
    for (content_type, body) in [(json, "{\"token\":\"acme\"}"), (FORM, "acme"), (FORM, ""), (FORM, &large)] {
        let reply = backend.post("/sign-in", &[content_type, ("origin", &origin)], body.as_bytes()).await;
        assert!(
            reply.status == 400 && reply.text().contains("expected") && !reply.text().contains("acme"),
            "{reply:?}"
        );
    }
}

#[tokio::test]
async fn without_a_valid_token_the_page_says_how_to_make_one_and_shows_no_number() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&folder.path().join("telemetry.db")).unwrap());
    let backend =
        Backend::serve(folder, Stores::from(Arc::clone(&store)), Retention::default(), SecurityConfig::default()).await;
    let hint = "kamaji-telemetry backend token create";
    assert!(!backend.send("GET", "/", &[]).await.text().contains(hint), "the harness has a token");
    for used in backend.auth.tokens().await.unwrap() {
        backend.auth.revoke_token(used.token.prefix, Timestamp::now()).await.unwrap();
    }
    let page = backend.send("GET", "/", &[]).await;
    assert!(page.status == 200 && page.text().contains(hint), "{page:?}");
    assert!(page.text().contains("type=\"password\"") && !page.text().contains("http-equiv"), "{page:?}");
}
