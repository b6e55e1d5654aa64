//! Tests of the agent's values: the schema covers each, and no mistake passes for an opt-out.

use serde_json::{Value, json};

use super::helm::{AGENT, BACKEND};
use super::schema::{assert_schema_matches_values, rejection};
use super::{Helm, code_blocks, merge, read, snapshots};
use crate::servers::documents;

#[test]
fn the_schema_matches_values_yaml() {
    assert_schema_matches_values(&AGENT);
    let schema = AGENT.schema();
    let global = &schema["properties"]["global"]["properties"]["telemetry"];
    assert_eq!(global["additionalProperties"], false);
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_mistaken_opt_out_is_rejected_with_the_accepted_values() {
    let helm = Helm::offline();
    let switch = "value must be one of true, false";
    let keys = "value must be 'a map with keys among disabled, endpoint, exportInterval, extended, followKamajiOptOut";
    for (values, path, accepted) in [
        (json!({"telemetry": {"disabled": "no"}}), "/telemetry/disabled", switch),
        (json!({"telemetry": {"disabled": "true"}}), "/telemetry/disabled", switch),
        (json!({"telemetry": {"disabled": "off"}}), "/telemetry/disabled", switch),
        (json!({"telemetry": {"disabled": 1}}), "/telemetry/disabled", switch),
        (json!({"telemetry": {"disabled": null}}), "/telemetry", "missing property 'disabled'"),
        (json!({"telemetry": {"disable": true}}), "/telemetry", keys),
        (json!({"telemetry": {"enabled": false}}), "/telemetry", keys),
        (json!({"telemetry": false}), "/telemetry", "got boolean, want object"),
        (json!({"telemetry": null}), "''", "missing property 'telemetry'"),
        (json!({"telemetry": {"endpoint": "none"}}), "/telemetry/endpoint", "does not match pattern '^(https?://"),
        (json!({"telemetry": {"followKamajiOptOut": "no"}}), "/telemetry/followKamajiOptOut", switch),
        (json!({"global": {"telemetry": {"disabled": "yes"}}}), "/global/telemetry/disabled", switch),
        (json!({"global": {"telemetry": {"disable": true}}}), "/global/telemetry", "keys among disabled'"),
        (json!({"global": {"telemetry": {"enabled": false}}}), "/global/telemetry", "keys among disabled'"),
        (json!({"global": {"telemetry": false}}), "/global/telemetry", "got boolean, want object"),
        (json!({"disabled": true}), "''", "keys among global, enabled, telemetry, image,"),
        (json!({"enabled": false}), "/enabled", "value must be true"),
        (json!({"replicas": 0}), "/replicas", "want 1"),
    ] {
        let error = rejection(&helm, values.clone()).await;
        assert!(
            error.contains(&format!("at '{}'", path.trim_matches('\''))) && error.contains(accepted),
            "{values}: {error}"
        );
    }
}

/// Values as JSON, and what the error about them contains.
const MISTAKES: [(&str, &str); 25] = [
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
    (r#"{"image": {"repository": "a.test/kamaji-telemetry:v1"}}"#, "at '/image/repository'"),
    (r#"{"relay": {"image": {"pullPolicy": "Sometimes"}}}"#, "one of 'Always', 'IfNotPresent', 'Never'"),
    (r#"{"listenAddress": "::"}"#, "at '/listenAddress'"),
    (r#"{"networkPolicy": {"apiServer": {"cidrs": ["kubernetes.test"]}}}"#, "at '/networkPolicy/apiServer/cidrs/0'"),
    (r#"{"extraArgs": "--disable-telemetry"}"#, "got string, want array"),
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

/// The same, beside the values of an installation with its own collector.
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

/// The relay reads no opt-out, so that telemetry would stay on.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_opt_out_on_the_relay_is_rejected() {
    let helm = Helm::offline();
    let variables = ["DO_NOT_TRACK", "OTEL_SDK_DISABLED", "KAMAJI_TELEMETRY_DISABLE_TELEMETRY"]
        .map(|name| (name, "extraEnv", json!([{"name": name, "value": "true"}])));
    let arguments = ["--disable-telemetry", "--disable-telemetry=true"].map(|flag| (flag, "extraArgs", json!([flag])));
    for (opt_out, key, list) in variables.into_iter().chain(arguments) {
        let error = rejection(&helm, json!({"relay": {key: list}})).await;
        assert!(error.contains(&format!("relay.{key} has {opt_out}, ")), "{error}");
        assert!(error.contains(&format!("set it in {key}, or telemetry.disabled=true")), "{error}");
        helm.template(&json!({key: list})).await.unwrap_or_else(|error| panic!("{opt_out}: {error}"));
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn valid_values_are_accepted() {
    let helm = Helm::offline();
    for values in snapshots::all().map(|(_, values)| values).into_iter().chain([
        // Globals of another chart, and the condition of a parent chart.
        json!({"global": {"imageRegistry": "registry.test", "telemetry": {}}, "enabled": true}),
        json!({"global": {"telemetry": {"disabled": false}}}),
        json!({"telemetry": {"endpoint": "https://[2001:db8::1]:8443/otlp", "exportInterval": "90s"}}),
        json!({"listenAddress": "[::]", "image": {"repository": "registry.test:5000/a/b", "tag": "v1"}}),
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
async fn the_documented_values_are_accepted() {
    let mut count = 0;
    for (page, chart) in [("docs/agent.md", &AGENT), ("docs/backend.md", &BACKEND)] {
        let text = read(page);
        let examples = code_blocks(&text, "yaml").into_iter().map(|example| documents(example).remove(0));
        // A Job of Kubernetes, a workflow of GitHub and a data source of Grafana are no values.
        let is_values = |example: &Value| {
            example["kind"] != "Job" && ["jobs", "datasources"].iter().all(|key| example[key].is_null())
        };
        for example in examples.filter(is_values) {
            count += 1;
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
