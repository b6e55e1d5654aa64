//! Validation, point by point and record by record.

use jiff::Timestamp;
use kamaji_telemetry::backend::ingest::validate::{RejectReason, Validated, validate_logs, validate_metrics};
use kamaji_telemetry::backend::store::{Hour, truncate_to_hour};
use kamaji_telemetry::catalog::{self, BY_VERSION, MAX_COUNT};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, EntityRef, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as PointValue;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, Metric, NumberDataPoint, Sum};
use opentelemetry_proto::tonic::resource::v1::Resource;
use uuid::Uuid;

use super::samples::{
    attribute, created, created_with, deleted, extended_gauges, gauge, logs_request, metrics_request, now, point,
    state_gauges, text, updated,
};

type Logs = ExportLogsServiceRequest;
type Metrics = ExportMetricsServiceRequest;
/// A way to spoil a message, and the reason for which it is rejected.
type Case<M> = (RejectReason, fn(&mut M));

fn logs(change: impl FnOnce(&mut Logs)) -> Validated {
    let mut request = logs_request(vec![created(Uuid::new_v4(), now())]);
    change(&mut request);
    validate_logs(&request, Timestamp::now())
}

fn record(change: impl FnOnce(&mut LogRecord)) -> Validated {
    logs(|request| change(&mut request.resource_logs[0].scope_logs[0].log_records[0]))
}

fn metrics(change: impl FnOnce(&mut Metrics)) -> Validated {
    let mut request = metrics_request(Uuid::new_v4(), state_gauges([1, 2, 3, 4], now()));
    change(&mut request);
    validate_metrics(&request, Timestamp::now())
}

fn gauges(change: impl FnOnce(&mut Vec<Metric>)) -> Validated {
    metrics(|request| change(&mut request.resource_metrics[0].scope_metrics[0].metrics))
}

fn first_point(change: impl FnOnce(&mut NumberDataPoint)) -> Validated {
    gauges(|metrics| match &mut metrics[0].data {
        Some(Data::Gauge(gauge)) => change(&mut gauge.data_points[0]),
        other => panic!("{other:?}"),
    })
}

fn reasons(validated: &Validated) -> Vec<(RejectReason, u64)> {
    validated.rejections.iter().collect()
}

#[track_caller]
fn assert_rejects_all(validated: &Validated, reason: RejectReason) {
    assert!(validated.is_fully_rejected(), "{validated:?}");
    assert!(reasons(validated).iter().any(|(found, _)| *found == reason), "{reason:?}: {validated:?}");
}

#[test]
fn messages_of_the_sdk_and_of_the_relay_are_accepted() {
    assert_eq!(metrics(|_| {}).records.snapshots.len(), 1);
    let relayed = metrics(|request| {
        let scope = &mut request.resource_metrics[0].scope_metrics[0];
        scope.scope = Some(InstrumentationScope { name: "kamaji-telemetry".into(), ..Default::default() });
        for metric in &mut scope.metrics {
            metric.description.clear();
        }
    });
    assert_eq!((relayed.records.snapshots.len(), relayed.rejections.total()), (1, 0));

    for make in [created, created_with, updated, deleted] {
        let request = logs_request(vec![make(Uuid::new_v4(), now())]);
        assert_eq!(validate_logs(&request, Timestamp::now()).records.events.len(), 1);
    }
    let relayed = record(|record| {
        record.severity_text.clear();
        record.body = Some(AnyValue { value: Some(Value::StringValue(String::new())) });
        record.trace_id = vec![0; 16];
        record.span_id = vec![0; 8];
    });
    assert_eq!((relayed.records.events.len(), relayed.rejections.total()), (1, 0));
    let versioned = logs(|request| {
        request.resource_logs[0].scope_logs[0].scope.as_mut().unwrap().version = "0.1.0".into();
    });
    assert_eq!(versioned.records.events.len(), 1);
}

