//! The tokens of readers from a file.

use std::path::{Path, PathBuf};
use std::process::Command;

use kamaji_telemetry::backend::auth::AuthConfig;
use tempfile::TempDir;

use super::super::harness::{Backend, Reply, request};
use crate::program::{self, PROGRAM};
use crate::servers::eventually;

const OVERVIEW: &str = "/api/v1/insights/overview";

fn token(number: u8) -> String {
    format!("ktt_{number:08x}_{}", "5ec4e7a0".repeat(8))
}

fn line(name: &str, role: &str, number: u8) -> String {
    format!("{name} {role} {}\n", token(number))
}

/// A file of tokens.
struct File(TempDir);

impl File {
    fn new(lines: &str) -> Self {
        let file = Self(tempfile::tempdir().unwrap());
        file.replace(lines);
        file
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("readers")
    }

    /// Replaces the file as a whole, as a kubelet does with a Secret's.
    fn replace(&self, lines: &str) {
        let new = self.0.path().join("new");
        std::fs::write(&new, lines).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }

    fn flag(&self) -> String {
        format!("--reader-token-file={}", self.path().display())
    }

    fn auth_config(&self) -> AuthConfig {
        AuthConfig { reader_token_file: Some(self.path()), ..AuthConfig::default() }
    }
}

async fn read(backend: &Backend, path: &str, number: u8) -> u16 {
    backend.send("GET", path, &[("authorization", &format!("Bearer {}", token(number)))]).await.status
}

async fn read_process(backend: &program::Backend, number: u8) -> u16 {
    let headers = [("authorization", &*format!("Bearer {}", token(number)))];
    request(backend.http(), "GET", OVERVIEW, &headers, &[]).await.status
}

