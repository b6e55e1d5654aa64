//! Requests as an agent sends them, through a relay or not.

use std::time::{SystemTime, UNIX_EPOCH};

use kamaji_telemetry::catalog;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as PointValue;
use opentelemetry_proto::tonic::metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use uuid::Uuid;

pub(crate) const KAMAJI: &str = "v1.0.0";
pub(crate) const KUBERNETES: &str = "v1.35.1";

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos().try_into().unwrap()
}

pub(crate) fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

pub(crate) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope { name: catalog::SERVICE_NAME.into(), ..Default::default() }
}

fn resource(installation: Option<Uuid>) -> Resource {
    let mut attributes = vec![text("service.name", "kamaji-telemetry"), text("service.version", "0.1.0")];
    attributes.extend(installation.map(|uuid| text("service.instance.id", uuid.to_string())));
    Resource { attributes, ..Default::default() }
}

/// Returns a point of a metric, with the versions and its own attributes.
pub(crate) fn point(count: i64, time: u64, own: Vec<KeyValue>) -> NumberDataPoint {
    let mut attributes = own;
    attributes.extend([text("kamaji_version", KAMAJI), text("kubernetes_version", KUBERNETES)]);
    NumberDataPoint {
        attributes,
        start_time_unix_nano: time - 1,
        time_unix_nano: time,
        value: Some(PointValue::AsInt(count)),
        ..Default::default()
    }
}

pub(crate) fn gauge(metric: &catalog::Metric, data_points: Vec<NumberDataPoint>) -> Metric {
    Metric {
        name: metric.name.into(),
        description: metric.description.into(),
        unit: metric.unit.into(),
        metadata: vec![],
        data: Some(Data::Gauge(Gauge { data_points })),
    }
}

/// The four gauges: running, sleeping, `not_ready`, upgrading.
pub(crate) fn state_gauges(counts: [i64; 4], time: u64) -> Vec<Metric> {
    let state = |(position, count)| gauge(catalog::METRICS[position], vec![point(count, time, vec![])]);
    counts.into_iter().enumerate().map(state).collect()
}

/// The extended gauges.
pub(crate) fn extended_gauges(time: u64) -> Vec<Metric> {
    let minor = |version, count| point(count, time, vec![text("tcp_version", version)]);
    let driver = |driver, count| point(count, time, vec![text("driver", driver)]);
    vec![
        gauge(&catalog::BY_VERSION, vec![minor("v1.34", 2), minor("v1.35", 3)]),
        gauge(&catalog::DATASTORE_COUNT, vec![driver("etcd", 1)]),
        gauge(&catalog::DATASTORE_USED_BY, vec![driver("etcd", 4), driver("PostgreSQL", 1)]),
    ]
}

pub(crate) fn metrics_request(installation: Uuid, metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, schema_url: String::new() }];
    let resource_metrics = vec![ResourceMetrics {
        resource: Some(resource(Some(installation))),
        scope_metrics,
        schema_url: String::new(),
    }];
    ExportMetricsServiceRequest { resource_metrics }
}

pub(crate) fn logs_request(log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let scope_logs = vec![ScopeLogs { scope: Some(scope()), log_records, schema_url: String::new() }];
    let resource_logs = vec![ResourceLogs { resource: Some(resource(None)), scope_logs, schema_url: String::new() }];
    ExportLogsServiceRequest { resource_logs }
}

fn record(uid: Uuid, time: u64, name: &str, own: Vec<KeyValue>) -> LogRecord {
    let mut attributes = vec![text("log.record.uid", uid.to_string())];
    attributes.extend(own);
    attributes.extend([text("kamaji_version", KAMAJI), text("kubernetes_version", KUBERNETES)]);
    LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time + 1,
        severity_number: SeverityNumber::Info.into(),
        severity_text: "INFO".into(),
        attributes,
        event_name: name.into(),
        ..Default::default()
    }
}

pub(crate) fn created(uid: Uuid, time: u64) -> LogRecord {
    record(uid, time, "kamaji.tcp.created", vec![text("tcp_version", "v1.35.1")])
}

pub(crate) fn created_with(uid: Uuid, time: u64) -> LogRecord {
    let mut record = created(uid, time);
    record.attributes.extend([attribute("cluster_api", Value::BoolValue(true)), text("network_profile", "gateway")]);
    record
}

pub(crate) fn updated(uid: Uuid, time: u64) -> LogRecord {
    let own = vec![text("old_tcp_version", "v1.34.2"), text("new_tcp_version", "v1.35.1")];
    record(uid, time, "kamaji.tcp.updated", own)
}

pub(crate) fn deleted(uid: Uuid, time: u64) -> LogRecord {
    record(uid, time, "kamaji.tcp.deleted", vec![text("status", "NotReady"), text("tcp_version", "v1.35.1")])
}
