//! Values that are missing, null or blank: of an upgrade that reuses the values of a release of an older or a newer chart, and of
//! people who clear a value.

use futures::stream::{self, StreamExt as _};
use serde_json::{Value, json};

use super::files::copy_of_the_chart;
use super::helm::{AGENT, Helm, NAMESPACE};
use super::merge;
use super::pod::deployment;
use super::schema::resolve;
use super::values::FREE_MAPS;
use crate::servers::ApiServer;

/// Values of an installation in which as many templates as possible read the optional values.
fn base() -> Value {
    json!({
        "telemetry": {"endpoint": "https://telemetry.test"},
        "replicas": 2,
        "serviceMonitor": {"enabled": true},
        "networkPolicy": {"enabled": true},
    })
}

/// Returns the pointers to all values that may be missing, groups included.
fn optional() -> Vec<String> {
    fn collect(path: &str, values: &Value, schema: &Value, root: &Value, found: &mut Vec<String>) {
        for (key, value) in values.as_object().unwrap() {
            let path = format!("{path}/{key}");
            let inner = resolve(&schema["properties"][key], root);
            if path != "/disabled" && path != "/telemetry" && path != "/telemetry/disabled" && key != "global" {
                found.push(path.clone());
            }
            if value.is_object() && inner.get("properties").is_some() && key != "global" {
                collect(&path, value, inner, root, found);
            }
        }
    }
    let (defaults, schema) = (AGENT.defaults(), AGENT.schema());
    let mut found = Vec::new();
    collect("", &defaults, &schema, &schema, &mut found);
    found
}

/// Returns the map with the value at `pointer`, and the value's key.
fn parent<'a>(values: &'a mut Value, pointer: &str) -> Option<(&'a mut Value, String)> {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    Some((values.pointer_mut(parent)?, key.to_owned()))
}

fn without(mut values: Value, pointer: &str) -> Value {
    if let Some((map, key)) = parent(&mut values, pointer) {
        map.as_object_mut().unwrap().remove(&key);
    }
    values
}

/// Returns the base with `value` at `pointer`.
fn with(pointer: &str, value: &Value) -> Value {
    let nested =
        pointer.rsplit('/').filter(|key| !key.is_empty()).fold(value.clone(), |inner, key| json!({key: inner}));
    let mut values = without(base(), pointer);
    merge(&mut values, nested);
    values
}

/// Asserts that a value that is missing in values.yaml, null or blank renders what it does where nobody sets it.
async fn assert_optional(pointer: &str) {
    let helm = Helm::offline();
    let unset = helm.template(&without(base(), pointer)).await.unwrap();
    let null = helm.template(&with(pointer, &Value::Null)).await;
    let null = null.unwrap_or_else(|error| panic!("{pointer} is null: {error}"));

    let older = copy_of_the_chart();
    let defaults = without(AGENT.defaults(), pointer).to_string();
    std::fs::write(older.path().join("values.yaml"), defaults).unwrap();
    let missing = helm.template_of(&older.path().display().to_string(), &without(base(), pointer)).await;
    let missing = missing.unwrap_or_else(|error| panic!("{pointer} is missing: {error}"));
    assert_eq!(missing, null, "{pointer} is missing, or null");

    // What Kubernetes defines and the chart presets is gone.
    let is_free = FREE_MAPS.contains(&pointer);
    assert_eq!(null != unset, is_free, "{pointer} is null: {null}");

    let default = AGENT.defaults().pointer(pointer).unwrap().clone();
    // A blank registry and a blank digest have a meaning of their own.
    if !default.is_boolean() && !pointer.ends_with("/registry") && !pointer.ends_with("/digest") {
        let blank = helm.template(&with(pointer, &json!(""))).await;
        let blank = blank.unwrap_or_else(|error| panic!("{pointer} is blank: {error}"));
        assert_eq!(blank, null, "{pointer} is blank");
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn every_optional_value_may_be_missing_null_or_blank() {
    let pointers = optional();
    assert!(pointers.len() > 70, "{pointers:?}");
    // As many at a time as a small machine has processors for.
    stream::iter(pointers).for_each_concurrent(2, async |pointer| assert_optional(&pointer).await).await;
}

/// Returns what `--reuse-values` renders in an upgrade from the chart in `folder` to the checkout's.
async fn upgraded(helm: &Helm, folder: &std::path::Path, set: &str) -> String {
    let folder = folder.display().to_string();
    let of = ["--namespace", NAMESPACE];
    helm.run(&[&["install", AGENT.release, &folder, "--set", set], &of[..]].concat()).await.unwrap();
    let chart = AGENT.path();
    let notes = helm.run(&[&["upgrade", AGENT.release, &chart, "--reuse-values"], &of[..]].concat()).await;
    let notes = notes.unwrap_or_else(|error| panic!("{error}"));
    helm.run(&[&["uninstall", AGENT.release], &of[..]].concat()).await.unwrap();
    notes
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn reused_values_of_an_older_and_of_a_newer_chart_are_accepted() {
    let cluster = ApiServer::start_for_a_chart().await;
    let helm = Helm::of(&cluster);
    let older = copy_of_the_chart();
    let missing =
        ["/revisionHistoryLimit", "/relay/extraVolumeMounts", "/topologySpreadConstraints", "/serviceMonitor"];
    let defaults = missing.iter().fold(AGENT.defaults(), |defaults, pointer| without(defaults, pointer)).to_string();
    // Its templates are the same, and complete the values for the first installation.
    std::fs::write(older.path().join("values.yaml"), &defaults).unwrap();
    let notes = upgraded(&helm, older.path(), "telemetry.exportInterval=1m").await;
    assert!(notes.contains("every 1m the number of") && !notes.contains("WARNING"), "{notes}");

    let newer = copy_of_the_chart();
    let mut defaults = AGENT.defaults();
    merge(&mut defaults, json!({"newer": {"a": 1}, "relay": {"newer": true}}));
    for file in ["values.yaml", "files/values.yaml"] {
        std::fs::write(newer.path().join(file), defaults.to_string()).unwrap();
    }
    let notes = upgraded(&helm, newer.path(), "telemetry.exportInterval=1m").await;
    assert!(notes.contains("every 1m the number of"), "{notes}");
    assert!(notes.contains("ignores: newer, relay.newer."), "{notes}");

    // The opt-out is kept as well.
    let notes = upgraded(&helm, older.path(), "telemetry.disabled=true").await;
    assert!(notes.contains("Telemetry is OFF, by telemetry.disabled=true"), "{notes}");
    assert_eq!(deployment(&cluster).await, None);
}
