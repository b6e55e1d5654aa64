//! Hostile inputs and the responses to them over both transports: the table of docs/reliability.md.

use std::net::SocketAddr;

use axum::body::Body;
use http::{HeaderMap, Request};
use hyper::client::conn::http2::handshake;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;
use tokio::net::TcpStream;
use tonic::Code;
use uuid::Uuid;

use super::harness::{Backend, GZIP, JSON, PROTOBUF, gzip, try_request, unlimited};
use super::samples::{attribute, created, logs_request, now, text};
use crate::servers::checkout;

const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// A mark in each input that carries a text. No response may repeat it.
const MARK: &str = "acmebank";

/// A hostile input, as the body of OTLP.
struct Input {
    name: &'static str,
    body: fn() -> Vec<u8>,
    encoding: Option<&'static str>,
    /// The responses over HTTP and over gRPC.
    expected: (u16, Code),
}

impl Input {
    const fn new(name: &'static str, expected: (u16, Code), body: fn() -> Vec<u8>) -> Self {
        Self { name, body, encoding: None, expected }
    }

    const fn encoded(name: &'static str, encoding: &'static str, expected: (u16, Code), body: fn() -> Vec<u8>) -> Self {
        Self { name, body, encoding: Some(encoding), expected }
    }
}

const INVALID: (u16, Code) = (400, Code::InvalidArgument);

const INPUTS: [Input; 20] = [
    Input::new("bytes that are no protobuf", INVALID, || MARK.as_bytes().to_vec()),
    Input::new("a message that ends early", INVALID, || {
        let mut body = good();
        body.truncate(body.len() - 9);
        body
    }),
    Input::encoded("gzip that ends early", "gzip", INVALID, || gzip(&good())[..20].to_vec()),
    Input::encoded("what says that it is gzip and is not", "gzip", INVALID, good),
    Input::encoded("an encoding other than gzip", "br", (415, Code::Unimplemented), good),
    Input::encoded("64 MB of zeros in 300 kB of gzip", "gzip", (413, Code::ResourceExhausted), || {
        gzip(&vec![0; 64 << 20])
    }),
    Input::new("a message of more than 512 KiB", (413, Code::InvalidArgument), || {
        record(|record| record.severity_text = "a".repeat(512 << 10))
    }),
    Input::encoded("250,000 empty records in 2 kB of gzip", "gzip", INVALID, || {
        gzip(&logs_request(vec![LogRecord::default(); 250_000]).encode_to_vec())
    }),
    Input::new("250,000 empty resources", INVALID, || {
        ExportLogsServiceRequest { resource_logs: vec![ResourceLogs::default(); 250_000] }.encode_to_vec()
    }),
    Input::new("250,000 empty scopes", INVALID, || {
        let mut request = logs_request(vec![]);
        request.resource_logs[0].scope_logs = vec![ScopeLogs::default(); 250_000];
        request.encode_to_vec()
    }),
    Input::new("2,001 records", INVALID, || logs_request(vec![event(); 2_001]).encode_to_vec()),
    Input::new("a value in a value, 1,000 deep", INVALID, || {
        record(|record| record.attributes.push(attribute("a", nested(1_000))))
    }),
    Input::new("a value in a value, 20 deep", INVALID, || {
        record(|record| record.body = Some(AnyValue { value: Some(nested(20)) }))
    }),
    Input::new("a value of 400 kB", INVALID, || {
        record(|record| record.attributes[1] = text("tcp_version", "a".repeat(400_000)))
    }),
    Input::new("a key of 400 kB", INVALID, || {
        record(|record| record.attributes.push(text(&"a".repeat(400_000), MARK)))
    }),
    Input::new("10,000 attributes of one record", INVALID, || {
        record(|record| record.attributes.extend(vec![text(MARK, MARK); 10_000]))
    }),
    Input::new("the same attribute twice", INVALID, || {
        record(|record| record.attributes.push(record.attributes[0].clone()))
    }),
    Input::new("a name that the catalog does not have", INVALID, || record(|record| record.event_name = MARK.into())),
    Input::new("a version with a suffix", INVALID, || {
        record(|record| record.attributes[1] = text("tcp_version", format!("v1.35.1-{MARK}")))
    }),
    Input::new("a body", INVALID, || record(|record| record.body = text("", MARK).value)),
];

fn event() -> LogRecord {
    created(Uuid::new_v4(), now())
}

fn good() -> Vec<u8> {
    logs_request(vec![event()]).encode_to_vec()
}

fn record(change: impl FnOnce(&mut LogRecord)) -> Vec<u8> {
    let mut record = event();
    change(&mut record);
    logs_request(vec![record]).encode_to_vec()
}

/// Returns a value in a value, to a depth.
fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::StringValue(MARK.into()), |inner, _| {
        Value::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(inner) }] })
    })
}

/// Returns the code and the head of gRPC's response to a message. Every error is in the head.
async fn call(address: SocketAddr, path: &str, encoding: Option<&str>, message: &[u8]) -> (Code, HeaderMap) {
    call_with(address, path, encoding, frame(encoding, message)).await
}

fn frame(encoding: Option<&str>, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[u8::from(encoding.is_some())], &length[..], message].concat()
}

