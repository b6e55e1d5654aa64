//! Tests of the agent's chart as a dependency: of Kamaji's chart, where one switch is for both, and of any other.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::helm::{AGENT, Helm, NAMESPACE};
use super::pod::NAME;
use crate::servers::{checkout, documents};

/// Name of the release of the parent chart.
const RELEASE: &str = "kamaji";

/// A parent chart in a directory of its own, with the agent's chart inside.
pub(crate) struct Parent(TempDir);

impl Parent {
    fn new(write: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        std::fs::create_dir(folder.path().join("charts")).unwrap();
        std::os::unix::fs::symlink(AGENT.path(), folder.path().join("charts").join(AGENT.name)).unwrap();
        Self(folder)
    }

    /// Creates a copy of `tests/fixtures/parent-chart`, which has the dependency by the alias `telemetry`.
    pub(crate) fn of_kamaji() -> Self {
        Self::new(|folder| {
            let fixture = checkout("tests/fixtures/parent-chart");
            std::fs::create_dir(folder.join("templates")).unwrap();
            for file in ["Chart.yaml", "values.yaml", "templates/controller.yaml"] {
                std::fs::copy(fixture.join(file), folder.join(file)).unwrap();
            }
        })
    }

    /// Returns the path of the chart.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    async fn render(&self, arguments: &[&str]) -> Result<Vec<Value>, String> {
        let folder = self.path().display().to_string();
        let arguments = [&["template", RELEASE, &folder, "--namespace", NAMESPACE], arguments].concat();
        Ok(documents(&Helm::offline().run(&arguments).await?))
    }

    async fn render_values(&self, values: &Value) -> Result<Vec<Value>, String> {
        let file: PathBuf = self.path().join("test-values.json");
        std::fs::write(&file, values.to_string()).unwrap();
        self.render(&["--kube-version=1.36.3", "--values", &file.display().to_string()]).await
    }
}

/// The effect of a rendering of the parent chart.
#[derive(Debug, PartialEq, Eq)]
struct Rendered {
    /// The operator's built-in telemetry is on.
    operator_sends: bool,
    agent: Agent,
}

