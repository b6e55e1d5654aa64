//! The audit log of readers' requests.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use kamaji_telemetry::backend::store::{
    AuditLogEntry, AuthStore, Digest, PrunedAuth, ReadError, Role, Session, SqliteStore, StoreTokenError,
    StoredSession, Token, UsedToken, WriteError,
};
use kamaji_telemetry::backend::{Retention, SecurityConfig, Stores};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::super::harness::{Backend, Reply, stored_bytes, unlimited};
use super::super::samples::{metrics_request, now, state_gauges};
use super::readers::{Reader, State, Way};
use crate::servers::eventually;

const OVERVIEW: &str = "/api/v1/insights/overview";

async fn enter(backend: &Backend, role: Role) -> (&'static str, String) {
    Reader { way: Way::Token, role, state: State::Valid }.enter(backend.auth.as_ref()).await.unwrap()
}

/// Returns the entries of one token, oldest first.
async fn entries_of(backend: &Backend, header: &(&str, String)) -> Vec<(String, Option<u16>)> {
    let prefix = &header.1["Bearer ".len().."Bearer ktt_00000000".len()];
    let mut log = backend.auth.audit_log(10_000).await.unwrap();
    log.retain(|entry| entry.actor.as_ref().is_some_and(|actor| actor.token == prefix));
    log.into_iter().rev().map(|entry| (entry.action, entry.status)).collect()
}

#[tokio::test]
async fn every_read_is_in_the_log_when_it_is_answered() {
    let backend = Backend::start().await;
    let header = enter(&backend, Role::Viewer).await;
    let headers = [(header.0, header.1.as_str())];
    for (path, status) in [(OVERVIEW, 200), ("/", 200), ("/audit-log", 403), ("/style.css", 200), ("/nowhere", 404)] {
        assert_eq!(backend.send("GET", path, &headers).await.status, status, "{path}");
    }
    let read = |action: &str, status| (action.to_owned(), Some(status));
    let expected = [
        ("token create".to_owned(), None),
        read("GET /api/v1/insights/overview", 200),
        read("GET /", 200),
        read("GET /audit-log", 403),
    ];
    assert_eq!(entries_of(&backend, &header).await, expected);
}

