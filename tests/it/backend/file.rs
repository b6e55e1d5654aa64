//! The store's file: whose it is, that it stays the one that was opened, and that one backend serves it.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Output};

use kamaji_telemetry::backend::store::SqliteStore;
use kamaji_telemetry::backend::store::sqlite::file::APPLICATION_ID;
use rusqlite::Connection;
use tonic::Code;
use uuid::Uuid;

use super::harness::request;
use super::samples::{created, logs_request, now};
use crate::program::{Backend, PROGRAM};
use crate::servers::eventually;
use crate::servers::store::count;

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).arg("backend").args(arguments).env_clear().output().unwrap()
}

/// Returns the error of a backend that can't serve `store`.
fn refused(store: &Path) -> String {
    let store = format!("--store=sqlite:{}", store.display());
    let output = run(&["serve", "--grpc-addr=127.0.0.1:0", "--http-addr=127.0.0.1:0", &store]);
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

async fn export(backend: &Backend) -> Code {
    let request = logs_request(vec![created(Uuid::new_v4(), now())]);
    backend.logs_client().await.export(request).await.map_or_else(|status| status.code(), |_| Code::Ok)
}

async fn ready(backend: &Backend) -> u16 {
    request(backend.health(), "GET", "/readyz", &[], &[]).await.status
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_store_is_served_once_under_all_of_its_names() {
    let mut backend = Backend::start().await;
    assert!(backend.log().contains("created the store"), "{}", backend.log());
    let link = backend.file().with_file_name("link.db");
    symlink(backend.file(), &link).unwrap();
    for name in [backend.file(), &link] {
        let error = refused(name);
        assert!(error.contains("another process serves it; expected one backend for a store"), "{error}");
        assert_eq!(error.lines().filter(|line| line.contains("error") || line.contains("ERROR")).count(), 1, "{error}");
    }
    assert_eq!(export(&backend).await, Code::Ok);
    backend.kill();
    backend.restart().await;
    assert_eq!(backend.log().matches("created the store").count(), 1, "it was there: {}", backend.log());
}

#[tokio::test]
async fn a_file_that_is_moved_away_stores_nothing_until_it_is_back() {
    let backend = Backend::start().await;
    let (file, away) = (backend.file(), backend.file().with_file_name("away.db"));
    assert_eq!(export(&backend).await, Code::Ok);
    for replacement in [None, Some(&b"another file"[..]), Some(b"")] {
        std::fs::rename(file, &away).unwrap();
        if let Some(content) = replacement {
            std::fs::write(file, content).unwrap();
        }
        eventually("the backend to notice", async || (ready(&backend).await == 503).then_some(())).await;
        assert_eq!(export(&backend).await, Code::Unavailable);
        std::fs::rename(&away, file).unwrap();
        backend.ready().await;
        assert_eq!(export(&backend).await, Code::Ok);
    }
    std::fs::remove_file(file).unwrap();
    eventually("the backend to notice", async || (ready(&backend).await == 503).then_some(())).await;
    assert_eq!(export(&backend).await, Code::Unavailable);
    let errors = backend.log().lines().filter(|line| line.contains("ERROR")).count();
    assert_eq!(errors, 4, "one each: {}", backend.log());
}

#[test]
fn a_file_of_another_program_is_refused_and_neither_it_nor_its_folder_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("theirs.db");
    let sqlite = |statements: &str| {
        let _ = std::fs::remove_file(&path);
        Connection::open(&path).unwrap().execute_batch(statements).unwrap();
    };
    let history = "CREATE TABLE refinery_schema_history (version INT, name TEXT, applied_on TEXT, checksum TEXT);";
    let one = "INSERT INTO refinery_schema_history VALUES (1, 'schema', '', '');";
    let others: [&dyn Fn(); 5] = [
        &|| sqlite("CREATE TABLE theirs (a)"),
        &|| sqlite(&format!("{history}{one}")),
        &|| sqlite(&format!("PRAGMA application_id = {}; {history}{one}", APPLICATION_ID + 1)),
        &|| std::fs::write(&path, b"short").unwrap(),
        &|| std::fs::write(&path, vec![b'a'; 10_000]).unwrap(),
    ];
    for other in others {
        other();
        set_mode(&path, 0o644);
        let before = std::fs::read(&path).unwrap();
        let error = refused(&path);
        assert!(error.contains("it is no store of this program") && error.contains("expected"), "{error}");
        let store = format!("--store=sqlite:{}", path.display());
        let copy = folder.path().join("copy.db");
        assert!(!run(&["backup", copy.to_str().unwrap(), &store]).status.success());
        assert!(!run(&["erase", &Uuid::new_v4().to_string(), &store]).status.success());
        assert!(!run(&["restore", path.to_str().unwrap(), &store]).status.success());
        assert_eq!((std::fs::read(&path).unwrap(), mode(&path)), (before, 0o644));
        let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, ["theirs.db"]);
    }
}

#[test]
fn a_store_does_not_replace_a_file_of_another_program() {
    let folder = tempfile::tempdir().unwrap();
    let [store, copy, theirs] = ["telemetry.db", "copy.db", "theirs.db"].map(|name| folder.path().join(name));
    drop(SqliteStore::open(&store).unwrap());
    let location = |path: &Path| format!("--store=sqlite:{}", path.display());
    assert!(run(&["backup", copy.to_str().unwrap(), &location(&store)]).status.success());
    Connection::open(&theirs).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    let output = run(&["restore", copy.to_str().unwrap(), &location(&theirs)]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("it is no store"), "{error}");
    assert_eq!(count(&theirs, "theirs"), 0);
}

#[test]
fn a_store_in_memory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(PROGRAM)
        .args(["backend", "serve", "--store=sqlite::memory:"])
        .env_clear()
        .current_dir(folder.path())
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("expected sqlite:PATH"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(SqliteStore::open(Path::new(":memory:")).unwrap_err().to_string().contains("in memory"));
}

#[tokio::test]
async fn the_mode_and_the_owner_of_a_file_that_was_there_stay_as_they_are() {
    let mut backend = Backend::start().await;
    assert_eq!(mode(backend.file()), 0o600);
    let real = backend.file().with_file_name("real.db");
    backend.kill();
    drop(SqliteStore::open(backend.file()).unwrap());
    std::fs::rename(backend.file(), &real).unwrap();
    symlink(&real, backend.file()).unwrap();
    set_mode(&real, 0o644);
    backend.restart().await;
    backend.logged("any user of this system may read the store's file").await;
    assert_eq!((mode(&real), export(&backend).await), (0o644, Code::Ok));
    backend.kill();
    // Only root gives files away.
    if chown(&real, Some(12_345), None).is_ok() {
        backend.restart().await;
        assert_eq!(export(&backend).await, Code::Ok);
        assert_eq!(backend.log().matches("the store's file belongs to another user").count(), 1, "{}", backend.log());
        assert_eq!((mode(&real), real.metadata().unwrap().uid()), (0o644, 12_345));
    }
}

#[test]
fn a_link_to_nothing_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let (link, target) = (folder.path().join("link.db"), folder.path().join("target.db"));
    symlink(&target, &link).unwrap();
    assert!(refused(&link).contains("No such file"));
    assert!(!target.exists());
}
