//! Tests of the agent's values: the schema covers each, and a mistake is rejected with the remedy.

use serde_json::{Map, Value, json};

use super::artifact_hub::images;
use super::files::copy_of_the_chart;
use super::helm::{AGENT, BACKEND};
use super::schema::{rejection, resolve};
use super::{Helm, code_blocks, merge, read, snapshots};
use crate::servers::documents;

/// Maps with defaults that the schema does not describe, since they are Kubernetes'. null in them removes a default.
pub(super) const FREE_MAPS: [&str; 3] = ["/resources", "/podSecurityContext", "/relay/resources"];

/// Asserts that the schema of a map describes each of its defaults and nothing else, and requires only what switches telemetry
/// off: any other value may be missing.
fn assert_schema_of(path: &str, values: &Map<String, Value>, schema: &Value, root: &Value) {
    let Some(properties) = schema.get("properties").map(|properties| properties.as_object().unwrap()) else {
        assert!(
            FREE_MAPS.contains(&path) || values.is_empty(),
            "{path} has defaults that the schema does not describe"
        );
        return;
    };
    let known = |key: &&String| path.is_empty() && *key == "enabled" || values.contains_key(*key);
    assert!(properties.keys().all(|key| known(&key)), "{path}: {:?} in the schema", properties.keys());
    let required: Vec<String> = serde_json::from_value(schema["required"].clone()).unwrap_or_default();
    let expected = match path {
        "" => &["disabled", "telemetry"][..],
        "/telemetry" => &["disabled"],
        _ => &[],
    };
    assert_eq!(required, expected, "{path}");
    for (key, value) in values {
        let path = format!("{path}/{key}");
        let inner = resolve(properties.get(key).unwrap_or_else(|| panic!("the schema has no {path}")), root);
        if let Value::Object(map) = value {
            assert_schema_of(&path, map, inner, root);
        }
        if value.is_boolean() {
            let values = inner["enum"].as_array().unwrap_or_else(|| panic!("{path}: the error lists the values"));
            assert_eq!(values.contains(&Value::Null), !path.ends_with("/disabled"), "{path}: what is off is not null");
        }
    }
}

#[test]
fn the_schema_matches_values_yaml() {
    let (defaults, schema) = (AGENT.defaults(), AGENT.schema());
    assert_schema_of("", defaults.as_object().unwrap(), &schema, &schema);
    let helpers = AGENT.file("templates/_helpers.tpl");
    let names: Vec<_> =
        FREE_MAPS.iter().filter_map(|path| path.strip_prefix('/')).filter(|it| !it.contains('/')).collect();
    assert!(helpers.contains(&names.join(",")), "{names:?}");
}