#[test]
fn every_part_of_a_record_is_checked() {
    use RejectReason::{
        AttributeValue, Body, DroppedAttributes, Flags, MissingAttribute, RepeatedAttribute, Severity, Time, Trace,
        UnknownAttribute, UnknownSignal,
    };
    let cases: &[Case<LogRecord>] = &[
        (UnknownSignal, |record| record.event_name.clear()),
        (UnknownSignal, |record| record.event_name = "kamaji.tcp.createdx".into()),
        (Severity, |record| record.severity_number = 13),
        (Severity, |record| record.severity_text = "info".into()),
        (Body, |record| record.body = Some(AnyValue { value: Some(Value::BytesValue(vec![])) })),
        (Body, |record| record.body = Some(AnyValue { value: Some(Value::StringValue(" ".into())) })),
        (Trace, |record| record.trace_id = vec![1; 16]),
        (Trace, |record| record.span_id = vec![0; 9]),
        (Flags, |record| record.flags = 1),
        (Time, |record| record.time_unix_nano = 0),
        (DroppedAttributes, |record| record.dropped_attributes_count = 1),
        (MissingAttribute, |record| drop(record.attributes.remove(0))),
        (UnknownAttribute, |record| record.attributes.push(text("host", "a"))),
        (UnknownAttribute, |record| record.attributes[0].key_strindex = 1),
        (UnknownAttribute, |record| record.attributes.push(text("status", "Ready"))),
        (RepeatedAttribute, |record| record.attributes.push(record.attributes[0].clone())),
        (AttributeValue, |record| record.attributes[0] = text("log.record.uid", "0")),
        (AttributeValue, |record| record.attributes[0].value = None),
        (AttributeValue, |record| record.attributes[1] = text("tcp_version", "1.35.1")),
        (AttributeValue, |record| record.attributes[1] = attribute("tcp_version", Value::StringValueStrindex(1))),
        (AttributeValue, |record| record.attributes.push(text("cluster_api", "true"))),
        (AttributeValue, |record| record.attributes.push(text("network_profile", "acme"))),
        (MissingAttribute, |record| record.attributes.push(text("network_profile", "gateway"))),
    ];
    for (position, (reason, change)) in cases.iter().enumerate() {
        let admitted = record(change);
        assert_eq!(reasons(&admitted), [(*reason, 1)], "case {position}");
        assert!(admitted.is_fully_rejected(), "case {position}");
    }
}

#[test]
fn every_part_of_a_resource_and_a_scope_is_checked() {
    use RejectReason::{
        AttributeValue, DroppedAttributes, MissingAttribute, RepeatedAttribute, SchemaUrl, Scope, UnknownAttribute,
    };
    let resources: &[Case<Resource>] = &[
        (RejectReason::Resource, |resource| resource.entity_refs.push(EntityRef::default())),
        (DroppedAttributes, |resource| resource.dropped_attributes_count = 1),
        (MissingAttribute, |resource| drop(resource.attributes.remove(0))),
        (AttributeValue, |resource| resource.attributes[0] = text("service.name", "acme")),
        (AttributeValue, |resource| resource.attributes[1] = text("service.version", "v0.1.0")),
        (RepeatedAttribute, |resource| resource.attributes.push(resource.attributes[0].clone())),
        (UnknownAttribute, |resource| resource.attributes.push(text("host.name", "acme"))),
    ];
    for (reason, change) in resources {
        assert_rejects_all(&logs(|request| change(request.resource_logs[0].resource.as_mut().unwrap())), *reason);
        assert_rejects_all(&metrics(|request| change(request.resource_metrics[0].resource.as_mut().unwrap())), *reason);
    }
    let scopes: &[Case<InstrumentationScope>] = &[
        (Scope, |scope| scope.name = "acme".into()),
        (Scope, |scope| scope.version = "acme".into()),
        (Scope, |scope| scope.attributes.push(KeyValue::default())),
        (DroppedAttributes, |scope| scope.dropped_attributes_count = 1),
    ];
    for (reason, change) in scopes {
        let of_logs = |request: &mut Logs| change(request.resource_logs[0].scope_logs[0].scope.as_mut().unwrap());
        assert_rejects_all(&logs(of_logs), *reason);
        let of_metrics =
            |request: &mut Metrics| change(request.resource_metrics[0].scope_metrics[0].scope.as_mut().unwrap());
        assert_rejects_all(&metrics(of_metrics), *reason);
    }
    assert_rejects_all(&logs(|request| request.resource_logs[0].resource = None), RejectReason::Resource);
    assert_rejects_all(&logs(|request| request.resource_logs[0].scope_logs[0].scope = None), Scope);
    assert_rejects_all(&logs(|request| request.resource_logs[0].schema_url = "a".into()), SchemaUrl);
    assert_rejects_all(&logs(|request| request.resource_logs[0].scope_logs[0].schema_url = "a".into()), SchemaUrl);
    assert_rejects_all(&metrics(|request| request.resource_metrics[0].schema_url = "a".into()), SchemaUrl);
}

