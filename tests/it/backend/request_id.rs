//! The id of a request over HTTP: in its answer, and in the lines that are logged about it.

use rusqlite::Connection;
use uuid::Uuid;

use super::harness::{Backend, request};
use crate::program;

const REQUEST_ID: &str = "x-request-id";

#[tokio::test]
async fn each_answer_has_an_id_of_its_own_that_no_client_chooses() {
    let backend = Backend::start().await;
    let mut ids = Vec::new();
    for (method, path) in [("GET", "/livez"), ("GET", "/"), ("POST", "/v1/logs"), ("POST", "/stats"), ("GET", "/no")] {
        let reply = backend.send(method, path, &[(REQUEST_ID, "acmebank")]).await;
        ids.push(reply.header(REQUEST_ID).unwrap().parse::<Uuid>().unwrap());
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5);
}

#[tokio::test]
async fn the_log_names_the_route_and_the_id_of_a_request_that_fails_and_nothing_that_was_sent() {
    let backend = program::Backend::start().await;
    Connection::open(backend.file()).unwrap().execute_batch("ALTER TABLE tokens RENAME TO unreadable").unwrap();
    let token = format!("Bearer ktt_00000000_{}", "0".repeat(64));
    let headers = [("authorization", token.as_str()), (REQUEST_ID, "acmebank")];
    let path = "/api/v1/insights/overview?acmebank";
    let reply = request(backend.http(), "GET", path, &headers, &[]).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    let id = reply.header(REQUEST_ID).unwrap();
    backend.logged(id).await;
    let log = backend.log();
    let line = log.lines().find(|line| line.contains(id)).unwrap();
    assert!(line.contains("/api/v1/insights/overview") && line.contains("GET"), "{line}");
    assert!(!log.contains("acmebank"), "{log}");
}