async fn call_with(address: SocketAddr, path: &str, encoding: Option<&str>, body: Vec<u8>) -> (Code, HeaderMap) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = Request::post(format!("http://{address}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(encoding) = encoding {
        request = request.header("grpc-encoding", encoding);
    }
    let response = sender.send_request(request.body(Body::from(body)).unwrap()).await.unwrap();
    connection.abort();
    let headers = response.headers().clone();
    (headers.get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes())), headers)
}

fn repeats_nothing(response: &[u8]) -> bool {
    !response.windows(MARK.len()).any(|window| window == MARK.as_bytes()) && response.len() < 1_000
}

/// Returns the name of a code, as the gRPC specification writes it.
fn name(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::Unimplemented => "UNIMPLEMENTED",
        other => panic!("{other:?} is not expected of any input"),
    }
}

/// Checks that the documentation has a row of the table.
fn assert_documented(row: &str) {
    let documentation = std::fs::read_to_string(checkout("docs/reliability.md")).unwrap();
    assert!(documentation.contains(row), "docs/reliability.md lacks the row\n{row}");
}

#[tokio::test]
async fn hostile_otlp_is_answered_as_documented_and_nothing_is_stored_or_repeated() {
    let backend = Backend::limited(unlimited()).await;
    for Input { name: input, body, encoding, expected: (status, code) } in INPUTS {
        let body = body();
        let encodings = encoding.map(|encoding| ("content-encoding", encoding));
        let headers: Vec<_> = [PROTOBUF].into_iter().chain(encodings).collect();
        let reply = try_request(backend.http, "POST", "/v1/logs", &headers, &body).await.unwrap();
        assert_eq!(reply.status, status, "{input}: {reply:?}");
        assert!(repeats_nothing(&reply.body), "{input}: {reply:?}");
        let (called, headers) = call(backend.grpc, LOGS, encoding, &body).await;
        assert_eq!(called, code, "{input}: {headers:?}");
        assert!(repeats_nothing(format!("{headers:?}").as_bytes()), "{input}: {headers:?}");
        assert_documented(&format!("| {input} | {status} | {} |", name(code)));
    }
    assert_eq!(backend.rows(), 0);
    assert_eq!(call(backend.grpc, "/acme.Service/Export", None, &[]).await.0, Code::Unimplemented);
    assert_eq!(try_request(backend.http, "POST", "/v1/traces", &[PROTOBUF, GZIP], &[]).await.unwrap().status, 404);
}

#[tokio::test]
async fn a_call_with_a_second_message_is_rejected_and_none_of_them_is_decoded() {
    let backend = Backend::limited(unlimited()).await;
    let good = frame(Some("gzip"), &gzip(&logs_request(vec![event()]).encode_to_vec()));
    for second in [good.clone(), frame(None, b""), vec![0]] {
        let body = [good.clone(), second].concat();
        assert_eq!(call_with(backend.grpc, LOGS, Some("gzip"), body).await.0, Code::InvalidArgument);
    }
    assert_eq!(backend.rows(), 0);
    assert_eq!(call_with(backend.grpc, LOGS, Some("gzip"), good).await.0, Code::Ok);
    assert_eq!(backend.rows(), 1);
}

#[tokio::test]
async fn hostile_json_is_answered_as_documented_and_nothing_is_stored_or_repeated() {
    let backend = Backend::limited(unlimited()).await;
    let stats = |running: &str| {
        format!(
            r#"{{"uuid": "6f8bd8e2-6d1f-4c0e-9a53-0d9f2b8f9a11", "kamaji_version": "{MARK}", "kubernetes_version": "{MARK}", "running": {running}, "sleeping": 0, "not_ready": 0, "upgrading": 0}}"#
        )
    };
    for (input, body, status) in [
        ("what is no JSON", MARK.to_owned(), 400),
        ("JSON that ends early", stats("1")[..60].to_owned(), 400),
        ("lists in lists, 2,000 deep", "[".repeat(2_000), 400),
        ("more than 4 KiB", format!("\"{}\"", MARK.repeat(1_000)), 413),
        ("a count below 0, above a million, or with a fraction", stats("-1"), 400),
        ("a count below 0, above a million, or with a fraction", stats("1000001"), 400),
        ("a count below 0, above a million, or with a fraction", stats("0.5"), 400),
        ("a count that is text", stats(&format!("\"{MARK}\"")), 400),
        ("a count that is there twice", stats("1, \"running\": 2"), 400),
        ("an object of another kind", format!(r#"{{"{MARK}": {{"{MARK}": ["{MARK}"]}}}}"#), 400),
    ] {
        let reply = try_request(backend.http, "POST", "/stats", &[JSON], body.as_bytes()).await.unwrap();
        assert_eq!(reply.status, status, "{input}: {reply:?}");
        assert!(repeats_nothing(&reply.body), "{input}: {reply:?}");
        assert_documented(&format!("| {input} | {status} |"));
    }
    let reply = try_request(backend.http, "POST", "/stats", &[PROTOBUF], stats("1").as_bytes()).await.unwrap();
    assert_eq!((reply.status, backend.rows()), (400, 0));
}