#[test]
fn log_records_that_name_an_installation_are_rejected() {
    let named = logs(|request| {
        let resource = request.resource_logs[0].resource.as_mut().unwrap();
        resource.attributes.push(text("service.instance.id", Uuid::new_v4().to_string()));
    });
    assert_rejects_all(&named, RejectReason::UnknownAttribute);
}

#[test]
fn every_part_of_a_metric_and_its_point_is_checked() {
    use RejectReason::{
        AttributeValue, Exemplars, Flags, Metadata, MissingAttribute, NotAGauge, Time, UnknownSignal, Value as Range,
    };
    let of_metric: &[Case<Metric>] = &[
        (UnknownSignal, |metric| metric.name = "kamaji.tcp".into()),
        (Metadata, |metric| metric.description = "acme".into()),
        (Metadata, |metric| metric.unit = "1".into()),
        (Metadata, |metric| metric.metadata.push(text("a", "b"))),
        (NotAGauge, |metric| metric.data = None),
        (NotAGauge, |metric| metric.data = Some(Data::Sum(Sum::default()))),
    ];
    for (reason, change) in of_metric {
        // The other three are no snapshot.
        assert_eq!(reasons(&gauges(|metrics| change(&mut metrics[0]))), [(*reason, 1), (RejectReason::Snapshot, 3)]);
    }
    let of_point: &[Case<NumberDataPoint>] = &[
        (Range, |point| point.value = None),
        (Range, |point| point.value = Some(PointValue::AsDouble(1.0))),
        (Range, |point| point.value = Some(PointValue::AsInt(-1))),
        (Range, |point| point.value = Some(PointValue::AsInt(i64::from(MAX_COUNT) + 1))),
        (Flags, |point| point.flags = 1),
        (Exemplars, |point| point.exemplars.push(Exemplar::default())),
        (Time, |point| point.time_unix_nano = 0),
        (MissingAttribute, |point| point.attributes.clear()),
        (AttributeValue, |point| point.attributes[0] = text("kamaji_version", "acme")),
    ];
    for (reason, change) in of_point {
        assert_eq!(reasons(&first_point(change)), [(*reason, 1), (RejectReason::Snapshot, 3)]);
    }
    let latest = gauges(|metrics| {
        for metric in metrics {
            let Some(Data::Gauge(gauge)) = &mut metric.data else { panic!("a gauge was made") };
            gauge.data_points[0].attributes[0] = text("kamaji_version", "latest");
        }
    });
    assert_eq!(latest.records.snapshots[0].report.kamaji_version.to_string(), "latest");
    let largest = first_point(|point| point.value = Some(PointValue::AsInt(i64::from(MAX_COUNT))));
    assert_eq!(largest.records.snapshots[0].report.counts.running, MAX_COUNT);
}

