//! What the head of a request decides is answered at once, whether its body arrives or not.

use std::net::SocketAddr;

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, Request, StatusCode};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use super::harness::{Backend, JSON, PROTOBUF, converse, try_converse, unlimited};
use super::samples::{created, logs_request, now};
use crate::servers::DEADLINE;

const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const GRPC: (&str, &str) = ("content-type", "application/grpc");

/// The largest message.
const LIMIT: usize = 512 * 1024;

async fn connect(address: SocketAddr) -> SendRequest<axum::body::Body> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Sends the head of a call whose body never begins, as a client of a streaming method does, and returns the head of the
/// response.
async fn call(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap) {
    let request = Request::builder().method(method).uri(format!("http://{address}{path}")).header("te", "trailers");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let never = stream::pending::<Result<Bytes, std::io::Error>>();
    let request = request.body(axum::body::Body::from_stream(never)).unwrap();
    let mut sender = connect(address).await;
    let response = tokio::time::timeout(DEADLINE / 2, sender.send_request(request)).await;
    let (head, _) = response.expect("the body is not waited for").unwrap().into_parts();
    (head.status, head.headers)
}

fn code(headers: &HeaderMap) -> Code {
    headers.get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}

#[tokio::test]
async fn a_call_that_is_not_taken_is_answered_without_its_body() {
    let backend = Backend::start().await;
    for path in [
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        "/opentelemetry.proto.collector.logs.v1.LogsService/Other",
        "/",
    ] {
        let (_, headers) = call(backend.grpc, "POST", path, &[GRPC]).await;
        assert_eq!(code(&headers), Code::Unimplemented, "{path}");
        let message = headers["grpc-message"].to_str().unwrap();
        assert!(message.contains("only%20the%20metrics%20and%20logs%20of%20kamaji-telemetry"), "{path}: {message}");
    }
    for headers in
        [&[][..], &[JSON], &[("content-type", "application/grpc+json")], &[("content-type", "application/grpc-web")]]
    {
        let (status, _) = call(backend.grpc, "POST", LOGS, headers).await;
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{headers:?}");
    }
    let (_, headers) = call(backend.grpc, "POST", LOGS, &[GRPC, ("grpc-encoding", "zstd")]).await;
    assert_eq!(
        (code(&headers), &headers["grpc-accept-encoding"]),
        (Code::Unimplemented, &"gzip,identity".parse().unwrap())
    );
    let too_long = (LIMIT + 6).to_string();
    let (_, headers) = call(backend.grpc, "POST", LOGS, &[GRPC, ("content-length", &too_long)]).await;
    assert_eq!(code(&headers), Code::InvalidArgument);
    assert_eq!(call(backend.grpc, "GET", LOGS, &[GRPC]).await.1["grpc-status"], "12");
}

#[tokio::test]
async fn a_message_is_taken_with_its_encoding_in_any_case() {
    let backend = Backend::start().await;
    for (encoding, is_compressed) in
        [("identity", false), ("IDENTITY", false), ("gzip", false), ("GZip", true), ("x-gzip", true)]
    {
        let message = logs_request(vec![created(uuid::Uuid::new_v4(), now())]).encode_to_vec();
        let message = if is_compressed { super::harness::gzip(&message) } else { message };
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let frame = [&[u8::from(is_compressed)], &length[..], &message].concat();
        let request = Request::post(format!("http://{}{LOGS}", backend.grpc)).header("te", "trailers");
        let request = request.header(GRPC.0, "application/grpc+proto").header("grpc-encoding", encoding);
        let response = connect(backend.grpc).await.send_request(request.body(frame.into()).unwrap()).await.unwrap();
        assert_eq!(code(response.headers()), Code::Ok, "{encoding}: {response:?}");
    }
    assert_eq!(backend.count("events"), 5);
}

