//! Fuzzing of OTLP: messages grown by descriptor, alone and within valid ones, and arbitrary bytes.
//!
//! `make soak` tries a million of each.

use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use kamaji_telemetry::backend::ingest::json;
use kamaji_telemetry::backend::ingest::validate::{Validated, points_in, records_in, validate_logs, validate_metrics};
use kamaji_telemetry::backend::store::{GaugeSnapshot, Hour};
use kamaji_telemetry::catalog::{EVENT_KINDS, MAX_COUNT, METRICS};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use prost::Message;
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::samples::{created_with, extended_gauges, logs_request, metrics_request, now, state_gauges, updated};
use crate::marker::descriptor;

/// A mark in each text that is not the catalog's.
const MARK: &str = "acmebank";

/// The depth to which messages are grown: values hold lists of values without end.
const DEPTH: usize = 12;

/// The most points of one extended gauge.
const MAX_POINTS: usize = 16;

/// The longest message about rejections: all twenty reasons, with their counts.
const MAX_REJECTION_LENGTH: usize = 2_000;

/// The bytes that a message is grown from. Each decides one thing. When they are used up nothing grows any more, so
/// that fewer and smaller ones make a smaller message.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn next(&mut self) -> usize {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                usize::from(*first)
            }
            None => 0,
        }
    }

    fn of<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        &all[self.next() % all.len()]
    }
}

/// Texts that the catalog knows in some place, and others.
static TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let known = [
        "kamaji-telemetry",
        "0.1.0",
        "service.name",
        "service.version",
        "service.instance.id",
        "log.record.uid",
        "3f0c7b52-6f0e-4a52-8d4f-6d1b5c0e9a11",
        "v1.35.1",
        "v1.35",
        "edge-24.12.1",
        "unknown",
        "etcd",
        "gateway",
        "Ready",
        "INFO",
        "{tenant_control_plane}",
        "",
    ];
    let mut texts: Vec<String> = known.map(Into::into).into();
    texts.extend(METRICS.iter().map(|metric| metric.name.to_owned()));
    texts.extend(EVENT_KINDS.iter().map(|kind| kind.name.to_owned()));
    let metrics = METRICS.iter().flat_map(|metric| metric.attributes);
    let attributes = metrics.chain(EVENT_KINDS.iter().flat_map(|kind| kind.attributes));
    texts.extend(attributes.map(|attribute| attribute.key.to_owned()));
    texts.extend([
        MARK.into(),
        format!("v1.35.1-{MARK}"),
        format!("v1.35.1+{MARK}"),
        MARK.repeat(40),
        format!("{MARK}\u{0}ä"),
    ]);
    texts
});

fn grow(descriptor: &MessageDescriptor, choices: &mut Choices<'_>, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    if depth == 0 {
        return message;
    }
    for field in descriptor.fields() {
        let count = choices.next() % 4;
        if field.is_list() {
            let values: Vec<_> = (0..count).map(|_| value(&field.kind(), choices, depth)).collect();
            message.set_field(&field, Value::List(values));
        } else if count > 0 {
            message.set_field(&field, value(&field.kind(), choices, depth));
        }
    }
    message
}

fn value(kind: &Kind, choices: &mut Choices<'_>, depth: usize) -> Value {
    let numbers = [0, 1, 9, now(), now() / 2, 1_000_001, u64::MAX, 1 << 31, 1 << 63];
    let number = *choices.of(&numbers);
    let [a, b, c, d, ..] = number.to_le_bytes();
    let low = u32::from_le_bytes([a, b, c, d]);
    match kind {
        Kind::Message(descriptor) => Value::Message(grow(descriptor, choices, depth - 1)),
        Kind::String => Value::String(choices.of(&TEXTS).clone()),
        Kind::Bytes => Value::Bytes(choices.of(&TEXTS).clone().into()),
        Kind::Bool => Value::Bool(number == 1),
        Kind::Double => Value::F64(f64::from_bits(number)),
        Kind::Float => Value::F32(f32::from_bits(low)),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(low.cast_signed()),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(low),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(number.cast_signed()),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(number),
        Kind::Enum(_) => Value::EnumNumber(low.cast_signed()),
    }
}

/// Returns a valid part in which one field is replaced.
fn changed<M: Message + Default>(good: &M, descriptor: &MessageDescriptor, choices: &mut Choices<'_>) -> M {
    let mut message = DynamicMessage::decode(descriptor.clone(), good.encode_to_vec().as_slice()).unwrap();
    let fields: Vec<_> = descriptor.fields().collect();
    let field = choices.of(&fields);
    let other = value(&field.kind(), choices, DEPTH);
    message.set_field(field, if field.is_list() { Value::List(vec![other]) } else { other });
    M::decode(message.encode_to_vec().as_slice()).unwrap()
}

