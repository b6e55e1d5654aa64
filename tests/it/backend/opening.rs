//! A backend while its store is opened, which takes as long as a migration of its schema.

use std::io::ErrorKind;
use std::path::Path;

use kamaji_telemetry::backend::store::SqliteStore;
use kamaji_telemetry::backend::store::sqlite::file::APPLICATION_ID;
use rusqlite::Connection;
use tokio::net::TcpStream;
use tonic::Code;
use uuid::Uuid;

use super::harness::{Reply, request};
use super::samples::{created, logs_request, now};
use crate::program::Backend;
use crate::servers::eventually;
use crate::servers::store::count;

/// A file whose schema takes for ever to be migrated, as one of many rows takes minutes. There is one migration so far:
/// that of a file that has none.
fn endless(path: &Path) {
    let endless = "CREATE TABLE refinery_schema_history
                       (version INT4 PRIMARY KEY, name VARCHAR(255), applied_on VARCHAR(255), checksum VARCHAR(255));
                   CREATE VIEW numbers (number) AS
                       WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n;
                   CREATE TRIGGER endless BEFORE INSERT ON refinery_schema_history
                   BEGIN SELECT count(*) FROM numbers; END;";
    let store = format!("PRAGMA application_id = {APPLICATION_ID}; {endless}");
    Connection::open(path).unwrap().execute_batch(&store).unwrap();
}

async fn probe(backend: &Backend, path: &str) -> Reply {
    request(backend.health(), "GET", path, &[], &[]).await
}

/// Starts a backend, and waits until it migrates the schema.
async fn opening() -> Backend {
    let backend = Backend::start_with_file(endless).await;
    eventually("the store to be opened", async || {
        let ready = probe(&backend, "/readyz").await;
        ready.text().contains("the store is being opened").then_some(())
    })
    .await;
    backend
}

#[tokio::test]
async fn probes_are_served_and_connections_are_refused_so_that_senders_try_again() {
    let backend = opening().await;
    assert_eq!(probe(&backend, "/livez").await.status, 200);
    let ready = probe(&backend, "/readyz").await;
    assert!(ready.status == 503 && ready.text().contains("the store is being opened"), "{ready:?}");
    assert!(probe(&backend, "/metrics").await.text().contains("kamaji_telemetry_backend_ready 0"));
    for port in [backend.grpc(), backend.http()] {
        assert_eq!(TcpStream::connect(port).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", backend.grpc())).unwrap();
    let channel = endpoint.connect_lazy();
    let mut client =
        opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient::new(channel);
    let status = client.export(logs_request(vec![created(Uuid::new_v4(), now())])).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
}

#[tokio::test]
async fn a_signal_ends_it_and_the_store_is_as_it_was() {
    for signal in ["TERM", "INT"] {
        let mut backend = opening().await;
        assert_eq!(backend.end(signal).await, Some(0), "{}", backend.log());
        let log = backend.log();
        assert!(log.contains("it is unchanged") && !log.contains("error") && !log.contains("interrupted"), "{log}");
        let file = backend.file();
        assert_eq!(
            (count(file, "refinery_schema_history"), count(file, "sqlite_master WHERE name = 'latest'")),
            (0, 0)
        );
        Connection::open(file).unwrap().execute_batch("DROP TRIGGER endless; DROP VIEW numbers").unwrap();
        drop(SqliteStore::open(file).unwrap());
    }
}

#[test]
fn two_addresses_that_are_one_are_reported_before_the_store_is_opened() {
    let address = crate::servers::free_address().to_string();
    for (one, other) in
        [("--grpc-addr", "--http-addr"), ("--grpc-addr", "--health-addr"), ("--http-addr", "--health-addr")]
    {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("telemetry.db");
        let mut command = std::process::Command::new(crate::program::PROGRAM);
        command.args(["backend", "serve", &format!("--store=sqlite:{}", store.display())]).env_clear();
        for flag in ["--grpc-addr", "--http-addr", "--health-addr"] {
            let address = if [one, other].contains(&flag) { &address } else { "127.0.0.1:0" };
            command.arg(format!("{flag}={address}"));
        }
        let output = command.output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && !store.exists(), "{message}");
        assert!(message.contains(&format!("{one} and {other} are both {address}: expected")), "{message}");
    }
}

#[tokio::test]
async fn it_serves_once_the_store_is_open() {
    let backend = Backend::start_with_file(|path| drop(SqliteStore::open(path).unwrap())).await;
    backend.ready().await;
    let mut client = backend.logs_client().await;
    client.export(logs_request(vec![created(Uuid::new_v4(), now())])).await.unwrap();
    eventually("the event", async || (count(backend.file(), "events") == 1).then_some(())).await;
    assert_eq!(probe(&backend, "/readyz").await.text(), "ok\n");
}
