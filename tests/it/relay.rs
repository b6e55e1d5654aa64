//! The relay: its two configurations in the real collector, and the signals that they forward.

mod marker;
mod memory;
mod messages;

use std::path::PathBuf;

use http::StatusCode;
use kamaji_telemetry::catalog;
use kamaji_telemetry::catalog::allow_list::{BEGIN, END};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use prost::Message as _;
use serde_yaml_ng::{Mapping, Value};
use tonic::Code;

use crate::servers::{CapturingBackend, Collector, CountingProxy, checkout};
use messages::{Sender, event, foreign, gauge};

fn configuration(name: &str) -> PathBuf {
    checkout("otel-collector").join(name)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(checkout(path)).unwrap()
}

fn generated_part(path: &str) -> String {
    let text = read(path);
    let (_, rest) = text.split_once(BEGIN).unwrap();
    rest.split_once(END).unwrap().0.to_owned()
}

/// A relay in front of a stand-in for the backend.
struct Relay {
    sender: Sender,
    backend: CapturingBackend,
    collector: Collector,
}

impl Relay {
    async fn start() -> Self {
        let backend = CapturingBackend::start().await;
        let url = backend.url();
        let collector = Collector::start(&configuration("relay.yaml"), &[("RELAY_ENDPOINT", &url)], &[]).await;
        Self { sender: Sender::connect(&collector.endpoint()).await, backend, collector }
    }

    /// Sends metrics and returns those that the backend receives, or `None` without a request.
    async fn pass_metrics(&self, request: ExportMetricsServiceRequest) -> Option<ExportMetricsServiceRequest> {
        self.sender.metrics(request).await.unwrap();
        let arrived = self.backend.take().pop()?;
        assert_eq!(arrived.path, "/v1/metrics");
        Some(ExportMetricsServiceRequest::decode(arrived.body).unwrap())
    }

    /// Sends log records and returns those that the backend receives, or `None` without a request.
    async fn pass_logs(&self, request: ExportLogsServiceRequest) -> Option<ExportLogsServiceRequest> {
        self.sender.logs(request).await.unwrap();
        let arrived = self.backend.take().pop()?;
        assert_eq!(arrived.path, "/v1/logs");
        Some(ExportLogsServiceRequest::decode(arrived.body).unwrap())
    }
}

#[test]
fn both_configurations_hold_the_same_allow_list() {
    assert_eq!(generated_part("otel-collector/relay.yaml"), generated_part("otel-collector/debug.yaml"));
}