#[tokio::test]
async fn an_admin_reads_the_log_as_json_and_as_a_page() {
    let backend = Backend::start().await;
    let viewer = enter(&backend, Role::Viewer).await;
    backend.send("GET", OVERVIEW, &[(viewer.0, &viewer.1)]).await;
    let reply = backend.get("/api/v1/audit-log?limit=1").await;
    let json: Value = serde_json::from_slice(&reply.body).unwrap();
    let entries = json["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 1);
    let entry = &entries[0];
    assert_eq!(
        (&entry["action"], &entry["status"], &entry["count"]),
        (&"GET /api/v1/insights/overview".into(), &200.into(), &1.into())
    );
    assert!(
        viewer.1.contains(entry["actor"]["token"].as_str().unwrap()) && entry["actor"]["name"].is_string(),
        "{entry}"
    );
    assert!(entry["time"].as_str().unwrap().parse::<Timestamp>().is_ok());
    let page = backend.get("/audit-log").await;
    for shown in ["GET /api/v1/insights/overview", "GET /api/v1/audit-log", "token create", "As of"] {
        assert!(page.text().contains(shown), "{shown}: {page:?}");
    }
    assert!(!page.text().contains(&viewer.1["Bearer ".len()..]), "no whole token");
    for limit in ["0", "10001", "-1", "many", "", "1&limit=2"] {
        let reply = backend.get(&format!("/api/v1/audit-log?limit={limit}")).await;
        assert!(reply.status == 400 && reply.text().contains("from 1 to 10000"), "{limit}: {reply:?}");
    }
}

#[tokio::test]
async fn an_erasure_is_logged_without_what_was_erased() {
    let backend = Backend::start().await;
    let installation = Uuid::new_v4();
    let gauges = metrics_request(installation, state_gauges([5, 0, 0, 0], now()));
    backend.metrics_client().await.export(gauges).await.unwrap();
    let admin = enter(&backend, Role::Admin).await;
    let path = format!("/api/v1/installations/{installation}");
    assert_eq!(backend.send("DELETE", &path, &[(admin.0, &admin.1)]).await.status, 200);
    let erasure = |status| ("DELETE /api/v1/installations/{uuid}".to_owned(), status);
    assert_eq!(entries_of(&backend, &admin).await[1..], [erasure(None), erasure(Some(200))]);
    let bytes = stored_bytes(backend.file().parent().unwrap());
    let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(!holds(installation.as_bytes()) && !holds(installation.to_string().as_bytes()));
    assert!(holds(b"DELETE /api/v1/installations/{uuid}"), "the search finds what is there");
}

#[tokio::test]
async fn no_secret_and_no_address_is_in_the_stores_files() {
    let backend = Backend::start().await;
    let session = Reader { way: Way::Session, role: Role::Viewer, state: State::Valid };
    let cookie = session.enter(backend.auth.as_ref()).await.unwrap();
    let token = enter(&backend, Role::Viewer).await;
    for header in [&cookie, &token] {
        assert_eq!(backend.send("GET", OVERVIEW, &[(header.0, &header.1)]).await.status, 200);
    }
    let origin = format!("http://{}", backend.http);
    let form = [("content-type", "application/x-www-form-urlencoded"), ("origin", origin.as_str())];
    backend.post("/sign-in", &form, b"token=acmebank").await;
    let bytes = stored_bytes(backend.file().parent().unwrap());
    let holds = |part: &str| bytes.windows(part.len()).any(|window| window == part.as_bytes());
    let secret = |header: &(&str, String)| header.1[header.1.len() - 32..].to_owned();
    for absent in [&secret(&cookie), &secret(&token), "acmebank", "127.0.0.1"] {
        assert!(!holds(absent), "{absent}");
    }
    assert!(holds("ktt_") && holds("POST /sign-in"), "the search finds what is there");
}

#[tokio::test]
async fn a_token_that_is_used_too_often_has_to_wait_and_adds_nothing_to_the_log() {
    let backend = Backend::limited(unlimited()).await;
    let header = enter(&backend, Role::Viewer).await;
    let headers = [(header.0, header.1.as_str())];
    let mut replies = Vec::new();
    // A round is 20 s of what it may: one that is quicker than that is refused in part.
    while replies.iter().all(|reply: &Reply| reply.status != 429) {
        // Rejections for its role, which is logged as what is shown is.
        let round = (0..100).map(|_| backend.send("GET", "/audit-log", &headers));
        replies.extend(futures::future::join_all(round).await);
        assert!(replies.len() < 1_000, "there is no bound");
    }
    let (refused, let_in): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 429);
    assert!(let_in.len() >= 100 && let_in.iter().all(|reply| reply.status == 403), "{let_in:?}");
    let refused = refused[0];
    assert!(refused.header("retry-after") == Some("1") && refused.text().contains("too often"), "{refused:?}");
    assert_eq!(entries_of(&backend, &header).await.len(), 1 + let_in.len(), "what is refused is not logged");
    let other = enter(&backend, Role::Viewer).await;
    assert_eq!(backend.send("GET", OVERVIEW, &[(other.0, &other.1)]).await.status, 200, "another token has its own");
}

#[tokio::test]
async fn many_readers_at_once_are_all_logged() {
    let backend = Arc::new(Backend::start().await);
    let header = Arc::new(enter(&backend, Role::Viewer).await);
    let mut readers = JoinSet::new();
    for _ in 0..64 {
        let (backend, header) = (Arc::clone(&backend), Arc::clone(&header));
        readers.spawn(async move { backend.send("GET", OVERVIEW, &[(header.0, &header.1)]).await.status });
    }
    assert!(readers.join_all().await.iter().all(|status| *status == 200));
    assert_eq!(entries_of(&backend, &header).await.len(), 1 + 64);
}

/// A store that refuses the entries of the audit log for which the function returns false.
struct PartialLog(SqliteStore, fn(&AuditLogEntry) -> bool);

impl AuthStore for PartialLog {
    fn create_token(&self, token: Token, digest: Digest) -> BoxFuture<'_, Result<(), StoreTokenError>> {
        self.0.create_token(token, digest)
    }

    fn revoke_token(&self, which: String, now: Timestamp) -> BoxFuture<'_, Result<Option<Token>, WriteError>> {
        self.0.revoke_token(which, now)
    }

    fn has_valid_token(&self, now: Timestamp) -> BoxFuture<'_, Result<bool, ReadError>> {
        self.0.has_valid_token(now)
    }

    fn tokens(&self) -> BoxFuture<'_, Result<Vec<UsedToken>, ReadError>> {
        self.0.tokens()
    }

    fn token(&self, prefix: String) -> BoxFuture<'_, Result<Option<(Token, Digest)>, ReadError>> {
        self.0.token(prefix)
    }

    fn open_session(&self, session: Session, now: Timestamp) -> BoxFuture<'_, Result<bool, WriteError>> {
        self.0.open_session(session, now)
    }

    fn session(&self, digest: Digest) -> BoxFuture<'_, Result<Option<StoredSession>, ReadError>> {
        self.0.session(digest)
    }

    fn close_session(&self, digest: Digest) -> BoxFuture<'_, Result<(), WriteError>> {
        self.0.close_session(digest)
    }

    fn record(&self, entries: Vec<AuditLogEntry>) -> BoxFuture<'_, Result<(), WriteError>> {
        if entries.iter().all(self.1) {
            return self.0.record(entries);
        }
        futures::future::ready(Err(WriteError::Unavailable("disk /secret is full".into()))).boxed()
    }

    fn audit_log(&self, limit: u32) -> BoxFuture<'_, Result<Vec<AuditLogEntry>, ReadError>> {
        self.0.audit_log(limit)
    }

    fn take_commands(&self) -> BoxFuture<'_, Result<Vec<AuditLogEntry>, WriteError>> {
        self.0.take_commands()
    }

    fn prune_auth(
        &self,
        before: Timestamp,
        now: Timestamp,
        listed: Vec<String>,
    ) -> BoxFuture<'_, Result<PrunedAuth, WriteError>> {
        self.0.prune_auth(before, now, listed)
    }
}

