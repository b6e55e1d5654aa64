//! The signals of the catalog as OTLP messages, and a sender.

use kamaji_telemetry::catalog::{self, Attribute, EventKind, Metric, Values};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric as WireMetric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower::ServiceExt as _;

/// 2026-01-01T00:00:00Z.
const TIME: u64 = 1_767_225_600_000_000_000;

/// Severity INFO.
const INFO: i32 = 9;

/// Sends OTLP over gRPC, without retry.
pub(super) struct Sender(Channel);

impl Sender {
    pub(super) async fn connect(endpoint: &str) -> Self {
        Self(Endpoint::from_shared(endpoint.to_owned()).unwrap().connect().await.unwrap())
    }

    pub(super) async fn metrics(&self, request: ExportMetricsServiceRequest) -> Result<(), Status> {
        MetricsServiceClient::new(self.0.clone()).export(request).await.map(drop)
    }

    pub(super) async fn logs(&self, request: ExportLogsServiceRequest) -> Result<(), Status> {
        LogsServiceClient::new(self.0.clone()).export(request).await.map(drop)
    }

    /// Sends a request without spans and returns the status. The tests have no generated client for spans.
    pub(super) async fn traces(&self) -> Code {
        let request = http::Request::post("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        // An empty message: not compressed, of length zero.
        let request = request.body(tonic::body::Body::new("\0\0\0\0\0".to_owned())).unwrap();
        let answer = self.0.clone().oneshot(request).await.unwrap();
        Status::from_header_map(answer.headers()).map_or(Code::Ok, |status| status.code())
    }
}

/// Returns a request with one data point of `metric` and all of its attributes.
pub(super) fn gauge(metric: &Metric) -> ExportMetricsServiceRequest {
    let point = NumberDataPoint {
        attributes: attributes(metric.attributes),
        time_unix_nano: TIME,
        value: Some(number_data_point::Value::AsInt(7)),
        ..NumberDataPoint::default()
    };
    let metric = WireMetric {
        name: metric.name.to_owned(),
        unit: metric.unit.to_owned(),
        data: Some(metric::Data::Gauge(Gauge { data_points: vec![point] })),
        ..WireMetric::default()
    };
    let scope_metrics = ScopeMetrics { scope: Some(scope()), metrics: vec![metric], ..ScopeMetrics::default() };
    let resource_metrics = ResourceMetrics {
        resource: Some(resource(catalog::METRIC_RESOURCE)),
        scope_metrics: vec![scope_metrics],
        ..ResourceMetrics::default()
    };
    ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] }
}

/// Returns a request with one event of `kind` and all of its attributes.
pub(super) fn event(kind: &EventKind) -> ExportLogsServiceRequest {
    let record = LogRecord {
        time_unix_nano: TIME,
        observed_time_unix_nano: TIME,
        severity_number: INFO,
        event_name: kind.name.to_owned(),
        // The collector writes an empty value where there is no body.
        body: Some(AnyValue::default()),
        attributes: attributes(kind.attributes),
        ..LogRecord::default()
    };
    let scope_logs = ScopeLogs { scope: Some(scope()), log_records: vec![record], ..ScopeLogs::default() };
    let resource_logs = ResourceLogs {
        resource: Some(resource(catalog::LOG_RESOURCE)),
        scope_logs: vec![scope_logs],
        ..ResourceLogs::default()
    };
    ExportLogsServiceRequest { resource_logs: vec![resource_logs] }
}

fn resource(keys: &[&Attribute]) -> Resource {
    Resource { attributes: attributes(keys), ..Resource::default() }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope { name: catalog::SERVICE_NAME.to_owned(), ..InstrumentationScope::default() }
}

/// Returns an attribute that is not in the catalog.
pub(super) fn foreign(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn attributes(keys: &[&Attribute]) -> Vec<KeyValue> {
    let attribute = |key: &&Attribute| KeyValue {
        key: key.key.to_owned(),
        value: Some(AnyValue { value: Some(example(key.values)) }),
        ..KeyValue::default()
    };
    keys.iter().map(attribute).collect()
}

fn example(values: Values) -> Value {
    let text = match values {
        Values::KubernetesVersion => "v1.36.3-rc.1",
        Values::KubernetesMinor => "v1.36",
        Values::KamajiVersion => "26.7.4-edge",
        Values::ServiceVersion => catalog::SERVICE_VERSION,
        Values::Uuid => "0b9cb28c-1f0d-4d1e-9d1c-0d3c5a2f8a11",
        Values::OneOf(words) => words[words.len() - 1],
        Values::Bool => return Value::BoolValue(true),
    };
    Value::StringValue(text.to_owned())
}

/// Sorts every list of attributes in `request`. They are maps, which the collector writes in any order.
pub(super) fn sorted_metrics(mut request: ExportMetricsServiceRequest) -> ExportMetricsServiceRequest {
    for resource_metrics in &mut request.resource_metrics {
        resource_metrics.resource.iter_mut().for_each(|resource| sort(&mut resource.attributes));
        let metrics = resource_metrics.scope_metrics.iter_mut().flat_map(|scope| &mut scope.metrics);
        for metric in metrics {
            if let Some(metric::Data::Gauge(gauge)) = &mut metric.data {
                gauge.data_points.iter_mut().for_each(|point| sort(&mut point.attributes));
            }
        }
    }
    request
}

/// Sorts every list of attributes in `request`, as [`sorted_metrics`] does.
pub(super) fn sorted_logs(mut request: ExportLogsServiceRequest) -> ExportLogsServiceRequest {
    for resource_logs in &mut request.resource_logs {
        resource_logs.resource.iter_mut().for_each(|resource| sort(&mut resource.attributes));
        let records = resource_logs.scope_logs.iter_mut().flat_map(|scope| &mut scope.log_records);
        records.for_each(|record| sort(&mut record.attributes));
    }
    request
}

fn sort(attributes: &mut [KeyValue]) {
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
}