#[test]
fn a_snapshot_is_the_four_gauges_once_each_with_the_same_attributes() {
    let missing = gauges(|metrics| drop(metrics.remove(2)));
    assert_eq!(reasons(&missing), [(RejectReason::Snapshot, 3)]);
    let twice = gauges(|metrics| metrics.push(metrics[0].clone()));
    assert_eq!(reasons(&twice), [(RejectReason::Snapshot, 5)]);
    let replaced = gauges(|metrics| metrics[1] = metrics[0].clone());
    assert_eq!(reasons(&replaced), [(RejectReason::Snapshot, 4)]);
    let mixed = first_point(|point| point.attributes[0] = text("kamaji_version", "v1.2.3"));
    assert_eq!(reasons(&mixed), [(RejectReason::Snapshot, 4)]);
    let alone = gauges(|metrics| *metrics = extended_gauges(now()));
    assert_eq!(reasons(&alone), [(RejectReason::Dimension, 5)]);
}

#[test]
fn extended_points_belong_to_a_snapshot_and_are_there_once() {
    let minor = |version: &str| point(1, now(), vec![text("tcp_version", version)]);
    let mut elsewhere = minor("v1.30");
    elsewhere.attributes[1] = text("kamaji_version", "v9.9.9");
    let admitted = gauges(|metrics| {
        let points = vec![minor("v1.35"), minor("v1.35"), elsewhere, minor("v1.35.1"), minor("unknown")];
        metrics.push(gauge(&BY_VERSION, points));
    });
    assert_eq!(reasons(&admitted), [(RejectReason::AttributeValue, 1), (RejectReason::Dimension, 2)]);
    let values: Vec<_> =
        admitted.records.snapshots[0].report.dimensions.iter().map(|(dimension, _)| dimension.value()).collect();
    assert_eq!(values, ["v1.35", "unknown"]);
    let many = gauges(|metrics| {
        metrics.push(gauge(&BY_VERSION, (0..100).map(|patch| minor(&format!("v1.{patch}"))).collect()));
    });
    assert_eq!(reasons(&many), [(RejectReason::Dimension, 84)]);
    assert_eq!(many.records.snapshots[0].report.dimensions.len(), 16);
}

#[test]
fn an_event_keeps_its_hour_and_a_snapshot_has_that_of_its_receipt() {
    let received: Timestamp = "2026-11-23T20:45:00Z".parse().unwrap();
    let at = |text: &str| {
        let time: u64 = text.parse::<Timestamp>().unwrap().as_nanosecond().try_into().unwrap();
        let events = validate_logs(&logs_request(vec![created(Uuid::new_v4(), time)]), received);
        let snapshots = validate_metrics(&metrics_request(Uuid::new_v4(), state_gauges([1, 0, 0, 0], time)), received);
        (events, snapshots)
    };
    for current in ["2026-11-23T19:45:00Z", "2026-11-23T20:55:00Z"] {
        let (_, snapshots) = at(current);
        assert_eq!(snapshots.records.snapshots[0].received, Hour::of(received), "{current}");
    }
    let (events, snapshots) = at("2026-11-23T18:30:00Z");
    assert_eq!(events.records.events[0].record.time, "2026-11-23T18:00:00Z".parse().unwrap());
    assert_eq!((snapshots.expired, snapshots.records.snapshots.len()), (4, 0), "an agent sends no old gauges");
    let (events, snapshots) = at("2099-01-01T00:00:00Z");
    assert_eq!(events.records.events[0].record.time, truncate_to_hour(received));
    assert_eq!((snapshots.expired, snapshots.records.snapshots.len()), (4, 0), "nor is its clock far ahead");
    let (events, snapshots) = at("2026-10-20T00:00:00Z");
    assert_eq!((events.expired, events.records.events.len(), events.rejections.total()), (1, 0, 0));
    assert_eq!((snapshots.expired, snapshots.records.snapshots.len(), snapshots.rejections.total()), (4, 0, 0));
    assert!(!events.is_fully_rejected() && !snapshots.is_fully_rejected());
}

#[test]
fn the_catalogs_gauges_are_all_known_to_the_store() {
    for metric in catalog::METRICS {
        let own = kamaji_telemetry::backend::store::Dimension::attribute_of(metric);
        assert_eq!(own.is_some(), metric.extended, "{}", metric.name);
    }
}