fn grown<M: Message + Default>(descriptor: &MessageDescriptor, choices: &mut Choices<'_>) -> M {
    M::decode(grow(descriptor, choices, DEPTH).encode_to_vec().as_slice()).unwrap()
}

/// The message types that are grown, of one signal.
struct Types {
    request: MessageDescriptor,
    part: MessageDescriptor,
    point: MessageDescriptor,
    attribute: MessageDescriptor,
}

impl Types {
    fn new(signal: &str, request: &str, part: &str) -> Self {
        let of = |name: &str| descriptor(&format!("opentelemetry.proto.{name}"));
        Self {
            request: of(&format!("collector.{signal}.v1.{request}")),
            part: of(&format!("{signal}.v1.{part}")),
            point: of("metrics.v1.NumberDataPoint"),
            attribute: of("common.v1.KeyValue"),
        }
    }
}

fn good_logs() -> ExportLogsServiceRequest {
    logs_request(vec![created_with(Uuid::new_v4(), now()), updated(Uuid::new_v4(), now())])
}

fn good_metrics() -> ExportMetricsServiceRequest {
    metrics_request(
        Uuid::new_v4(),
        state_gauges([1, 2, 3, 4], now()).into_iter().chain(extended_gauges(now())).collect(),
    )
}

/// Returns a request that is grown alone, after a valid request, within one, or within a part of one.
fn logs(types: &Types, choices: &mut Choices<'_>) -> ExportLogsServiceRequest {
    let mut good = good_logs();
    let place = choices.next() % 5;
    let records = &mut good.resource_logs[0].scope_logs[0].log_records;
    match place {
        0 => return grown(&types.request, choices),
        1 => good.resource_logs.extend(grown::<ExportLogsServiceRequest>(&types.request, choices).resource_logs),
        2 => records.push(grown::<LogRecord>(&types.part, choices)),
        3 => records[0] = changed(&records[0], &types.part, choices),
        _ => records[0].attributes.push(grown::<KeyValue>(&types.attribute, choices)),
    }
    good
}

fn metrics(types: &Types, choices: &mut Choices<'_>) -> ExportMetricsServiceRequest {
    let mut good = good_metrics();
    let place = choices.next() % 6;
    let metrics = &mut good.resource_metrics[0].scope_metrics[0].metrics;
    match place {
        0 => return grown(&types.request, choices),
        1 => {
            let grown = grown::<ExportMetricsServiceRequest>(&types.request, choices);
            good.resource_metrics.extend(grown.resource_metrics);
        }
        2 => metrics.push(grown::<Metric>(&types.part, choices)),
        3 => metrics[0] = changed(&metrics[0], &types.part, choices),
        _ => {
            let position = choices.next() % metrics.len();
            let Some(Data::Gauge(gauge)) = &mut metrics[position].data else {
                unreachable!("a good metric is a gauge")
            };
            let good = gauge.data_points[0].clone();
            if place == 4 {
                gauge.data_points[0] = changed(&good, &types.point, choices);
            } else {
                let attributes = vec![grown(&types.attribute, choices)];
                gauge.data_points.push(NumberDataPoint { attributes, ..good });
            }
        }
    }
    good
}

/// Checks the invariants of every result.
fn check(validated: &Validated, at: Timestamp) -> TestCaseResult {
    let Validated { records, rejections, expired: _ } = validated;
    let (message, kept) = (rejections.to_string(), format!("{records:?}"));
    prop_assert!(!kept.contains(MARK), "{kept}");
    prop_assert!(!message.contains(MARK) && message.len() < MAX_REJECTION_LENGTH, "{message}");
    let (oldest, newest) = (at - SignedDuration::from_hours(30 * 24 + 1), at + SignedDuration::from_mins(10));
    for event in &records.events {
        prop_assert!((oldest..=newest).contains(&event.record.time), "{}", event.record.time);
    }
    for GaugeSnapshot { installation: _, received, report } in &records.snapshots {
        prop_assert_eq!(*received, Hour::of(at));
        let counts = report.counts;
        let states = [counts.running, counts.sleeping, counts.not_ready, counts.upgrading];
        let dimensions = report.dimensions.iter().map(|(_, count)| *count);
        prop_assert!(states.into_iter().chain(dimensions).all(|count| count <= MAX_COUNT));
        prop_assert!(report.dimensions.len() <= MAX_POINTS * (METRICS.len() - states.len()));
    }
    Ok(())
}

/// Checks that each record is accepted, rejected or expired.
fn check_logs(request: &ExportLogsServiceRequest) -> TestCaseResult {
    let at = Timestamp::now();
    let validated = validate_logs(request, at);
    check(&validated, at)?;
    let accounted = validated.records.events.len() as u64 + validated.rejections.total() + validated.expired;
    prop_assert_eq!(accounted, records_in(request) as u64);
    Ok(())
}