fn by_hand(store: &Path, arguments: &[&str]) -> String {
    let store = format!("--store=sqlite:{}", store.display());
    let output =
        Command::new(PROGRAM).args(["backend", "token"]).args(arguments).arg(store).env_clear().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_file_says_who_reads_and_is_read_again() {
    let file = File::new(&(line("alice", "admin", 1) + &line("ci", "viewer", 2)));
    let backend = Backend::with_auth(file.auth_config()).await;
    eventually("the file to be read", async || (read(&backend, OVERVIEW, 1).await == 200).then_some(())).await;
    assert_eq!(read(&backend, "/api/v1/audit-log", 1).await, 200);
    assert_eq!((read(&backend, OVERVIEW, 2).await, read(&backend, "/api/v1/audit-log", 2).await), (200, 403));
    assert_eq!(read(&backend, OVERVIEW, 3).await, 401);
    assert!(!by_hand(&backend.file(), &["list"]).contains("alice"), "only the file lists them");
    let cookie = sign_in(&backend, &token(2)).await;
    let overview = async || -> Reply { backend.send("GET", OVERVIEW, &[("cookie", &cookie)]).await };
    assert_eq!(overview().await.status, 200);
    file.replace(&(line("alice", "viewer", 1) + &line("carol", "viewer", 3)));
    eventually("the new token", async || (read(&backend, OVERVIEW, 3).await == 200).then_some(())).await;
    assert_eq!((read(&backend, OVERVIEW, 2).await, overview().await.status), (401, 401), "with its sessions");
    assert_eq!((read(&backend, OVERVIEW, 1).await, read(&backend, "/api/v1/audit-log", 1).await), (200, 403));
    let log = backend.auth.audit_log(1_000).await.unwrap();
    let of_ci = log.iter().rev().filter(|entry| entry.actor.as_ref().is_some_and(|actor| actor.name == "ci"));
    let of_ci: Vec<_> =
        of_ci.map(|entry| (&*entry.actor.as_ref().unwrap().token, &*entry.action, entry.status)).collect();
    let expected = [
        ("GET /api/v1/insights/overview", 200),
        ("GET /api/v1/audit-log", 403),
        ("POST /sign-in", 303),
        ("GET /api/v1/insights/overview", 200),
    ];
    assert_eq!(of_ci, expected.map(|(action, status)| ("ktt_00000002", action, Some(status))));
}

/// Logs in, and returns the cookie.
async fn sign_in(backend: &Backend, token: &str) -> String {
    let origin = format!("http://{}", backend.http);
    let form = [("content-type", "application/x-www-form-urlencoded"), ("origin", origin.as_str())];
    let reply = backend.post("/sign-in", &form, format!("token={token}").as_bytes()).await;
    reply.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_session_ends_with_the_secret_that_it_was_made_with_and_its_role_follows_the_file() {
    let file = File::new(&line("alice", "viewer", 1));
    let backend = Backend::with_auth(file.auth_config()).await;
    assert_eq!(backend.get(OVERVIEW).await.status, 200, "it serves");
    let cookie = sign_in(&backend, &token(1)).await;
    let status = async |path: &str| backend.send("GET", path, &[("cookie", &cookie)]).await.status;
    assert_eq!((status(OVERVIEW).await, status("/api/v1/audit-log").await), (200, 403));
    // Other tokens show that the file was read: the requests of one are limited.
    let is_read = async |number| (read(&backend, OVERVIEW, number).await == 200).then_some(());
    file.replace(&(line("alice", "admin", 1) + &line("bob", "viewer", 2)));
    eventually("the other role", async || is_read(2).await).await;
    assert_eq!(status("/api/v1/audit-log").await, 200);
    let other_secret = token(1).replace("5ec4e7a0", "5ec4e7a1");
    file.replace(&(format!("alice admin {other_secret}\n") + &line("carol", "viewer", 3)));
    eventually("the other secret", async || is_read(3).await).await;
    assert_eq!(status(OVERVIEW).await, 401);
    let new = sign_in(&backend, &other_secret).await;
    assert_eq!(backend.send("GET", OVERVIEW, &[("cookie", &new)]).await.status, 200);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_any_more_changes_nothing_and_no_word_of_it_is_logged() {
    let file = File::new(&line("alice", "viewer", 1));
    let backend = program::Backend::start_with(&[&file.flag()]).await;
    assert_eq!(read_process(&backend, 1).await, 200, "from the first request on");
    file.replace(&format!("alice viewer {}0\n", token(2)));
    backend.logged("line 1 ends with no token").await;
    backend.logged("stay as they were").await;
    assert_eq!((read_process(&backend, 1).await, read_process(&backend, 2).await), (200, 401));
    std::fs::remove_file(file.path()).unwrap();
    backend.logged("No such file").await;
    assert_eq!(read_process(&backend, 1).await, 200);
    let reloads = async |result: &str| {
        let name = format!("kamaji_telemetry_backend_token_file_reloads_total{{file=\"reader\",result=\"{result}\"}} ");
        let metrics = backend.metrics().await;
        metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_else(|| panic!("{metrics}")).to_owned()
    };
    assert_eq!([reloads("success").await, reloads("failure").await], ["1", "2"]);
    file.replace(&line("alice", "viewer", 1));
    backend.logged("the token file can be used again").await;
    assert_eq!(reloads("success").await, "2");
    file.replace(&line("alice", "viewer", 2));
    eventually("the new token", async || (read_process(&backend, 2).await == 200).then_some(())).await;
    assert_eq!(read_process(&backend, 1).await, 401);
    file.replace("# nobody\n");
    eventually("the last token's end", async || (read_process(&backend, 2).await == 401).then_some(())).await;
    assert!(!backend.log().contains("5ec4e7a0"), "{}", backend.log());
}

#[tokio::test]
async fn a_token_that_the_store_has_too_is_the_stores_and_stays_revoked() {
    let file = File::new("# nobody yet\n");
    let backend = program::Backend::start_with(&[&file.flag()]).await;
    let made = by_hand(backend.file(), &["create", "--name=alice", "--role=viewer"]);
    let status = async |path: &str| {
        let headers = [("authorization", &*format!("Bearer {}", made.trim()))];
        request(backend.http(), "GET", path, &headers, &[]).await.status
    };
    file.replace(&(format!("alice admin {made}") + &line("ci", "viewer", 2)));
    eventually("the file to be read", async || (read_process(&backend, 2).await == 200).then_some(())).await;
    assert_eq!((status(OVERVIEW).await, status("/api/v1/audit-log").await), (200, 403), "with the store's role");
    by_hand(backend.file(), &["revoke", "alice"]);
    assert_eq!((status(OVERVIEW).await, status(OVERVIEW).await), (401, 401), "at once");
    let log = backend.log();
    assert_eq!(log.matches("refused a token of --reader-token-file").count(), 1, "{log}");
    assert!(log.contains(&made[..12]) && !log.contains(made.trim()), "{log}");
}

#[tokio::test]
async fn a_token_of_the_file_cannot_be_revoked_by_hand() {
    let file = File::new(&line("alice", "viewer", 1));
    let backend = program::Backend::start_with(&[&file.flag()]).await;
    assert_eq!(read_process(&backend, 1).await, 200);
    let store = format!("--store=sqlite:{}", backend.file().display());
    for which in ["alice", "ktt_00000001"] {
        let output =
            Command::new(PROGRAM).args(["backend", "token", "revoke", which, &store]).env_clear().output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains("no token that can be revoked"), "{error}");
    }
    assert_eq!(read_process(&backend, 1).await, 200);
}

#[tokio::test]
async fn a_file_with_a_token_is_enough_for_the_page_not_to_say_how_to_make_one() {
    let file = File::new(&line("alice", "viewer", 1));
    let backend = program::Backend::start_with(&[&file.flag()]).await;
    let hint = "kamaji-telemetry backend token create";
    let page = async || request(backend.http(), "GET", "/", &[], &[]).await.text().to_owned();
    assert!(!page().await.contains(hint));
    file.replace("# nobody\n");
    eventually("the hint", async || page().await.contains(hint).then_some(())).await;
}

#[tokio::test]
async fn without_the_file_none_of_its_tokens_is_valid() {
    let file = File::new(&line("alice", "viewer", 1));
    let backend = Backend::with_auth(file.auth_config()).await;
    eventually("the file to be read", async || (read(&backend, OVERVIEW, 1).await == 200).then_some(())).await;
    let backend = backend.restart().await;
    eventually("the backend to serve", async || (backend.get(OVERVIEW).await.status == 200).then_some(())).await;
    assert_eq!(read(&backend, OVERVIEW, 1).await, 401);
}

#[test]
fn a_file_that_cannot_be_used_is_named_at_the_start_with_what_was_expected() {
    let folder = tempfile::tempdir().unwrap();
    let [missing, wrong] = ["missing", "wrong"].map(|name| folder.path().join(name));
    std::fs::write(&wrong, "acme acme acme\n").unwrap();
    let store = format!("--store=sqlite:{}", folder.path().join("telemetry.db").display());
    for path in [missing, wrong] {
        let flag = format!("--reader-token-file={}", path.display());
        let arguments = ["backend", "serve", "--grpc-addr=127.0.0.1:0", "--http-addr=127.0.0.1:0", &flag, &store];
        let output = Command::new(PROGRAM).args(arguments).env_clear().output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        let named = ["--reader-token-file", path.to_str().unwrap(), "expected"].iter().all(|part| error.contains(part));
        assert!(!output.status.success() && named && !error.contains("acme"), "{error}");
        assert!(!folder.path().join("telemetry.db").exists(), "before the store is opened");
    }
}
