//! Hostile inputs and the responses to them over both transports: the table of docs/reliability.md.

use std::net::SocketAddr;

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

use super::harness::{Backend, JSON, PROTOBUF, gzip, try_request, unlimited};
use super::samples::{attribute, created, logs_request, now, text};
use crate::servers::checkout;

const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// A mark in each input that carries a text. No response may repeat it.
const MARK: &str = "acmebank";

/// The form of a body over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Protobuf,
    Json,
}

/// A hostile input, as the body of OTLP.
struct Input {
    name: &'static str,
    body: Body,
    encoding: Option<&'static str>,
    /// The responses over HTTP in protobuf and in JSON, and over gRPC.
    expected: (u16, u16, Code),
}

/// The body of an input.
enum Body {
    Message(fn() -> ExportLogsServiceRequest),
    Bytes(fn(Form) -> Vec<u8>),
}

impl Input {
    const fn new(name: &'static str, expected: (u16, u16, Code), body: fn() -> ExportLogsServiceRequest) -> Self {
        Self { name, body: Body::Message(body), encoding: None, expected }
    }

    const fn bytes(name: &'static str, expected: (u16, u16, Code), body: fn(Form) -> Vec<u8>) -> Self {
        Self { name, body: Body::Bytes(body), encoding: None, expected }
    }

    const fn encoded(
        name: &'static str,
        encoding: &'static str,
        expected: (u16, u16, Code),
        body: fn(Form) -> Vec<u8>,
    ) -> Self {
        Self { name, body: Body::Bytes(body), encoding: Some(encoding), expected }
    }

    fn body(&self, form: Form) -> Vec<u8> {
        match self.body {
            Body::Message(message) => form.encode(&message()),
            Body::Bytes(bytes) => bytes(form),
        }
    }
}

impl Form {
    fn encode(self, message: &ExportLogsServiceRequest) -> Vec<u8> {
        match self {
            Self::Protobuf => message.encode_to_vec(),
            Self::Json => serde_json::to_vec(message).unwrap(),
        }
    }

    fn content_type(self) -> (&'static str, &'static str) {
        match self {
            Self::Protobuf => PROTOBUF,
            Self::Json => JSON,
        }
    }
}

const INVALID: (u16, u16, Code) = (400, 400, Code::InvalidArgument);

/// Small in protobuf, and too large in JSON, which names each field.
const LARGE_IN_JSON: (u16, u16, Code) = (400, 413, Code::InvalidArgument);

const INPUTS: [Input; 20] = [
    Input::bytes("bytes that are neither protobuf nor JSON", INVALID, |_| MARK.as_bytes().to_vec()),
    Input::bytes("a message that ends early", INVALID, |form| {
        let mut body = form.encode(&good());
        body.truncate(body.len() - 9);
        body
    }),
    Input::encoded("gzip that ends early", "gzip", INVALID, |form| gzip(&form.encode(&good()))[..20].to_vec()),
    Input::encoded("what says that it is gzip and is not", "gzip", INVALID, |form| form.encode(&good())),
    Input::encoded("an encoding other than gzip", "br", (415, 415, Code::Unimplemented), |form| form.encode(&good())),
    Input::encoded("64 MB of zeros in 300 kB of gzip", "gzip", (413, 413, Code::ResourceExhausted), |_| {
        gzip(&vec![0; 64 << 20])
    }),
    Input::new("a message of more than 512 KiB", (413, 413, Code::InvalidArgument), || {
        record(|record| record.severity_text = "a".repeat(512 << 10))
    }),
    Input::encoded("250,000 empty records in a few kB of gzip", "gzip", (400, 413, Code::InvalidArgument), |form| {
        gzip(&form.encode(&logs_request(vec![LogRecord::default(); 250_000])))
    }),
    Input::new("250,000 empty resources", LARGE_IN_JSON, || ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs::default(); 250_000],
    }),
    Input::new("250,000 empty scopes", LARGE_IN_JSON, || {
        let mut request = logs_request(vec![]);
        request.resource_logs[0].scope_logs = vec![ScopeLogs::default(); 250_000];
        request
    }),
    Input::new("2,001 records", LARGE_IN_JSON, || logs_request(vec![event(); 2_001])),
    Input::bytes("a value in a value, 1,000 deep", INVALID, |form| match form {
        Form::Protobuf => form.encode(&record(|record| record.attributes.push(attribute("a", nested(1_000))))),
        Form::Json => {
            let (begin, end) = (r#"{"arrayValue":{"values":["#.repeat(1_000), "]}}".repeat(1_000));
            format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{begin}{end}}}]}}]}}]}}"#).into()
        }
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
    Input::new("8,000 attributes of one record", INVALID, || {
        record(|record| record.attributes.extend(vec![text(MARK, MARK); 8_000]))
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

fn good() -> ExportLogsServiceRequest {
    logs_request(vec![event()])
}

fn record(change: impl FnOnce(&mut LogRecord)) -> ExportLogsServiceRequest {
    let mut record = event();
    change(&mut record);
    logs_request(vec![record])
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
    let response = sender.send_request(request.body(axum::body::Body::from(body)).unwrap()).await.unwrap();
    connection.abort();
    let headers = response.headers().clone();
    (headers.get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes())), headers)
}

