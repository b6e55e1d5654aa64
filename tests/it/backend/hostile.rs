//! Text planted in several places of a request at once is never stored. `marker` does one place at a time, and all.

use std::fmt::Write;

use jiff::Timestamp;
use kamaji_telemetry::backend::ingest::validate::{Validated, validate_logs, validate_metrics};
use kamaji_telemetry::backend::store::{SqliteStore, Store};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use prost::Message;
use serde_json::{Value, json};
use uuid::Uuid;

use super::harness::stored_bytes;
use super::samples::{
    created_with, deleted, extended_gauges, logs_request, metrics_request, now, state_gauges, updated,
};

/// A mark in every planted text, and in nothing else.
const MARK: &str = "acmebank";

/// A request of a signal as OTLP's JSON.
#[derive(Debug, Clone)]
enum Request {
    Metrics(Value),
    Logs(Value),
}

/// The path to a value in a JSON document, as keys and positions.
type Place = Vec<String>;

impl Request {
    fn good() -> [Self; 2] {
        let gauges = state_gauges([1, 2, 3, 4], now()).into_iter().chain(extended_gauges(now())).collect();
        let records =
            vec![created_with(Uuid::new_v4(), now()), updated(Uuid::new_v4(), now()), deleted(Uuid::new_v4(), now())];
        let metrics = serde_json::to_value(metrics_request(Uuid::new_v4(), gauges)).unwrap();
        let logs = serde_json::to_value(logs_request(records)).unwrap();
        [Self::Metrics(metrics), Self::Logs(logs)]
    }

    fn json(&mut self) -> &mut Value {
        match self {
            Self::Metrics(json) | Self::Logs(json) => json,
        }
    }

    /// Encodes the request as protobuf; returns `None` if it is not a message.
    fn encode(&self) -> Option<(&'static str, Vec<u8>)> {
        match self.clone() {
            Self::Metrics(json) => {
                let request =
                    opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest::deserialize_json(
                        json,
                    )?;
                Some(("/v1/metrics", request.encode_to_vec()))
            }
            Self::Logs(json) => {
                let request =
                    opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest::deserialize_json(json)?;
                Some(("/v1/logs", request.encode_to_vec()))
            }
        }
    }

    fn validate(&self) -> Option<Validated> {
        let (path, body) = self.encode()?;
        let now = Timestamp::now();
        Some(match path {
            "/v1/metrics" => validate_metrics(&Message::decode(body.as_slice()).unwrap(), now),
            _ => validate_logs(&Message::decode(body.as_slice()).unwrap(), now),
        })
    }
}

trait DeserializeJson: Sized {
    fn deserialize_json(json: Value) -> Option<Self>;
}

impl<T: serde::de::DeserializeOwned> DeserializeJson for T {
    fn deserialize_json(json: Value) -> Option<Self> {
        serde_json::from_value(json).ok()
    }
}

/// Every way to plant a text: in each string, and as a new element of each list.
fn plants(json: &Value) -> Vec<(Place, Plant)> {
    let mut found = Vec::new();
    walk(json, &mut Vec::new(), &mut found);
    found
}

/// A way to plant a text.
#[derive(Debug, Clone)]
enum Plant {
    /// Instead of a string.
    Replace,
    /// After a string.
    Append,
    /// As the hexadecimal form of bytes.
    Bytes,
    /// As an element of a list, in which the mark stands for the text.
    Element(Value),
}

fn walk(json: &Value, place: &mut Place, found: &mut Vec<(Place, Plant)>) {
    match json {
        Value::String(_) => {
            found.extend([Plant::Replace, Plant::Append, Plant::Bytes].map(|plant| (place.clone(), plant)));
        }
        Value::Array(elements) => {
            found.extend(elements_of(place).into_iter().map(|element| (place.clone(), Plant::Element(element))));
            for (position, element) in elements.iter().enumerate() {
                place.push(position.to_string());
                walk(element, place, found);
                place.pop();
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                place.push(key.clone());
                walk(member, place, found);
                place.pop();
            }
            if members.contains_key("severityText") {
                let mut body = place.clone();
                body.push("body".into());
                found.extend(values().into_iter().map(|value| (body.clone(), Plant::Element(value))));
            }
        }
        _ => {}
    }
}

