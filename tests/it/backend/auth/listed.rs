//! Tokens of readers from a file.

use std::path::{Path, PathBuf};
use std::process::Command;

use kamaji_telemetry::backend::auth::AuthConfig;
use tempfile::TempDir;

use super::super::harness::{Backend, Reply, request};
use crate::program::{self, PROGRAM};
use crate::servers::eventually;

const OVERVIEW: &str = "/api/v1/insights/overview";

/// A token that nobody was given before.
fn token(number: u8) -> String {
    format!("ktt_{number:08x}_{}", "5ec4e7a0".repeat(8))
}

fn line(name: &str, role: &str, number: u8) -> String {
    format!("{name} {role} {}\n", token(number))
}

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

    /// Puts other lines in its place, as Kubernetes does with a Secret's.
    fn replace(&self, lines: &str) {
        let new = self.0.path().join("new");
        std::fs::write(&new, lines).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }

    fn flag(&self) -> String {
        format!("--reader-token-file={}", self.path().display())
    }

    fn entrance(&self) -> AuthConfig {
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
    let backend = Backend::enter(file.entrance()).await;
    eventually("the file to be read", async || (read(&backend, OVERVIEW, 1).await == 200).then_some(())).await;
    assert_eq!(read(&backend, "/api/v1/audit-log", 1).await, 200);
    assert_eq!((read(&backend, OVERVIEW, 2).await, read(&backend, "/api/v1/audit-log", 2).await), (200, 403));
    assert_eq!(read(&backend, OVERVIEW, 3).await, 401);
    let listed = by_hand(&backend.file(), &["list"]);
    let cells = |name: &str| -> Vec<String> {
        let line = listed.lines().find(|line| line.split_whitespace().nth(1) == Some(name)).unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!((&*cells("alice")[2], &*cells("alice")[4], &*cells("alice")[5]), ("admin", "by-file", "valid"));
    let origin = format!("http://{}", backend.http);
    let form = [("content-type", "application/x-www-form-urlencoded"), ("origin", origin.as_str())];
    let signed_in = backend.post("/sign-in", &form, format!("token={}", token(2)).as_bytes()).await;
    let cookie = signed_in.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let overview = async || -> Reply { backend.send("GET", OVERVIEW, &[("cookie", &cookie)]).await };
    assert_eq!(overview().await.status, 200);
    file.replace(&(line("alice", "viewer", 1) + &line("carol", "viewer", 3)));
    eventually("the new token", async || (read(&backend, OVERVIEW, 3).await == 200).then_some(())).await;
    assert_eq!((read(&backend, OVERVIEW, 2).await, overview().await.status), (401, 401), "with its sessions");
    assert_eq!((read(&backend, OVERVIEW, 1).await, read(&backend, "/api/v1/audit-log", 1).await), (200, 403));
    let log = backend.access.audit_log(1_000).await.unwrap();
    let commands = log.iter().rev().filter(|entry| entry.what.starts_with("token "));
    let commands: Vec<_> = commands.map(|entry| (entry.what.as_str(), &*entry.who.as_ref().unwrap().name)).collect();
    let (create, revoke) = ("token create", "token revoke");
    assert_eq!(
        commands[commands.len() - 6..],
        [(create, "alice"), (create, "ci"), (revoke, "alice"), (revoke, "ci"), (create, "alice"), (create, "carol")]
    );
}

#[tokio::test]
async fn a_file_that_breaks_changes_nothing_and_is_told_without_what_is_in_it() {
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
        let accounts = backend.metrics().await;
        accounts.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_else(|| panic!("{accounts}")).to_owned()
    };
    assert_eq!([reloads("OK").await, reloads("FAILED").await], ["1", "2"]);
    file.replace(&line("alice", "viewer", 1));
    backend.logged("--reader-token-file can be used again").await;
    assert_eq!(reloads("OK").await, "2");
    file.replace(&line("alice", "viewer", 2));
    eventually("the new token", async || (read_process(&backend, 2).await == 200).then_some(())).await;
    assert_eq!(read_process(&backend, 1).await, 401);
    file.replace("# nobody\n");
    eventually("the last token's end", async || (read_process(&backend, 2).await == 401).then_some(())).await;
    assert!(!backend.log().contains("5ec4e7a0"), "{}", backend.log());
}

#[tokio::test]
async fn what_was_revoked_by_hand_stays_so_and_is_warned_of_at_each_start() {
    let file = File::new(&line("alice", "viewer", 1));
    let mut backend = program::Backend::start_with(&[&file.flag()]).await;
    assert_eq!(read_process(&backend, 1).await, 200);
    assert!(by_hand(backend.file(), &["revoke", "alice"]).contains("out of the backend's --reader-token-file"));
    assert_eq!(read_process(&backend, 1).await, 401, "at once");
    backend.kill();
    backend.restart().await;
    backend.logged("ktt_00000001 of alice was revoked and stays so: take it out of the file").await;
    assert_eq!(read_process(&backend, 1).await, 401);
}

#[tokio::test]
async fn a_name_that_a_token_made_by_hand_has_is_told_and_taken_when_it_is_free() {
    let file = File::new(&line("ci", "viewer", 1));
    let backend = program::Backend::start_with(&[&file.flag()]).await;
    by_hand(backend.file(), &["create", "--name=alice"]);
    file.replace(&(line("alice", "viewer", 2) + &line("ci", "viewer", 1)));
    backend.logged("ktt_00000002 of alice is not taken").await;
    assert_eq!((read_process(&backend, 1).await, read_process(&backend, 2).await), (200, 401));
    file.replace(&(line("alice", "viewer", 2) + &line("ci", "viewer", 1) + &line("carol", "viewer", 3)));
    eventually("the other one to be taken", async || (read_process(&backend, 3).await == 200).then_some(())).await;
    by_hand(backend.file(), &["revoke", "alice"]);
    eventually("its name to be taken", async || (read_process(&backend, 2).await == 200).then_some(())).await;
    assert_eq!(backend.log().matches("is not taken").count(), 1, "{}", backend.log());
}

#[tokio::test]
async fn without_the_file_none_of_its_tokens_is_valid() {
    let file = File::new(&line("alice", "viewer", 1));
    let backend = Backend::enter(file.entrance()).await;
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