#[test]
fn the_tests_collector_has_the_components_of_the_relay_in_the_same_versions_and_the_file_exporter() {
    let components = |path: &str| -> Vec<(String, String)> {
        let manifest: Mapping = serde_yaml_ng::from_str(&read(path)).unwrap();
        let lists = manifest.into_iter().filter_map(|(kind, list)| match (kind, list) {
            (Value::String(kind), Value::Sequence(list)) => Some((kind, list)),
            _ => None,
        });
        let named = lists.flat_map(|(kind, list)| {
            list.into_iter().map(move |component| (kind.clone(), component["gomod"].as_str().unwrap().to_owned()))
        });
        named.collect()
    };
    let ours = components("otel-collector/builder.yaml");
    let tests = components("tests/tools/collector/builder.yaml");
    let missing: Vec<_> = ours.iter().filter(|component| !tests.contains(component)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let more: Vec<_> = tests.iter().filter(|component| !ours.contains(component)).collect();
    assert!(
        matches!(&more[..], [(kind, module)] if kind == "exporters" && module.contains("/fileexporter ")),
        "{more:?}"
    );
}

#[test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
fn the_collector_finds_both_configurations_valid() {
    for name in ["relay.yaml", "debug.yaml"] {
        let output = Collector::validate(&configuration(name), &[("RELAY_ENDPOINT", "https://backend.test")]);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
fn the_relay_without_an_endpoint_fails_with_what_to_set() {
    let output = Collector::validate(&configuration("relay.yaml"), &[]);
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("otlp_http: at least one endpoint must be specified"), "{stderr}");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_relay_connects_to_the_backend_only_when_there_is_data() {
    let backend = CapturingBackend::start().await;
    let proxy = CountingProxy::start(Some(backend.address())).await;
    let url = proxy.url();
    let relay = Collector::start(&configuration("relay.yaml"), &[("RELAY_ENDPOINT", &url)], &[]).await;
    let sender = Sender::connect(&relay.endpoint()).await;
    assert_eq!(proxy.connections(), 0);
    sender.metrics(gauge(&catalog::RUNNING)).await.unwrap();
    assert_eq!(proxy.connections(), 1);
    assert_eq!(backend.take().len(), 1);
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_relay_returns_the_backends_status() {
    let mut relay = Relay::start().await;
    let responses = [
        (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
        (StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted),
        (StatusCode::BAD_REQUEST, Code::InvalidArgument),
    ];
    for (status, code) in responses {
        relay.backend.respond_with(status);
        assert_eq!(relay.sender.logs(event(&catalog::DELETED)).await.unwrap_err().code(), code, "{status}");
    }
    relay.backend.respond_with(StatusCode::OK);
    relay.sender.logs(event(&catalog::DELETED)).await.unwrap();
    relay.collector.stop();
    assert!(relay.sender.logs(event(&catalog::DELETED)).await.is_err());
    relay.collector.resume().await;
    relay.sender.logs(event(&catalog::DELETED)).await.unwrap();
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_request_does_not_identify_the_machine_of_the_relay() {
    let relay = Relay::start().await;
    relay.sender.metrics(gauge(&catalog::RUNNING)).await.unwrap();
    let headers = relay.backend.take().pop().unwrap().headers;
    let mut names: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept-encoding", "content-encoding", "content-length", "content-type", "host", "user-agent"]);
    assert_eq!(headers["user-agent"], "kamaji-telemetry-relay");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn every_signal_of_the_catalog_passes_unchanged() {
    let relay = Relay::start().await;
    for metric in catalog::METRICS {
        let arrived = relay.pass_metrics(gauge(metric)).await.unwrap_or_else(|| panic!("{} is dropped", metric.name));
        assert_eq!(messages::sorted_metrics(arrived), messages::sorted_metrics(gauge(metric)));
    }
    for kind in catalog::EVENT_KINDS {
        let arrived = relay.pass_logs(event(kind)).await.unwrap_or_else(|| panic!("{} is dropped", kind.name));
        assert_eq!(messages::sorted_logs(arrived), messages::sorted_logs(event(kind)));
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_version_latest_passes_as_a_whole_word() {
    let relay = Relay::start().await;
    for (version, passes) in [("latest", true), ("latest-acme", false), ("Latest", false)] {
        let mut request = event(&catalog::CREATED);
        let attributes = &mut request.resource_logs[0].scope_logs[0].log_records[0].attributes;
        let attribute = attributes.iter_mut().find(|attribute| attribute.key == "kamaji_version").unwrap();
        attribute.value.as_mut().unwrap().value = Some(AnyValue::StringValue(version.to_owned()));
        assert_eq!(relay.pass_logs(request).await.is_some(), passes, "{version}");
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn numbers_of_a_log_record_without_a_meaning_are_set_to_constants() {
    let relay = Relay::start().await;
    let mut request = event(&catalog::CREATED);
    request.resource_logs[0].resource.as_mut().unwrap().dropped_attributes_count = 4711;
    let scope_logs = &mut request.resource_logs[0].scope_logs[0];
    scope_logs.scope.as_mut().unwrap().dropped_attributes_count = 4711;
    let record = &mut scope_logs.log_records[0];
    (record.observed_time_unix_nano, record.severity_number, record.flags, record.dropped_attributes_count) =
        (4711, 17, 4711, 4711);
    let arrived = relay.pass_logs(request).await.unwrap();
    assert_eq!(messages::sorted_logs(arrived), messages::sorted_logs(event(&catalog::CREATED)));
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_gauge_without_a_count_is_dropped() {
    let relay = Relay::start().await;
    let values = [
        number_data_point::Value::AsInt(-1),
        number_data_point::Value::AsInt(i64::from(catalog::MAX_COUNT) + 1),
        number_data_point::Value::AsDouble(1.5),
        number_data_point::Value::AsDouble(f64::NAN),
    ];
    for value in values {
        let mut request = gauge(&catalog::RUNNING);
        let Some(metric::Data::Gauge(gauge)) = &mut request.resource_metrics[0].scope_metrics[0].metrics[0].data else {
            panic!("a gauge was made");
        };
        gauge.data_points[0].value = Some(value);
        assert_eq!(relay.pass_metrics(request).await, None, "{value:?}");
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_attribute_of_another_type_is_dropped_with_its_record() {
    let relay = Relay::start().await;
    let attributes = event(&catalog::CREATED).resource_logs[0].scope_logs[0].log_records[0].attributes.len();
    for index in 0..attributes {
        let mut request = event(&catalog::CREATED);
        let attribute = &mut request.resource_logs[0].scope_logs[0].log_records[0].attributes[index];
        attribute.value.as_mut().unwrap().value = Some(AnyValue::IntValue(4711));
        assert_eq!(relay.pass_logs(request).await, None, "attribute {index}");
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn signals_of_another_application_are_dropped() {
    let relay = Relay::start().await;
    assert_eq!(relay.sender.traces().await, Code::Unimplemented);
    let mut metric = gauge(&catalog::RUNNING);
    metric.resource_metrics[0].scope_metrics[0].metrics[0].name = "acme.orders".to_owned();
    assert_eq!(relay.pass_metrics(metric).await, None);
    let mut record = event(&catalog::CREATED);
    record.resource_logs[0].scope_logs[0].log_records[0].event_name = "acme.order.placed".to_owned();
    assert_eq!(relay.pass_logs(record).await, None);
    let mut shop = event(&catalog::CREATED);
    shop.resource_logs[0].resource.as_mut().unwrap().attributes = vec![foreign("service.name", "acme-shop")];
    assert_eq!(relay.pass_logs(shop).await, None);
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn fields_that_a_sender_adds_are_removed() {
    let relay = Relay::start().await;
    let named = || foreign("k8s.cluster.name", "acme-production");
    let mut metric = gauge(&catalog::RUNNING);
    metric.resource_metrics[0].resource.as_mut().unwrap().attributes.push(named());
    let arrived = relay.pass_metrics(metric).await.unwrap();
    assert_eq!(messages::sorted_metrics(arrived), messages::sorted_metrics(gauge(&catalog::RUNNING)));
    let mut record = event(&catalog::CREATED);
    record.resource_logs[0].resource.as_mut().unwrap().attributes.push(named());
    record.resource_logs[0].scope_logs[0].log_records[0].attributes.push(named());
    let arrived = relay.pass_logs(record).await.unwrap();
    assert_eq!(messages::sorted_logs(arrived), messages::sorted_logs(event(&catalog::CREATED)));
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_debug_configuration_prints_what_the_relay_would_send_and_does_not_connect() {
    let collector = Collector::start(&configuration("debug.yaml"), &[], &[]).await;
    let sender = Sender::connect(&collector.endpoint()).await;
    sender.metrics(gauge(&catalog::RUNNING)).await.unwrap();
    sender.logs(event(&catalog::UPDATED)).await.unwrap();
    let output = collector.output();
    for expected in ["Name: kamaji.tcp.running", "EventName: kamaji.tcp.updated", "new_tcp_version: Str("] {
        assert!(output.contains(expected), "{expected} isn't in:\n{output}");
    }
}
