//! Tests of both Helm charts: what they render and reject, and how that behaves in a real API server.

mod apply;
mod artifact_hub;
mod backend;
mod defaults;
mod definitions;
pub(crate) mod dependency;
mod egress;
mod files;
mod helm;
mod hook;
mod idempotence;
mod job;
mod kept;
mod kubelet;
mod names;
mod network_policy;
mod notes;
mod objects;
mod opt_out;
mod optional;
mod pod;
mod readme;
mod release;
mod rights;
mod schema;
mod snapshots;
mod switches;
mod values;

use serde_json::{Value, json};
use serde_yaml_ng::Value as Yaml;

use crate::servers::{checkout, documents};
use helm::{AGENT, Chart, Helm};

/// Returns the content of a file of the checkout.
fn read(path: &str) -> String {
    std::fs::read_to_string(checkout(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the code blocks in `language` of a Markdown text.
pub(crate) fn code_blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let begin = format!("```{language}\n");
    text.split(&*begin).skip(1).map(|rest| rest.split_once("```").expect("a code block ends").0).collect()
}

#[test]
fn the_charts_have_the_version_of_the_program() {
    for chart in Chart::ALL {
        let parsed: Yaml = serde_yaml_ng::from_str(&chart.file("Chart.yaml")).unwrap();
        assert_eq!(parsed["name"].as_str(), Some(chart.name));
        for version in ["version", "appVersion"] {
            assert_eq!(parsed[version].as_str(), Some(env!("CARGO_PKG_VERSION")), "{version} of {chart:?}");
        }
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn helm_lint_accepts_the_agents_chart_with_every_snapshots_values() {
    let helm = Helm::offline();
    for (name, values) in snapshots::all() {
        helm.lint(&values).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_package_holds_the_relays_configurations_themselves() {
    let helm = Helm::offline();
    let folder = tempfile::tempdir().unwrap();
    let destination = folder.path().display().to_string();
    helm.run(&["package", &AGENT.path(), "--destination", &destination]).await.unwrap();
    let metadata: Yaml = serde_yaml_ng::from_str(&AGENT.file("Chart.yaml")).unwrap();
    let package = format!("{destination}/{}-{}.tgz", AGENT.name, metadata["version"].as_str().unwrap());
    for (endpoint, file) in [("", "debug.yaml"), ("https://telemetry.test", "relay.yaml")] {
        let rendered = helm.template_of(&package, &json!({"telemetry": {"endpoint": endpoint}})).await.unwrap();
        let config_maps: Vec<Value> =
            documents(&rendered).into_iter().filter(|object| object["kind"] == "ConfigMap").collect();
        let [relay] = &config_maps[..] else { panic!("one ConfigMap: {config_maps:?}") };
        assert_eq!(relay["data"]["relay.yaml"], read(&format!("otel-collector/{file}")));
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn disabled_telemetry_renders_nothing_with_any_other_values() {
    let helm = Helm::offline();
    let off = json!({"disabled": true});
    for opt_out in [off.clone(), json!({"telemetry": off}), json!({"global": {"telemetry": off}})] {
        let mut values = snapshots::extended();
        merge(&mut values, opt_out.clone());
        assert_eq!(helm.template(&values).await.unwrap().trim(), "", "{opt_out}");
    }
}

/// Merges `more` into `values`, as Helm merges several files of values.
fn merge(values: &mut Value, more: Value) {
    match (values, more) {
        (Value::Object(values), Value::Object(more)) => {
            for (key, value) in more {
                merge(values.entry(key).or_insert(Value::Null), value);
            }
        }
        (value, more) => *value = more,
    }
}