/// Returns the code of the response to a call of the service of logs with this body.
pub(super) async fn call_logs(address: SocketAddr, encoding: Option<&str>, body: Vec<u8>) -> Code {
    call_with(address, LOGS, encoding, body).await.0
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
    for input in &INPUTS {
        let Input { name: input_name, encoding, expected: (protobuf, json, code), .. } = *input;
        let encodings = encoding.map(|encoding| ("content-encoding", encoding));
        for (form, status) in [(Form::Protobuf, protobuf), (Form::Json, json)] {
            let headers: Vec<_> = [form.content_type()].into_iter().chain(encodings).collect();
            let reply = try_request(backend.http, "POST", "/v1/logs", &headers, &input.body(form)).await.unwrap();
            assert_eq!(reply.status, status, "{input_name}, {form:?}: {reply:?}");
            assert!(repeats_nothing(&reply.body), "{input_name}, {form:?}: {reply:?}");
            assert_eq!(reply.header("content-type"), Some(form.content_type().1), "{input_name}");
        }
        let (called, headers) = call(backend.grpc, LOGS, encoding, &input.body(Form::Protobuf)).await;
        assert_eq!(called, code, "{input_name}: {headers:?}");
        assert!(repeats_nothing(format!("{headers:?}").as_bytes()), "{input_name}: {headers:?}");
        assert_documented(&format!("| {input_name} | {protobuf} | {json} | {} |", name(code)));
    }
    assert_eq!(backend.rows(), 0);
}

#[tokio::test]
async fn hostile_json_of_otlp_is_answered_as_documented_and_nothing_is_stored_or_repeated() {
    let backend = Backend::limited(unlimited()).await;
    let good = String::from_utf8(Form::Json.encode(&good())).unwrap();
    let replaced = |from: &str, to: &str| {
        assert!(good.contains(from), "{good} lacks {from}");
        good.replacen(from, to, 1)
    };
    for (input, body) in [
        ("nothing at all", String::new()),
        ("two messages", format!("{good}{good}")),
        ("lists in lists, 2,000 deep", "[".repeat(2_000)),
        ("a list in place of the message", format!("[{good}]")),
        ("a list in place of the message", "[]".to_owned()),
        ("100,000 empty objects", format!(r#"{{"resourceLogs":[{}{{}}]}}"#, "{},".repeat(100_000))),
        ("100,000 empty objects", format!(r#"{{"{MARK}":[{}{{}}]}}"#, "{},".repeat(100_000))),
        ("a key that is there twice", replaced(r#"{"resourceLogs":"#, r#"{"resourceLogs":[],"resourceLogs":"#)),
        (
            "a key that is there twice",
            replaced(r#""stringValue":"#, &format!(r#""stringValue":"{MARK}","stringValue":"#)),
        ),
        (
            "a key that is there twice",
            replaced(r#"{"resourceLogs":"#, &format!(r#"{{"{MARK}":1,"{MARK}":1,"resourceLogs":"#)),
        ),
        ("an enum as text", replaced(r#""severityNumber":9"#, r#""severityNumber":"SEVERITY_NUMBER_INFO""#)),
        (
            "a time with a fraction, or of more than 64 bits",
            replaced(r#""timeUnixNano":"#, r#""timeUnixNano":0.5,"a":"#),
        ),
        (
            "a time with a fraction, or of more than 64 bits",
            replaced(r#""timeUnixNano":"#, r#""timeUnixNano":"18446744073709551616","a":"#),
        ),
        (
            "text in place of an object, or the reverse",
            replaced(r#""attributes":["#, &format!(r#""attributes":"{MARK}","a":["#)),
        ),
        ("text in place of an object, or the reverse", replaced(r#""severityText":"#, r#""severityText":{},"a":"#)),
        ("an id that is not hexadecimal", replaced(r#""traceId":"#, &format!(r#""traceId":"{MARK}","a":"#))),
    ] {
        let reply = try_request(backend.http, "POST", "/v1/logs", &[JSON], body.as_bytes()).await.unwrap();
        assert_eq!(reply.status, 400, "{input}: {reply:?}");
        assert!(repeats_nothing(&reply.body), "{input}: {reply:?}");
        assert_documented(&format!("| {input} | 400 |"));
    }
    assert_eq!(backend.rows(), 0);
    assert_eq!(try_request(backend.http, "POST", "/v1/logs", &[JSON], good.as_bytes()).await.unwrap().status, 200);
    assert_eq!(backend.rows(), 1);
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