#[derive(Debug, PartialEq, Eq)]
enum Agent {
    Sends,
    /// The Deployment is rendered with the opt-out in the pod and without a relay, and every right is taken back but those to
    /// delete the state.
    Kept,
    Absent,
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// Returns the verbs that the roles grant.
fn verbs(objects: &[Value]) -> Vec<&str> {
    let rules = objects.iter().filter_map(|object| object["rules"].as_array()).flatten();
    rules.flat_map(|rule| rule["verbs"].as_array().unwrap()).map(|verb| verb.as_str().unwrap()).collect()
}

fn rendered(objects: &[Value]) -> Rendered {
    let deployments = of_kind(objects, "Deployment");
    let (operator, agent): (Vec<_>, Vec<_>) =
        deployments.into_iter().partition(|object| object["metadata"]["name"] == RELEASE);
    let [operator] = &operator[..] else { panic!("one operator: {operator:?}") };
    let arguments = operator["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
    let operator_sends = !arguments.contains(&json!("--disable-telemetry"));
    let [agent] = &agent[..] else {
        assert_eq!(objects.len(), 1, "without its Deployment nothing of the agent is rendered: {objects:?}");
        return Rendered { operator_sends, agent: Agent::Absent };
    };
    let pod = &agent["spec"]["template"]["spec"];
    let variable = json!({"name": "KAMAJI_TELEMETRY_DISABLE_TELEMETRY", "value": "true"});
    let is_off = pod["containers"][0]["env"].as_array().unwrap().contains(&variable);
    assert_eq!(is_off, pod["initContainers"].is_null(), "a relay if and only if telemetry is on: {pod}");
    if is_off {
        let verbs = verbs(objects);
        assert!(verbs.iter().all(|verb| ["get", "delete"].contains(&&**verb)), "{verbs:?}");
        assert!(of_kind(objects, "ConfigMap").is_empty() && of_kind(objects, "Pod").is_empty(), "{objects:?}");
    }
    Rendered { operator_sends, agent: if is_off { Agent::Kept } else { Agent::Sends } }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn every_combination_of_switches_leaves_nothing_that_sends_unless_all_are_off() {
    let parent = Parent::of_kamaji();
    for bits in 0_u8..32 {
        let [kamaji, global, own, follow, keep] = [1, 2, 4, 8, 16].map(|bit| bits & bit != 0);
        let values = json!({
            "telemetry": {
                "disabled": kamaji,
                "keepWhenDisabled": keep,
                "telemetry": {"disabled": own, "followKamajiOptOut": follow},
            },
            "global": {"telemetry": {"disabled": global}},
        });
        let agent = match (kamaji || global || own, keep) {
            (false, _) => Agent::Sends,
            (true, true) => Agent::Kept,
            (true, false) => Agent::Absent,
        };
        let expected = Rendered { operator_sends: !kamaji && !global, agent };
        assert_eq!(rendered(&parent.render_values(&values).await.unwrap()), expected, "{values}");
    }
}

/// The first are the words of Kamaji's documentation.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_switches_of_kamajis_documentation_switch_off_both() {
    let parent = Parent::of_kamaji();
    for switch in ["telemetry.disabled=true", "global.telemetry.disabled=true"] {
        let objects = parent.render(&["--kube-version=1.36.3", "--set", switch]).await.unwrap();
        assert_eq!(rendered(&objects), Rendered { operator_sends: false, agent: Agent::Absent }, "{switch}");
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_alias_changes_no_object() {
    let aliased = Parent::of_kamaji().render_values(&json!({})).await.unwrap();
    let aliased: Vec<_> = aliased.into_iter().filter(|object| object["metadata"]["name"] != RELEASE).collect();
    let values = json!({"telemetry": {"endpoint": "https://telemetry.test"}});
    let alone = documents(&Helm::offline().template_as(RELEASE, NAMESPACE, &values).await.unwrap());
    assert!(alone.len() > 8);
    for object in &alone {
        assert!(aliased.contains(object), "{object} is another one with an alias");
    }
    assert_eq!(aliased.len(), alone.len());
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_parent_may_pass_values_that_the_chart_does_not_know() {
    let parent = Parent::of_kamaji();
    let values = json!({
        "telemetry": {"sampling": {"ratio": 1}, "enabled": true, "telemetry": {"region": "eu"}},
        "global": {"imageRegistry": "registry.test", "storageClass": "fast", "telemetry": {"region": "eu"}},
    });
    let objects = parent.render_values(&values).await.unwrap();
    assert_eq!(rendered(&objects), Rendered { operator_sends: true, agent: Agent::Sends });
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_mistaken_opt_out_in_the_parents_values_fails_the_rendering() {
    let parent = Parent::of_kamaji();
    for (values, expected) in [
        (json!({"telemetry": {"disabled": "true"}}), "at '/disabled': value must be one of true, false"),
        (json!({"telemetry": {"Disabled": true}}), "Disabled is true, which this chart does not know"),
        (json!({"telemetry": {"disable": true}}), "disable is true, which this chart does not know"),
        (json!({"telemetry": {"enabled": false}}), "enabled is false, which does not switch telemetry off"),
        (json!({"telemetry": {"telemetry": {"enabled": false}}}), "telemetry.enabled is false, which this chart"),
        (json!({"global": {"telemetry": {"disabled": "no"}}}), "at '/global/telemetry/disabled': value must be one of"),
        (json!({"global": {"telemetry": {"enabled": false}}}), "global.telemetry.enabled is false, which this chart"),
        (json!({"global": {"disableTelemetry": true}}), "global.disableTelemetry is true, which this chart"),
    ] {
        let error = parent.render_values(&values).await.expect_err(&values.to_string());
        assert!(error.contains(expected), "{values}: {error}");
    }
}

/// Helm reads `kubeVersion` of the parent only.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_cluster_without_native_sidecars_is_refused_while_telemetry_is_on() {
    let parent = Parent::of_kamaji();
    let error = parent.render(&["--kube-version=1.28.15"]).await.unwrap_err();
    assert!(error.contains("the cluster has Kubernetes v1.28.15, and the telemetry agent needs >=1.29.0-0"), "{error}");
    assert!(error.contains("upgrade the cluster, or switch the agent off with telemetry.disabled=true"), "{error}");
    let off = parent.render(&["--kube-version=1.28.15", "--set=telemetry.disabled=true"]).await.unwrap();
    assert_eq!(rendered(&off), Rendered { operator_sends: false, agent: Agent::Absent });
    parent.render(&["--kube-version=1.29.0-gke.1"]).await.unwrap();
}

/// Chart.yaml of a parent chart that includes the agent's chart by its name, under a condition.
const WITH_CONDITION: &str = "\
apiVersion: v2
name: kamaji
version: 1.0.0
dependencies:
  - name: kamaji-telemetry-agent
    version: '>=0-0'
    condition: kamaji-telemetry-agent.enabled
";

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn by_its_own_name_it_obeys_the_same_switches() {
    let parent = Parent::new(|folder| std::fs::write(folder.join("Chart.yaml"), WITH_CONDITION).unwrap());
    for (values, is_rendered) in [
        (json!({}), true),
        (json!({NAME: {"enabled": true}}), true),
        (json!({NAME: {"enabled": false}}), false),
        (json!({NAME: {"disabled": true}}), false),
        (json!({NAME: {"telemetry": {"disabled": true}}}), false),
        (json!({"global": {"telemetry": {"disabled": true}}}), false),
        // Without the alias, the parent's own value is not read: it belongs to Kamaji, whose operator the agent follows.
        (json!({"telemetry": {"disabled": true}}), true),
    ] {
        let objects = parent.render_values(&values).await.unwrap();
        assert_eq!(!objects.is_empty(), is_rendered, "{values}");
    }
    let error = parent.render_values(&json!({"global": {"telemetry": {"disabled": "no"}}})).await.unwrap_err();
    assert!(error.contains("at '/global/telemetry/disabled': value must be one of true, false"), "{error}");
}
