//! The charts, the agent's and the backend's: what they render, what they refuse, and what that does in a real API
//! server.

mod artifact_hub;
mod backend;
mod definitions;
mod helm;
mod job;
mod kubelet;
mod names;
mod network_policy;
mod notes;
mod objects;
mod opt_out;
mod pod;
mod readme;
mod release;
mod rights;
mod schema;
mod snapshots;
mod values;
mod way_out;

use serde_json::{Value, json};
use serde_yaml_ng::Value as Yaml;

use crate::servers::{checkout, documents};
use helm::{AGENT, Chart, Helm};

fn read(path: &str) -> String {
    std::fs::read_to_string(checkout(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_charts_are_of_this_version_of_the_program() {
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
async fn helm_has_nothing_to_object_whatever_is_set() {
    let helm = Helm::offline();
    for (name, values) in snapshots::all() {
        helm.lint(&values).await.unwrap_or_else(|said| panic!("{name}: {said}"));
    }
}

/// In the checkout the relay's configurations are links; who pulls the chart has no checkout.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_package_holds_the_relays_configurations_themselves() {
    let helm = Helm::offline();
    let folder = tempfile::tempdir().unwrap();
    let destination = folder.path().display().to_string();
    helm.run(&["package", &AGENT.path(), "--destination", &destination]).await.unwrap();
    let package = format!("{destination}/kamaji-telemetry-{}.tgz", env!("CARGO_PKG_VERSION"));
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
async fn off_renders_nothing_whatever_else_is_set() {
    let helm = Helm::offline();
    for off in [json!({"telemetry": {"disabled": true}}), json!({"global": {"telemetry": {"disabled": true}}})] {
        let mut values = snapshots::extended();
        merge(&mut values, off.clone());
        assert_eq!(helm.template(&values).await.unwrap().trim(), "", "{off}");
    }
}

/// A chart that has this one as a part, and can leave it out by a condition.
const PARENT: &str = "\
apiVersion: v2
name: kamaji
version: 1.0.0
dependencies:
  - name: kamaji-telemetry
    version: '*'
    condition: kamaji-telemetry.enabled
";

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn as_a_part_of_another_chart_it_obeys_the_same_switches() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("Chart.yaml"), PARENT).unwrap();
    std::fs::create_dir(folder.path().join("charts")).unwrap();
    std::os::unix::fs::symlink(AGENT.path(), folder.path().join("charts/kamaji-telemetry")).unwrap();
    let (helm, parent) = (Helm::offline(), folder.path().display().to_string());
    for (values, is_there) in [
        (json!({}), true),
        (json!({"kamaji-telemetry": {"enabled": true}}), true),
        (json!({"kamaji-telemetry": {"enabled": false}}), false),
        (json!({"kamaji-telemetry": {"telemetry": {"disabled": true}}}), false),
        (json!({"global": {"telemetry": {"disabled": true}}}), false),
        // The parent's own: it is Kamaji's, whose operator is followed.
        (json!({"telemetry": {"disabled": true}}), true),
    ] {
        let rendered = helm.template_of(&parent, &values).await.unwrap();
        assert_eq!(!documents(&rendered).is_empty(), is_there, "{values}");
    }
    let said = helm.template_of(&parent, &json!({"global": {"telemetry": {"disabled": "no"}}})).await.unwrap_err();
    assert!(said.contains("at '/global/telemetry/disabled': value must be one of true, false"), "{said}");
}

/// Puts `more` over `values`, as Helm does with several files of them.
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