/// Checks that each point is accepted, rejected or expired. A metric that is not a gauge counts as one, a gauge without
/// points as none or one.
fn check_metrics(request: &ExportMetricsServiceRequest) -> TestCaseResult {
    let at = Timestamp::now();
    let validated = validate_metrics(request, at);
    check(&validated, at)?;
    let kept: usize = validated.records.snapshots.iter().map(|snapshot| 4 + snapshot.report.dimensions.len()).sum();
    let accounted = kept as u64 + validated.rejections.total() + validated.expired;
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    let metrics = scopes.flat_map(|scope| &scope.metrics);
    let without =
        metrics.filter(|metric| matches!(&metric.data, Some(Data::Gauge(gauge)) if gauge.data_points.is_empty()));
    let (most, without) = (points_in(request) as u64, without.count() as u64);
    prop_assert!((most - without..=most).contains(&accounted), "{accounted} of {most}, {without} without points");
    Ok(())
}

/// Decodes the JSON of a message, which loses what JSON cannot express, such as numbers that are not finite.
fn from_json<M: Serialize + DeserializeOwned>(message: &M) -> Option<M> {
    json::decode(&serde_json::to_vec(message).unwrap()).ok()
}

/// Returns `good` with some bytes changed, some removed, and some inserted.
fn corrupted(mut good: Vec<u8>, changes: &[(u16, u8, u8)]) -> Vec<u8> {
    for (place, how, byte) in changes {
        let place = usize::from(*place) % good.len().max(1);
        match how % 4 {
            0 if place < good.len() => good[place] = *byte,
            1 if place < good.len() => drop(good.remove(place)),
            2 => good.truncate(good.len() - usize::from(*byte).min(good.len())),
            _ => good.insert(place.min(good.len()), *byte),
        }
    }
    good
}

#[test]
fn anything_grown_as_logs_is_accepted_as_the_catalog_allows_or_rejected() {
    let types = Types::new("logs", "ExportLogsServiceRequest", "LogRecord");
    proptest!(|(bytes in vec(any::<u8>(), 0..300))| {
        let request = logs(&types, &mut Choices(&bytes));
        check_logs(&request)?;
        if let Some(request) = from_json(&request) {
            check_logs(&request)?;
        }
    });
}

#[test]
fn anything_grown_as_metrics_is_accepted_as_the_catalog_allows_or_rejected() {
    let types = Types::new("metrics", "ExportMetricsServiceRequest", "Metric");
    proptest!(|(bytes in vec(any::<u8>(), 0..300))| {
        let request = metrics(&types, &mut Choices(&bytes));
        check_metrics(&request)?;
        if let Some(request) = from_json(&request) {
            check_metrics(&request)?;
        }
    });
}

#[test]
fn a_good_request_is_the_same_in_json_and_anything_at_all_as_json_is_accepted_as_the_catalog_allows_or_rejected() {
    let (logs, metrics) = (good_logs(), good_metrics());
    assert_eq!((from_json(&logs), from_json(&metrics)), (Some(logs.clone()), Some(metrics.clone())));
    let (logs, metrics) = (serde_json::to_vec(&logs).unwrap(), serde_json::to_vec(&metrics).unwrap());
    let changes = vec(any::<(u16, u8, u8)>(), 0..6);
    proptest!(|(raw in vec(any::<u8>(), 0..200), changes in changes)| {
        for bytes in [raw, corrupted(logs.clone(), &changes), corrupted(metrics.clone(), &changes)] {
            if let Ok(request) = json::decode::<ExportLogsServiceRequest>(&bytes) {
                check_logs(&request)?;
            }
            if let Ok(request) = json::decode::<ExportMetricsServiceRequest>(&bytes) {
                check_metrics(&request)?;
            }
        }
    });
}

#[test]
fn anything_at_all_as_bytes_is_accepted_as_the_catalog_allows_or_rejected() {
    let (logs, metrics) = (good_logs().encode_to_vec(), good_metrics().encode_to_vec());
    let changes = vec(any::<(u16, u8, u8)>(), 0..6);
    proptest!(|(raw in vec(any::<u8>(), 0..200), changes in changes)| {
        for bytes in [raw, corrupted(logs.clone(), &changes), corrupted(metrics.clone(), &changes)] {
            if let Ok(request) = ExportLogsServiceRequest::decode(bytes.as_slice()) {
                check_logs(&request)?;
            }
            if let Ok(request) = ExportMetricsServiceRequest::decode(bytes.as_slice()) {
                check_metrics(&request)?;
            }
        }
    });
}