#[tokio::test]
async fn a_request_that_is_not_taken_is_answered_without_its_body() {
    let backend = Backend::start().await;
    for (path, headers, length, status) in [
        ("/v1/traces", &[PROTOBUF][..], 100, 404),
        ("/v1/logs/", &[PROTOBUF], 100, 404),
        ("/nowhere", &[], 100, 404),
        ("/v1/logs", &[], 100, 415),
        ("/v1/logs", &[("content-type", "application/x-protobuf-x")], 100, 415),
        ("/v1/logs", &[PROTOBUF, ("content-encoding", "br")], 100, 415),
        ("/v1/logs", &[PROTOBUF], LIMIT + 1, 413),
        ("/v1/metrics", &[JSON], 1 << 40, 413),
        ("/stats", &[JSON], 4_097, 413),
        ("/stats", &[PROTOBUF], 100, 400),
        ("/sign-in", &[("sec-fetch-site", "same-origin")], 16 * 1024 + 1, 413),
    ] {
        let reply = backend.post_head(path, headers, length).await;
        assert_eq!(reply.status, status, "{path} {headers:?} {length}: {reply:?}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path} {headers:?}");
    }
}

#[tokio::test]
async fn every_response_has_the_security_headers() {
    let backend = Backend::start().await;
    for (method, path) in [
        ("GET", "/v1/logs"),
        ("POST", "/v1/logs"),
        ("POST", "/v1/x"),
        ("GET", "/stats"),
        ("GET", "/livez"),
        ("PUT", "/"),
        ("GET", "/x"),
    ] {
        let reply = backend.send(method, path, &[]).await;
        for name in ["content-security-policy", "x-content-type-options", "referrer-policy", "cache-control"] {
            assert!(reply.header(name).is_some(), "{method} {path} {name}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn a_response_that_comes_before_the_body_is_received_and_the_connection_is_used_again() {
    let backend = Backend::limited(unlimited()).await;
    let mut stream = TcpStream::connect(backend.http).await.unwrap();
    for _ in 0..3 {
        let reply = converse(&mut stream, "POST", "/v1/traces", &[PROTOBUF], &vec![b'a'; LIMIT]).await;
        assert_eq!(reply.status, 404);
    }
    let message = logs_request(vec![created(uuid::Uuid::new_v4(), now())]).encode_to_vec();
    assert_eq!(converse(&mut stream, "POST", "/v1/logs", &[PROTOBUF], &message).await.status, 200);
}

#[tokio::test]
async fn a_client_that_expects_to_be_told_to_go_on_is_told_no_instead() {
    let backend = Backend::start().await;
    let mut stream = TcpStream::connect(backend.http).await.unwrap();
    let head = "POST /v1/traces HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 100\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 404");
}

#[tokio::test]
async fn a_client_that_goes_on_after_many_refusals_is_disconnected() {
    let backend = Backend::limited(unlimited()).await;
    let mut stream = TcpStream::connect(backend.http).await.unwrap();
    let refuse = async |stream: &mut TcpStream| {
        let reply = try_converse(stream, "POST", "/v1/logs", &[PROTOBUF], b"nonsense").await?;
        assert_eq!(reply.status, 400);
        Some(())
    };
    for _ in 0..127 {
        refuse(&mut stream).await.unwrap();
    }
    assert_eq!(converse(&mut stream, "POST", "/v1/logs", &[PROTOBUF], b"").await.status, 200, "it is forgiven");
    let mut refused = 0;
    while refuse(&mut stream).await.is_some() {
        refused += 1;
        assert!(refused < 1_000, "it is never disconnected");
    }
    assert!(refused >= 128, "{refused}");

    let mut sender = connect(backend.grpc).await;
    let mut refused = 0;
    loop {
        let request = Request::post(format!("http://{}/acme.Service/Export", backend.grpc)).header(GRPC.0, GRPC.1);
        let Ok(response) = sender.send_request(request.body(axum::body::Body::empty()).unwrap()).await else { break };
        assert_eq!(code(response.headers()), Code::Unimplemented);
        refused += 1;
        assert!(refused < 1_000, "it is never disconnected");
    }
    assert!(refused >= 128, "{refused}");
}
