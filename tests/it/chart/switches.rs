//! Values that look like an opt-out: each switches telemetry off or is rejected, and none is ignored.

use serde_json::{Value, json};

use super::helm::{AGENT, Helm};
use super::merge;
use super::schema::rejection;

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_mistaken_opt_out_is_rejected_with_the_accepted_values() {
    let helm = Helm::offline();
    let switch = "value must be one of true, false";
    for (values, expected) in [
        (json!({"telemetry": {"disabled": "no"}}), "at '/telemetry/disabled': value must be one of true, false"),
        (json!({"telemetry": {"disabled": "true"}}), switch),
        (json!({"telemetry": {"disabled": "off"}}), switch),
        (json!({"telemetry": {"disabled": 1}}), switch),
        (json!({"disabled": "true"}), "at '/disabled': value must be one of true, false"),
        (json!({"disabled": null}), "at '': missing property 'disabled'"),
        (json!({"keepWhenDisabled": "yes"}), "at '/keepWhenDisabled': value must be one of true, false"),
        (json!({"telemetry": {"disabled": null}}), "at '/telemetry': missing property 'disabled'"),
        (json!({"telemetry": false}), "at '/telemetry': got boolean, want object"),
        (json!({"telemetry": "off"}), "at '/telemetry': got string, want object"),
        (json!({"telemetry": null}), "at '': missing property 'telemetry'"),
        (json!({"telemetry": {"endpoint": "none"}}), "at '/telemetry/endpoint': 'none' does not match pattern"),
        (
            json!({"telemetry": {"followKamajiOptOut": "no"}}),
            "at '/telemetry/followKamajiOptOut': value must be one of",
        ),
        (
            json!({"global": {"telemetry": {"disabled": "yes"}}}),
            "at '/global/telemetry/disabled': value must be one of",
        ),
        (json!({"global": {"telemetry": false}}), "at '/global/telemetry': got boolean, want null or object"),
        (json!({"replicas": 0}), "at '/replicas': minimum: got 0, want 1"),
    ] {
        let error = rejection(&helm, values.clone()).await;
        assert!(error.contains(expected), "{values}: {error}");
    }
}

/// Values that the chart does not know, whose rejection names them.
fn look_alikes() -> [(Value, &'static str); 21] {
    [
        (
            json!({"enabled": false}),
            "enabled is false, which does not switch telemetry off: set telemetry.disabled=true",
        ),
        (json!({"Disabled": true}), "Disabled is true"),
        (json!({"DISABLED": true}), "DISABLED is true"),
        (json!({"disable": true}), "disable is true"),
        (json!({"disabeld": true}), "disabeld is true"),
        (json!({"optOut": true}), "optOut is true"),
        (json!({"opt-out": "yes"}), "opt-out is \"yes\""),
        (json!({"DO_NOT_TRACK": "1"}), "DO_NOT_TRACK is \"1\""),
        (json!({"Telemetry": {"disabled": true}}), "Telemetry is {\"disabled\":true}"),
        (json!({"telemetryDisabled": true}), "telemetryDisabled is true"),
        (json!({"sendTelemetry": false}), "sendTelemetry is false"),
        (json!({"telemetry": {"disable": true}}), "telemetry.disable is true"),
        (json!({"telemetry": {"enabled": false}}), "telemetry.enabled is false"),
        (json!({"telemetry": {"enable": "no"}}), "telemetry.enable is \"no\""),
        (json!({"telemetry": {"off": true}}), "telemetry.off is true"),
        (json!({"telemetry": {"telemetry": {"disabled": true}}}), "telemetry.telemetry is {"),
        (json!({"relay": {"disabled": true}}), "relay.disabled is true"),
        (json!({"otlp": {"enabled": false}}), "otlp.enabled is false"),
        (json!({"global": {"telemetry": {"disable": true}}}), "global.telemetry.disable is true"),
        (json!({"global": {"telemetry": {"enabled": false}}}), "global.telemetry.enabled is false"),
        (json!({"global": {"disableTelemetry": true}}), "global.disableTelemetry is true"),
    ]
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_unknown_value_that_looks_like_an_opt_out_is_rejected() {
    let helm = Helm::offline();
    for (values, expected) in look_alikes() {
        let error = rejection(&helm, values.clone()).await;
        assert!(error.contains(expected), "{values}: {error}");
        assert!(error.contains("set telemetry.disabled=true"), "{values}: {error}");
        // What is off already is off.
        let mut off = values;
        merge(&mut off, json!({"disabled": true}));
        assert_eq!(helm.template(&off).await.unwrap().trim(), "", "{off}");
    }
}

/// Without the schema the templates check what would switch telemetry off.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_mistaken_opt_out_is_rejected_without_the_schema_too() {
    let helm = Helm::offline();
    for (set, expected) in [
        ("--set-string=disabled=true", "disabled is \"true\", where true or false is expected, without quotes"),
        ("--set-string=telemetry.disabled=false", "telemetry.disabled is \"false\", where true or false is expected"),
        ("--set=global.telemetry.disabled=1", "global.telemetry.disabled is 1, where true or false is expected"),
        ("--set=global.telemetry=false", "global.telemetry is false, where a map is expected"),
        ("--set=telemetry=null", "telemetry is null, where a map is expected: to switch telemetry off"),
    ] {
        let chart = AGENT.path();
        let error = helm.run(&["template", "a", &chart, "--skip-schema-validation", set]).await.unwrap_err();
        assert!(error.contains(expected), "{set}: {error}");
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
