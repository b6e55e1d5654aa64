//! Values: each has its place in the schema, and what looks like off but is not never passes.

use serde_json::{Value, json};

use super::helm::AGENT;
use super::schema::{every_value_has_its_place, refusal};
use super::{Helm, merge, read, snapshots};
use crate::servers::documents;

#[test]
fn every_value_has_its_place_in_the_schema_and_no_other_key_has() {
    every_value_has_its_place(&AGENT);
    let schema = AGENT.schema();
    let global = &schema["properties"]["global"]["properties"]["telemetry"];
    assert_eq!(global["additionalProperties"], false);
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn what_looks_like_off_and_is_not_is_refused_with_what_is_allowed() {
    let helm = Helm::offline();
    let truth = "value must be one of true, false";
    let keys = "value must be 'a map with keys among disabled, endpoint, interval, extended, kamajiFlag";
    for (values, at, allowed) in [
        (json!({"telemetry": {"disabled": "no"}}), "/telemetry/disabled", truth),
        (json!({"telemetry": {"disabled": "true"}}), "/telemetry/disabled", truth),
        (json!({"telemetry": {"disabled": "off"}}), "/telemetry/disabled", truth),
        (json!({"telemetry": {"disabled": 1}}), "/telemetry/disabled", truth),
        (json!({"telemetry": {"disabled": null}}), "/telemetry", "missing property 'disabled'"),
        (json!({"telemetry": {"disable": true}}), "/telemetry", keys),
        (json!({"telemetry": {"enabled": false}}), "/telemetry", keys),
        (json!({"telemetry": false}), "/telemetry", "got boolean, want object"),
        (json!({"telemetry": null}), "''", "missing property 'telemetry'"),
        (json!({"telemetry": {"endpoint": "none"}}), "/telemetry/endpoint", "does not match pattern '^(https?://"),
        (json!({"telemetry": {"followKamajiOptOut": "no"}}), "/telemetry/followKamajiOptOut", "boolean"),
        (json!({"global": {"telemetry": {"disabled": "yes"}}}), "/global/telemetry/disabled", truth),
        (json!({"global": {"telemetry": {"disable": true}}}), "/global/telemetry", "keys among disabled'"),
        (json!({"global": {"telemetry": {"enabled": false}}}), "/global/telemetry", "keys among disabled'"),
        (json!({"global": {"telemetry": false}}), "/global/telemetry", "got boolean, want object"),
        (json!({"disabled": true}), "''", "keys among global, enabled, telemetry, image,"),
        (json!({"enabled": false}), "/enabled", "value must be true"),
        (json!({"replicas": 0}), "/replicas", "want 1"),
    ] {
        let said = refusal(&helm, values.clone()).await;
        assert!(
            said.contains(&format!("at '{}'", at.trim_matches('\''))) && said.contains(allowed),
            "{values}: {said}"
        );
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_mistake_is_refused_with_what_to_do() {
    let helm = Helm::offline();
    let own = json!({"relay": {"enabled": false}, "otlp": {"endpoint": "http://collector.test:4317"}});
    let with = |more: Value| {
        let mut values = own.clone();
        merge(&mut values, more);
        values
    };
    for (values, said) in [
        (json!({"relay": {"enabled": false}}), "set otlp.endpoint to your own collector"),
        (json!({"otlp": {"endpoint": "http://collector.test:4317"}}), "set relay.enabled=false"),
        (json!({"otlp": {"headersSecret": {"name": "a"}}}), "otlp.headersSecret.name is \"a\""),
        (with(json!({"telemetry": {"endpoint": "https://telemetry.test"}})), "telemetry.endpoint is"),
        (with(json!({"relay": {"httpsProxy": "http://proxy.test"}})), "the agent itself can't use a proxy"),
        (with(json!({"relay": {"noProxy": "a"}})), "relay.noProxy is \"a\""),
        (with(json!({"relay": {"caBundle": {"secret": "a"}}})), "use otlp.caSecret"),
        (with(json!({"relay": {"clientCertificateSecret": "a"}})), "otlp.clientCertificateSecret"),
        (with(json!({"relay": {"tokenSecret": {"name": "a"}}})), "otlp.headersSecret"),
        (json!({"relay": {"caBundle": {"secret": "a", "configMap": "b"}}}), "set one of the two"),
        (
            json!({"telemetry": {"endpoint": "http://a.test"}, "relay": {"httpsProxy": "http://b.test"}}),
            "use an https:// endpoint",
        ),
        (json!({"telemetry": {"endpoint": "telemetry.test:443"}}), "at '/telemetry/endpoint'"),
        (json!({"telemetry": {"endpoint": "https://user:password@a.test"}}), "at '/telemetry/endpoint'"),
        (json!({"telemetry": {"interval": "0s"}}), "at '/telemetry/interval'"),
        (json!({"telemetry": {"interval": "25h"}}), "at '/telemetry/interval'"),
        (json!({"telemetry": {"interval": 300}}), "at '/telemetry/interval'"),
        (json!({"telemetry": {"kamajiVersion": "latest"}}), "at '/telemetry/kamajiVersion'"),
        (json!({"image": {"digest": "latest"}}), "at '/image/digest'"),
        (json!({"image": {"repository": "a.test/kamaji-telemetry:v1"}}), "at '/image/repository'"),
        (json!({"relay": {"image": {"pullPolicy": "Sometimes"}}}), "one of 'Always', 'IfNotPresent', 'Never'"),
        (json!({"listenAddress": "::"}), "at '/listenAddress'"),
        (
            json!({"networkPolicy": {"apiServer": {"cidrs": ["kubernetes.test"]}}}),
            "at '/networkPolicy/apiServer/cidrs/0'",
        ),
        (json!({"extraArgs": "--disable-telemetry"}), "got string, want array"),
        (json!({"networkPolicy": {"apiServer": {"ports": []}}}), "at '/networkPolicy/apiServer/ports'"),
        (json!({"extraEnv": [{"value": "1"}]}), "missing property 'name'"),
        (
            json!({"extraEnv": [{"name": "DO_NOT_TRACK", "vaule": "1"}]}),
            "at '/extraEnv/0': value must be 'a map with keys among name, value, valueFrom'",
        ),
        (json!({"extraEnv": [{"name": "DO_NOT_TRACK"}]}), "'a map with name, and either value or valueFrom'"),
        (json!({"extraEnv": [{"name": "A", "valueFrom": {}}]}), "at '/extraEnv/0/valueFrom'"),
        (
            json!({"relay": {"extraEnv": [{"name": "A", "value": "1", "valueFrom": {"fieldRef": {}}}]}}),
            "at '/relay/extraEnv/0': value must be 'a map with name, and either value or valueFrom'",
        ),
        (
            with(json!({"relay": {"extraEnv": [{"name": "A", "value": "1"}]}})),
            "relay.extraEnv is set, yet relay.enabled is false",
        ),
        (with(json!({"relay": {"extraArgs": ["--a"]}})), "relay.extraArgs is set, yet relay.enabled is false"),
        (
            json!({"extraEnv": [{"name": "KAMAJI_TELEMETRY_EXPORT_INTERVAL", "value": "1m"}]}),
            "extraEnv has KAMAJI_TELEMETRY_EXPORT_INTERVAL, which is set already",
        ),
        (
            json!({"relay": {"extraEnv": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}}),
            "relay.extraEnv has A, which is set already",
        ),
    ] {
        let refusal = refusal(&helm, values.clone()).await;
        assert!(refusal.contains(said), "{values}: {refusal}");
    }
}

/// The relay reads none of them, so that telemetry would stay on.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_switch_of_the_agent_is_refused_where_the_relay_would_get_it() {
    let helm = Helm::offline();
    let variables = ["DO_NOT_TRACK", "OTEL_SDK_DISABLED", "KAMAJI_TELEMETRY_DISABLE_TELEMETRY"]
        .map(|name| (name, "extraEnv", json!([{"name": name, "value": "true"}])));
    let arguments = ["--disable-telemetry", "--disable-telemetry=true"].map(|flag| (flag, "extraArgs", json!([flag])));
    for (switch, key, list) in variables.into_iter().chain(arguments) {
        let said = refusal(&helm, json!({"relay": {key: list}})).await;
        assert!(said.contains(&format!("relay.{key} has {switch}, ")), "{said}");
        assert!(said.contains(&format!("set it in {key}, or telemetry.disabled=true")), "{said}");
        helm.template(&json!({key: list})).await.unwrap_or_else(|said| panic!("{switch}: {said}"));
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn good_values_are_taken() {
    let helm = Helm::offline();
    for values in snapshots::all().map(|(_, values)| values).into_iter().chain([
        // Another chart's globals, and the condition by which a parent includes this one.
        json!({"global": {"imageRegistry": "registry.test", "telemetry": {}}, "enabled": true}),
        json!({"global": {"telemetry": {"disabled": false}}}),
        json!({"telemetry": {"endpoint": "https://[2001:db8::1]:8443/otlp", "interval": "90s"}}),
        json!({"listenAddress": "[::]", "image": {"repository": "registry.test:5000/a/b", "tag": "v1"}}),
        json!({"podSecurityContext": {"runAsUser": null, "runAsGroup": null, "fsGroup": null}}),
        json!({"relay": {"extraEnv": [{"name": "GOMEMLIMIT", "value": "64MiB"}]}}),
        json!({"extraEnv": [{"name": "DO_NOT_TRACK", "value": "1"}], "extraArgs": ["--disable-telemetry=true"]}),
        json!({"extraEnv": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
    ]) {
        helm.template(&values).await.unwrap_or_else(|said| panic!("{values}: {said}"));
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_examples_of_the_operations_are_taken() {
    let text = read("docs/operations.md");
    let (of_the_agent, _) = text.split_once("\n## The backend\n").unwrap();
    let examples: Vec<_> =
        of_the_agent.split("```yaml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect();
    assert!(examples.len() > 3, "{examples:?}");
    for example in examples {
        let values = documents(example).remove(0);
        Helm::offline().template(&values).await.unwrap_or_else(|said| panic!("{example}: {said}"));
    }
}