/// Values as JSON, and what the error about them contains.
const MISTAKES: [(&str, &str); 28] = [
    (r#"{"relay": {"enabled": false}}"#, "set otlp.endpoint to your own collector"),
    (r#"{"otlp": {"endpoint": "http://collector.test:4317"}}"#, "set relay.enabled=false"),
    (r#"{"otlp": {"headersSecret": {"name": "a"}}}"#, "otlp.headersSecret.name is \"a\""),
    (r#"{"relay": {"caBundle": {"secret": "a", "configMap": "b"}}}"#, "set one of the two"),
    (
        r#"{"telemetry": {"endpoint": "http://a.test"}, "relay": {"httpsProxy": "http://b.test"}}"#,
        "use an https:// endpoint",
    ),
    (r#"{"telemetry": {"endpoint": "telemetry.test:443"}}"#, "at '/telemetry/endpoint'"),
    (r#"{"telemetry": {"endpoint": "https://user:password@a.test"}}"#, "at '/telemetry/endpoint'"),
    (r#"{"telemetry": {"exportInterval": "0s"}}"#, "at '/telemetry/exportInterval'"),
    (r#"{"telemetry": {"exportInterval": "25h"}}"#, "at '/telemetry/exportInterval'"),
    (r#"{"telemetry": {"exportInterval": 300}}"#, "at '/telemetry/exportInterval'"),
    (r#"{"telemetry": {"kamajiVersion": "newest"}}"#, "at '/telemetry/kamajiVersion'"),
    (r#"{"image": {"digest": "latest"}}"#, "at '/image/digest'"),
    (r#"{"image": {"repository": "clastix/kamaji-telemetry:v1"}}"#, "at '/image/repository'"),
    (r#"{"relay": {"image": {"pullPolicy": "Sometimes"}}}"#, "one of 'Always', 'IfNotPresent', 'Never'"),
    (r#"{"listenAddress": "::"}"#, "at '/listenAddress'"),
    (r#"{"networkPolicy": {"apiServer": {"cidrs": ["kubernetes.test"]}}}"#, "at '/networkPolicy/apiServer/cidrs/0'"),
    (r#"{"extraArgs": "--disable-telemetry"}"#, "at '/extraArgs': got string, want null or array"),
    (r#"{"nodeSelector": "linux"}"#, "at '/nodeSelector': got string, want null or object"),
    (r#"{"image": {"registry": "https://a.test"}}"#, "at '/image/registry'"),
    (r#"{"extraVolumes": [{"configMap": {"name": "a"}}]}"#, "missing property 'name'"),
    (r#"{"networkPolicy": {"apiServer": {"ports": []}}}"#, "at '/networkPolicy/apiServer/ports'"),
    (r#"{"extraEnv": [{"value": "1"}]}"#, "missing property 'name'"),
    (
        r#"{"extraEnv": [{"name": "DO_NOT_TRACK", "vaule": "1"}]}"#,
        "at '/extraEnv/0': value must be 'a map with keys among name, value, valueFrom'",
    ),
    (r#"{"extraEnv": [{"name": "DO_NOT_TRACK"}]}"#, "'a map with name, and either value or valueFrom'"),
    (r#"{"extraEnv": [{"name": "A", "valueFrom": {}}]}"#, "at '/extraEnv/0/valueFrom'"),
    (
        r#"{"relay": {"extraEnv": [{"name": "A", "value": "1", "valueFrom": {"fieldRef": {}}}]}}"#,
        "at '/relay/extraEnv/0': value must be 'a map with name, and either value or valueFrom'",
    ),
    (
        r#"{"extraEnv": [{"name": "KAMAJI_TELEMETRY_EXPORT_INTERVAL", "value": "1m"}]}"#,
        "extraEnv has KAMAJI_TELEMETRY_EXPORT_INTERVAL, which is set already",
    ),
    (
        r#"{"relay": {"extraEnv": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}}"#,
        "relay.extraEnv has A, which is set already",
    ),
];

/// Further mistakes, beside the values of an installation with its own collector.
const MISTAKES_WITH_OWN_COLLECTOR: [(&str, &str); 8] = [
    (r#"{"telemetry": {"endpoint": "https://telemetry.test"}}"#, "telemetry.endpoint is"),
    (r#"{"relay": {"httpsProxy": "http://proxy.test"}}"#, "the agent itself can't use a proxy"),
    (r#"{"relay": {"noProxy": "a"}}"#, "relay.noProxy is \"a\""),
    (r#"{"relay": {"caBundle": {"secret": "a"}}}"#, "use otlp.caSecret"),
    (r#"{"relay": {"clientCertificateSecret": "a"}}"#, "otlp.clientCertificateSecret"),
    (r#"{"relay": {"tokenSecret": {"name": "a"}}}"#, "otlp.headersSecret"),
    (r#"{"relay": {"extraEnv": [{"name": "A", "value": "1"}]}}"#, "relay.extraEnv is set, yet relay.enabled is false"),
    (r#"{"relay": {"extraArgs": ["--a"]}}"#, "relay.extraArgs is set, yet relay.enabled is false"),
];

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_mistake_is_rejected_with_the_remedy() {
    let helm = Helm::offline();
    let parse = |text: &str| -> Value { serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}")) };
    let with_own_collector = |text: &str| {
        let mut values = json!({"relay": {"enabled": false}, "otlp": {"endpoint": "http://collector.test:4317"}});
        merge(&mut values, parse(text));
        values
    };
    let own = MISTAKES_WITH_OWN_COLLECTOR.map(|(text, expected)| (with_own_collector(text), expected));
    for (values, expected) in MISTAKES.map(|(text, expected)| (parse(text), expected)).into_iter().chain(own) {
        let error = rejection(&helm, values.clone()).await;
        assert!(error.contains(expected), "{values}: {error}");
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn valid_values_are_accepted() {
    let helm = Helm::offline();
    for values in snapshots::all().map(|(_, values)| values).into_iter().chain([
        // Globals of another chart, and the condition of a parent chart.
        json!({"global": {"storageClass": "a", "enabled": true, "telemetry": {}}, "enabled": true}),
        json!({"global": null, "enabled": null}),
        json!({"global": {"telemetry": {"disabled": false}}}),
        json!({"telemetry": {"endpoint": "https://[2001:db8::1]:8443/otlp", "exportInterval": "90s"}}),
        json!({"listenAddress": "[::]", "image": {"registry": "registry.test:5000", "repository": "a/b", "tag": "v1"}}),
        json!({"metricsEnabled": false, "telemetry": {"enabled": true, "disks": 1}}),
        json!({"podSecurityContext": {"runAsUser": null, "runAsGroup": null, "fsGroup": null}}),
        json!({"relay": {"extraEnv": [{"name": "GOMEMLIMIT", "value": "64MiB"}]}}),
        json!({"extraEnv": [{"name": "DO_NOT_TRACK", "value": "1"}], "extraArgs": ["--disable-telemetry=true"]}),
        json!({"extraEnv": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
    ]) {
        helm.template(&values).await.unwrap_or_else(|error| panic!("{values}: {error}"));
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_image_is_named_by_registry_repository_and_digest_or_tag() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let (agent, relay) = ("clastix/kamaji-telemetry-agent", "otel/opentelemetry-collector-contrib");
    let version = env!("CARGO_PKG_VERSION");
    let of = |image: &Value| json!({"image": image, "relay": {"image": image}});
    let tag = json!({"tag": "v1"});
    for (values, expected) in [
        (json!({}), [format!("docker.io/{relay}:0.161.0"), format!("ghcr.io/{agent}:{version}")]),
        (of(&tag), [format!("docker.io/{relay}:v1"), format!("ghcr.io/{agent}:v1")]),
        (
            of(&json!({"tag": "v1", "digest": digest})),
            [format!("docker.io/{relay}@{digest}"), format!("ghcr.io/{agent}@{digest}")],
        ),
        (
            json!({"global": {"imageRegistry": "a.test:5000/mirror/"}}),
            [format!("a.test:5000/mirror/{relay}:0.161.0"), format!("a.test:5000/mirror/{agent}:{version}")],
        ),
        (
            of(&json!({"registry": "", "repository": "b.test:5000/c", "tag": "v1"})),
            ["b.test:5000/c:v1".to_owned(), "b.test:5000/c:v1".to_owned()],
        ),
    ] {
        let [relay, agent] = expected;
        let objects = documents(&Helm::offline().template(&values).await.unwrap());
        assert_eq!(images(&objects), [relay, agent.clone(), agent], "{values}");
    }
}

/// A release of this project makes digests the default.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_blank_digest_overrides_that_of_a_release() {
    let chart = copy_of_the_chart();
    let digest = format!("digest: sha256:{}", "a".repeat(64));
    for file in ["values.yaml", "files/values.yaml"] {
        let path = chart.path().join(file);
        std::fs::write(&path, AGENT.file(file).replace("digest: \"\"", &digest)).unwrap();
    }
    let (chart, helm) = (chart.path().display().to_string(), Helm::offline());
    assert!(helm.template_of(&chart, &json!({})).await.unwrap().contains("@sha256:"));
    let blank = json!({"image": {"digest": ""}, "relay": {"image": {"digest": ""}}});
    let rendered = helm.template_of(&chart, &blank).await.unwrap();
    assert!(!rendered.contains("@sha256:") && rendered.contains("contrib:0.161.0"), "{rendered}");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_documented_values_are_accepted() {
    let mut count = 0;
    for (page, chart) in [("docs/agent.md", &AGENT), ("docs/backend.md", &BACKEND), ("docs/gitops.md", &AGENT)] {
        let text = read(page);
        let examples = code_blocks(&text, "yaml").into_iter().map(|example| documents(example).remove(0));
        // A Job of Kubernetes, a Cluster of CloudNativePG, a workflow of GitHub and a data source of Grafana are no values.
        let is_values = |example: &Value| {
            let is_other_object = ["Job", "Cluster"].iter().any(|kind| example["kind"] == *kind);
            !is_other_object && ["jobs", "datasources"].iter().all(|key| example[key].is_null())
        };
        for example in examples.filter(is_values) {
            count += 1;
            // The page for GitOps is on both charts, and names the backend's in its examples.
            let chart = if example.to_string().contains(BACKEND.name) { &BACKEND } else { chart };
            let rendered = Helm::offline().with(chart).template(&values_of(&example)).await;
            rendered.unwrap_or_else(|error| panic!("{page}: {example}: {error}"));
        }
    }
    assert!(count > 8, "{count} examples");
}

/// Returns the values of an example: its whole content, or those in an Application of Argo CD or a `HelmRelease` of Flux.
fn values_of(example: &Value) -> Value {
    let pointers = ["/spec/source/helm/valuesObject", "/spec/values"];
    pointers.into_iter().find_map(|pointer| example.pointer(pointer)).unwrap_or(example).clone()
}
