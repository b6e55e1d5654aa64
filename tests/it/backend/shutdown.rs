//! Startup and shutdown.

use std::net::SocketAddr;

use kamaji_telemetry::backend::{self, Config, ServeSettings, StoreLocation};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::harness::Backend;
use super::samples::{created, logs_request, now};
use crate::servers::store::count;

/// Sends a request's head, and returns when the server waits for its body.
async fn begin(address: SocketAddr, length: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/logs HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-protobuf\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut response = [0; 25];
    stream.read_exact(&mut response).await.unwrap();
    assert_eq!(&response, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[tokio::test]
async fn a_request_in_flight_is_finished_and_stored() {
    let backend = Backend::start().await;
    let body = logs_request(vec![created(Uuid::new_v4(), now())]).encode_to_vec();
    let mut stream = begin(backend.http, body.len()).await;
    let stopping = tokio::spawn(backend.stop());
    stream.write_all(&body).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200 OK"), "{response}");
    let folder = stopping.await.unwrap();
    assert_eq!(count(&folder.path().join("telemetry.db"), "events"), 1);
}

#[tokio::test]
async fn an_address_that_is_taken_and_a_folder_that_is_not_there_are_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (any, taken) = ("127.0.0.1:0".parse().unwrap(), taken.local_addr().unwrap());
    let store = StoreLocation::Sqlite("/nowhere/telemetry.db".into());
    for (grpc, http, expected) in [
        (taken, any, [taken.to_string(), "--grpc-addr".into()]),
        (any, taken, [taken.to_string(), "--http-addr".into()]),
        (any, any, ["/nowhere/telemetry.db".into(), "an existing directory".into()]),
    ] {
        let config = Config { grpc, http, health: None, store: store.clone(), settings: ServeSettings::default() };
        let error = format!("{:#}", backend::run(config, CancellationToken::new()).await.unwrap_err());
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
    }
}

#[tokio::test]
async fn a_store_that_was_written_and_read_is_one_file_after_the_shutdown() {
    let backend = Backend::start().await;
    backend.logs_client().await.export(logs_request(vec![created(Uuid::new_v4(), now())])).await.unwrap();
    assert_eq!(backend.events().await.len(), 1);
    let file = backend.file();
    let folder = backend.stop().await;
    for beside in ["telemetry.db-wal", "telemetry.db-shm"] {
        assert!(!file.with_file_name(beside).exists(), "{beside}");
    }
    assert_eq!(count(&folder.path().join("telemetry.db"), "events"), 1);
}

#[tokio::test]
async fn nothing_is_accepted_after_the_shutdown() {
    let backend = Backend::start().await;
    let _idle = backend.channel().await;
    let (grpc, http) = (backend.grpc, backend.http);
    backend.stop().await;
    for address in [grpc, http] {
        assert!(TcpStream::connect(address).await.is_err());
    }
}
