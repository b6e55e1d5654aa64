//! Messages that are expensive to decode and hold few records or none: they cost their client as much as records.

use std::net::Ipv4Addr;

use kamaji_telemetry::backend::Limits;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
    Sum,
};
use prost::Message;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use uuid::Uuid;

use super::answers::call_logs;
use super::harness::{Backend, GZIP, PROTOBUF, gzip, request_from, unlimited};
use super::samples::{attribute, created, logs_request, now};

/// Empty messages that half a MiB holds.
const MANY: usize = 250_000;

fn logs(resource_logs: Vec<ResourceLogs>) -> Vec<u8> {
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

fn scopes(scope_logs: Vec<ScopeLogs>) -> Vec<u8> {
    logs(vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }])
}

fn record(change: impl FnOnce(&mut LogRecord)) -> ExportLogsServiceRequest {
    let mut record = created(Uuid::new_v4(), now());
    change(&mut record);
    logs_request(vec![record])
}

fn metrics(resource_metrics: Vec<ResourceMetrics>) -> Vec<u8> {
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

fn metric(data: Data) -> Vec<u8> {
    let metric = Metric { data: Some(data), ..Metric::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    metrics(vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }])
}

fn limits() -> Limits {
    Limits { items: 10, ..unlimited() }
}

async fn post(backend: &Backend, from: Ipv4Addr, path: &str, body: &[u8]) -> u16 {
    request_from(from, backend.http, "POST", path, &[PROTOBUF, GZIP], &gzip(body)).await.unwrap().status
}

#[tokio::test]
async fn messages_of_many_parts_are_rejected_whatever_the_parts_are_and_use_up_the_items_of_their_client() {
    let backend = Backend::limited(limits()).await;
    let empty_points = vec![NumberDataPoint::default(); MANY];
    let histogram = ExponentialHistogram {
        data_points: vec![ExponentialHistogramDataPoint::default(); MANY],
        ..ExponentialHistogram::default()
    };
    let sum = Sum { data_points: empty_points.clone(), ..Sum::default() };
    let scope_metrics = vec![ScopeMetrics::default(); MANY];
    let attributes = |record: &mut LogRecord| record.attributes = vec![KeyValue::default(); MANY];
    for (last, (shape, path, body)) in (1..).zip([
        ("resources of logs", "/v1/logs", logs(vec![ResourceLogs::default(); MANY])),
        ("scopes of logs", "/v1/logs", scopes(vec![ScopeLogs::default(); MANY])),
        ("attributes of a record", "/v1/logs", record(attributes).encode_to_vec()),
        ("resources of metrics", "/v1/metrics", metrics(vec![ResourceMetrics::default(); MANY])),
        (
            "scopes of metrics",
            "/v1/metrics",
            metrics(vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }]),
        ),
        ("gauge", "/v1/metrics", metric(Data::Gauge(Gauge { data_points: empty_points }))),
        ("sum", "/v1/metrics", metric(Data::Sum(sum))),
        ("exponential histogram", "/v1/metrics", metric(Data::ExponentialHistogram(histogram))),
    ]) {
        let from = Ipv4Addr::new(127, 0, 1, last);
        let reply = request_from(from, backend.http, "POST", path, &[PROTOBUF, GZIP], &gzip(&body)).await.unwrap();
        let says_why = String::from_utf8_lossy(&reply.body).contains("at most 2000 in a request");
        assert!(reply.status == 400 && says_why, "{shape}: {reply:?}");
        let reply = request_from(from, backend.http, "POST", "/v1/logs", &[PROTOBUF], &[]).await.unwrap();
        assert_eq!(reply.status, 429, "{shape}");
        // As much as a client can get ahead: a minute.
        assert!(reply.header("retry-after").unwrap().parse::<u64>().unwrap() > 30, "{shape}: {reply:?}");
    }
    assert_eq!(backend.rows(), 0);
}

#[tokio::test]
async fn a_body_that_is_long_once_decompressed_costs_as_many_items_as_would_be_as_long() {
    let backend = Backend::limited(limits()).await;
    let values = || Value::ArrayValue(ArrayValue { values: vec![AnyValue::default(); MANY] });
    let nested = || record(|record| record.attributes.push(attribute("a", values())));
    // Fields that no version of the message has: there is nothing left of them to be counted.
    let unknown = [0x78, 0].repeat(MANY);
    for (last, (body, status)) in (1..).zip([(nested().encode_to_vec(), 400), (unknown, 200)]) {
        let from = Ipv4Addr::new(127, 0, 1, last);
        assert_eq!(post(&backend, from, "/v1/logs", &body).await, status);
        assert_eq!(post(&backend, from, "/v1/logs", &[]).await, 429, "{status}");
    }
    let client = backend.logs_client_from(Ipv4Addr::new(127, 0, 1, 9)).await;
    let mut client = client.send_compressed(CompressionEncoding::Gzip);
    assert_eq!(client.export(nested()).await.unwrap_err().code(), Code::InvalidArgument);
    let next = client.export(record(|_| {})).await.unwrap_err();
    assert_eq!(next.code(), Code::ResourceExhausted, "{next:?}");
    assert_eq!(backend.rows(), 0);
}

#[tokio::test]
async fn a_call_that_is_malformed_costs_as_much_as_its_bytes() {
    let backend = Backend::limited(limits()).await;
    // Neither is decompressed: a second message, and one whose end is missing.
    for body in [&[0, 0, 0, 0, 0, 0][..], &[1, 0, 0, 0, 9, 31, 139]] {
        assert_eq!(call_logs(backend.grpc, Some("gzip"), body.to_vec()).await, Code::InvalidArgument);
    }
    let next = call_logs(backend.grpc, None, vec![0; 5]).await;
    assert_eq!(next, Code::Ok, "nothing is owed");
}