/// Attribute values that carry the mark, in each type that can.
fn values() -> Vec<Value> {
    vec![
        json!({"stringValue": MARK}),
        json!({"arrayValue": {"values": [{"stringValue": MARK}]}}),
        json!({"kvlistValue": {"values": [{"key": MARK, "value": {"stringValue": MARK}}]}}),
    ]
}

/// Elements that carry the mark, for the list at `place`.
fn elements_of(place: &Place) -> Vec<Value> {
    let attributes = || {
        let named = values().into_iter().map(|value| json!({"key": "a", "value": value}));
        named.chain([json!({"key": MARK, "value": {"boolValue": true}})])
    };
    match place.last().map(String::as_str) {
        Some("attributes" | "metadata") => attributes().collect(),
        Some("entityRefs") => vec![
            json!({"schemaUrl": MARK, "type": "", "idKeys": [], "descriptionKeys": []}),
            json!({"schemaUrl": "", "type": MARK, "idKeys": [], "descriptionKeys": []}),
            json!({"schemaUrl": "", "type": "", "idKeys": [MARK], "descriptionKeys": []}),
            json!({"schemaUrl": "", "type": "", "idKeys": [], "descriptionKeys": [MARK]}),
        ],
        Some("exemplars") => attributes()
            .map(|attribute| json!({"filteredAttributes": [attribute], "timeUnixNano": "1", "spanId": "", "traceId": "", "asInt": "1"}))
            .collect(),
        _ => vec![],
    }
}

/// Plants `text` at a place of `json`.
fn plant(json: &mut Value, place: &Place, how: &Plant, text: &str) {
    let pointer: String = place.iter().flat_map(|step| ["/", step]).collect();
    if let (Plant::Element(value), Some("body")) = (how, place.last().map(String::as_str)) {
        let record = json.pointer_mut(pointer.trim_end_matches("/body")).unwrap();
        record["body"] = with_text(value, text);
        return;
    }
    // An earlier plant may have taken the place away.
    let Some(target) = json.pointer_mut(&pointer) else { return };
    match (how, target) {
        (Plant::Replace, target) => *target = text.into(),
        (Plant::Append, Value::String(string)) => string.push_str(text),
        (Plant::Bytes, target) => *target = hexadecimal(text).into(),
        (Plant::Element(value), Value::Array(elements)) => elements.push(with_text(value, text)),
        (how, target) => panic!("{how:?} does not fit {target:?}"),
    }
}

fn with_text(value: &Value, text: &str) -> Value {
    let text = serde_json::to_string(text).unwrap();
    serde_json::from_str(&value.to_string().replace(MARK, text.trim_matches('"'))).unwrap()
}

fn hexadecimal(text: &str) -> String {
    text.bytes().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").unwrap();
        digits
    })
}

fn contains_mark(bytes: &[u8]) -> bool {
    [MARK, &hexadecimal(MARK)].iter().any(|mark| bytes.windows(mark.len()).any(|window| window == mark.as_bytes()))
}

#[test]
fn texts_planted_in_any_places_are_never_stored() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = SqliteStore::open(&folder.path().join("store.db")).unwrap();
    let requests = Request::good().map(|mut request| (plants(request.json()), request));
    let places = any::<bool>().prop_flat_map({
        let counts = [requests[0].0.len(), requests[1].0.len()];
        move |logs| (Just(usize::from(logs)), proptest::collection::vec(0..counts[usize::from(logs)], 1..4))
    });
    let text = "[ -~]{0,12}|v?[0-9]{1,3}(\\.[0-9]{1,3}){2}[-+.]?|\\PC{0,8}";
    let result = TestRunner::default().run(&(places, text), |((signal, positions), text)| {
        let (plants, good) = &requests[signal];
        let mut hostile = good.clone();
        for position in positions {
            let (place, how) = &plants[position];
            plant(hostile.json(), place, how, &format!("{text}{MARK}"));
        }
        if let Some(validated) = hostile.validate() {
            let rows = format!("{:?}", validated.records);
            prop_assert!(!rows.contains(MARK), "{}", rows);
            prop_assert!(!validated.rejections.to_string().contains(MARK));
            runtime.block_on(store.write(validated.records)).unwrap();
        }
        Ok(())
    });
    result.unwrap();
    assert!(!contains_mark(&stored_bytes(folder.path())));
}
