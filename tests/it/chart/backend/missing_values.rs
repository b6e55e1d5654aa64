//! Tests of values that are missing, null or blank: each stands for its default. `--reuse-values` knows no value that is new.

use std::path::Path;
use std::process::Command;

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::Api;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{of, offline};
use crate::chart::helm::{BACKEND, NAMESPACE};
use crate::chart::snapshots::compare;
use crate::servers::ApiServer;

/// Maps whose content Kubernetes defines. Null removes them, or a field of them.
const FREE: [&str; 2] = ["podSecurityContext", "resources"];

#[test]
fn the_copy_of_values_yaml_that_templates_read_is_up_to_date() {
    compare(&format!("charts/{}/files/values.yaml", BACKEND.name), &BACKEND.file("values.yaml"));
}

/// Returns `by` in place of each value that is `depth` maps deep and that it may replace, without all other values.
fn replaced(values: &Map<String, Value>, depth: usize, by: &Value) -> Map<String, Value> {
    let inner = |(key, value): (&String, &Value)| match value {
        _ if FREE.contains(&key.as_str()) => None,
        _ if depth == 1 => (by.is_null() || may_be_blank(key, value)).then(|| by.clone()),
        Value::Object(values) => Some(Value::Object(replaced(values, depth - 1, by))),
        _ => None,
    };
    values.iter().filter_map(|entry| Some((entry.0.clone(), inner(entry)?))).collect()
}

/// Returns whether a value is a single one that may be blank. A blank registry and a blank digest have a meaning of their own.
fn may_be_blank(key: &str, value: &Value) -> bool {
    let is_group = value.as_object().is_some_and(|values| !values.is_empty());
    !is_group && !value.is_boolean() && !["digest", "registry"].contains(&key)
}

fn count(values: &Value) -> usize {
    values.as_object().map_or(1, |values| values.values().map(count).sum())
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn null_and_blank_stand_for_the_default_of_every_value() {
    let helm = offline();
    let expected = helm.template(&json!({})).await.unwrap();
    let defaults = BACKEND.defaults();
    for by in [Value::Null, json!("")] {
        let mut tried = 0;
        for depth in 1..=5 {
            let values = Value::Object(replaced(defaults.as_object().unwrap(), depth, &by));
            tried += count(&values);
            let rendered = helm.template(&values).await.unwrap_or_else(|error| panic!("{values}: {error}"));
            assert_eq!(rendered, expected, "{values}");
        }
        assert!(tried > 80, "{tried} of {by}");
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn null_removes_a_map_of_kubernetes_or_a_field_of_it() {
    let open_shift = json!({"podSecurityContext": {"runAsUser": null, "runAsGroup": null, "fsGroup": null}});
    let rendered = offline().template(&open_shift).await.unwrap();
    assert!(rendered.contains("runAsNonRoot: true") && !rendered.contains("65532"), "{rendered}");
    let rendered = offline().template(&json!({"podSecurityContext": null, "resources": null})).await.unwrap();
    assert!(!rendered.contains("runAsNonRoot") && !rendered.contains("640Mi"), "{rendered}");
}

/// Returns a copy of the chart with other values, as Helm makes it of the last release's with `--reuse-values`.
fn with_values(values: &Value) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").args(["-r", &BACKEND.path()]).arg(folder.path()).status().unwrap();
    assert!(copied.success());
    let chart = folder.path().join(BACKEND.name);
    std::fs::write(chart.join("values.yaml"), values.to_string()).unwrap();
    let path = Path::display(&chart).to_string();
    (folder, path)
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn no_value_needs_to_be_in_those_of_the_last_release() {
    let helm = offline();
    let expected = helm.template(&json!({"podSecurityContext": null, "resources": null})).await.unwrap();
    let mut cases = vec![json!({})];
    // Groups that have none of their values.
    let defaults = BACKEND.defaults();
    let groups = defaults.as_object().unwrap().iter().filter(|(_, value)| value.is_object());
    cases.extend(groups.map(|(key, _)| json!({key: {}})));
    for values in cases {
        let (_folder, chart) = with_values(&values);
        assert_eq!(helm.template_of(&chart, &json!({})).await.unwrap(), expected, "{values}");
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_release_is_upgraded_with_reuse_values_to_a_chart_with_more_values() {
    let cluster = ApiServer::start_for_a_chart().await;
    let helm = of(&cluster);
    let mut earlier = BACKEND.defaults();
    for key in ["global", "maintenance", "restore", "revisionHistoryLimit", "dnsConfig", "extraObjects"] {
        assert!(earlier.as_object_mut().unwrap().remove(key).is_some(), "{key}");
    }
    let (_folder, chart) = with_values(&earlier);
    let release = [BACKEND.release, "--namespace", NAMESPACE, "--set", "terminationGracePeriodSeconds=45"];
    helm.run(&[&["install", "--create-namespace"], &release[..], &[&chart]].concat()).await.unwrap();
    let reused = ["upgrade", BACKEND.release, &BACKEND.path(), "--namespace", NAMESPACE, "--reuse-values"];
    helm.run(&reused).await.unwrap();
    let sets: Api<StatefulSet> = Api::namespaced(cluster.admin().clone(), NAMESPACE);
    let spec = sets.get(BACKEND.name).await.unwrap().spec;
    assert_eq!(spec.revision_history_limit, Some(10), "the default of a new value");
    assert_eq!(spec.template.spec.unwrap().termination_grace_period_seconds, Some(45), "a value of the last release");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_copy_of_the_chart_without_the_defaults_is_rejected() {
    let (folder, chart) = with_values(&BACKEND.defaults());
    let file = folder.path().join(BACKEND.name).join("files/values.yaml");
    std::fs::write(file, "").unwrap();
    let error = offline().template_of(&chart, &json!({})).await.unwrap_err();
    assert!(error.contains("files/values.yaml is missing in this copy of the chart, or empty"), "{error}");
}