/// Starts a backend that logs the entries for which `is_logged` returns true, and has rows of one installation.
async fn with_partial_log(is_logged: fn(&AuditLogEntry) -> bool) -> (Backend, Uuid) {
    let folder = tempfile::tempdir().unwrap();
    let rows = Arc::new(SqliteStore::open(&folder.path().join("telemetry.db")).unwrap());
    let auth = Arc::new(PartialLog(SqliteStore::open(&folder.path().join("auth.db")).unwrap(), is_logged));
    let backend = Backend::serve(folder, Stores { rows, auth }, Retention::default(), SecurityConfig::default()).await;
    let installation = Uuid::new_v4();
    let gauges = metrics_request(installation, state_gauges([5, 0, 0, 0], now()));
    backend.metrics_client().await.export(gauges).await.unwrap();
    (backend, installation)
}

#[tokio::test]
async fn what_cannot_be_logged_is_not_shown() {
    let (backend, installation) = with_partial_log(|_| false).await;
    for path in [OVERVIEW, "/", "/audit-log", "/api/v1/audit-log"] {
        let reply = backend.get(path).await;
        assert!(reply.status == 503 && reply.text().contains("logged"), "{path}: {reply:?}");
        assert!(!reply.text().contains(&installation.to_string()) && !reply.text().contains("secret"), "{reply:?}");
    }
    assert_eq!(backend.send("GET", "/", &[]).await.status, 200, "the sign-in page shows nothing that was stored");
}

#[tokio::test]
async fn what_cannot_be_logged_is_not_erased() {
    let (backend, installation) = with_partial_log(|_| false).await;
    let reply = backend.send_as_admin("DELETE", &format!("/api/v1/installations/{installation}")).await;
    assert!(reply.status == 503 && reply.text().contains("logged"), "{reply:?}");
    assert_eq!((backend.count("latest"), backend.count("days")), (1, 1));
}

#[tokio::test]
async fn what_was_erased_is_answered_though_only_its_beginning_could_be_logged() {
    let (backend, installation) = with_partial_log(|entry| entry.status.is_none()).await;
    let reply = backend.send_as_admin("DELETE", &format!("/api/v1/installations/{installation}")).await;
    assert!(reply.status == 200 && reply.text().contains("\"latest\":true"), "{reply:?}");
    let log = backend.auth.audit_log(1).await.unwrap();
    assert_eq!((log[0].action.as_str(), log[0].status), ("DELETE /api/v1/installations/{uuid}", None));
}

#[tokio::test]
async fn an_erasure_is_in_the_log_though_nobody_waits_for_its_answer() {
    let (backend, installation) = with_partial_log(|_| true).await;
    let admin = enter(&backend, Role::Admin).await;
    // Until it is let go, nothing is erased.
    let rows = rusqlite::Connection::open(backend.file()).unwrap();
    rows.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut stream = TcpStream::connect(backend.http).await.unwrap();
    let (host, (name, value)) = (backend.http, &admin);
    let head =
        format!("DELETE /api/v1/installations/{installation} HTTP/1.1\r\nhost: {host}\r\n{name}: {value}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let begun = [("DELETE /api/v1/installations/{uuid}".to_owned(), None)];
    let logged = async || (entries_of(&backend, &admin).await[1..] == begun).then_some(());
    eventually("the erasure to be logged", logged).await;
    drop(stream);
    assert_eq!(backend.count("latest"), 1, "before it is done");
    rows.execute_batch("COMMIT").unwrap();
    assert_eq!(entries_of(&backend, &admin).await[1], begun[0]);
}
