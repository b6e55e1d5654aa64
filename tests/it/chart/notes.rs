//! Tests of both charts' notes.

use serde_json::{Value, json};

use super::helm::{BACKEND, Helm};
use crate::servers::{ApiServer, definition};

const ENDPOINT: &str = "https://telemetry.test";

fn with_variable(name: &str, value: &str) -> Value {
    json!({"telemetry": {"endpoint": ENDPOINT}, "extraEnv": [{"name": name, "value": value}]})
}

fn with_argument(argument: &str) -> Value {
    json!({"telemetry": {"endpoint": ENDPOINT}, "extraArgs": [argument]})
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_notes_never_report_telemetry_as_on_with_an_opt_out_in_the_pod() {
    let cluster = ApiServer::start_for_a_chart().await;
    let helm = Helm::of(&cluster);
    for (values, switch) in [
        (with_argument("--disable-telemetry"), "--disable-telemetry"),
        (with_argument("--disable-telemetry=true"), "--disable-telemetry=true"),
        (with_variable("DO_NOT_TRACK", "1"), "DO_NOT_TRACK"),
        (with_variable("OTEL_SDK_DISABLED", "true"), "OTEL_SDK_DISABLED"),
        (with_variable("KAMAJI_TELEMETRY_DISABLE_TELEMETRY", "yes"), "KAMAJI_TELEMETRY_DISABLE_TELEMETRY"),
        (json!({"extraArgs": ["--disable-telemetry"]}), "--disable-telemetry"),
    ] {
        let notes = helm.upgrade(&values).await;
        assert!(notes.contains(&format!("Telemetry is switched off in the pod by {switch}: see")), "{values}: {notes}");
        assert!(!notes.contains("is ON") && !notes.contains("is LOCAL"), "{values}: {notes}");
        assert!(notes.contains("What would be sent: "), "{values}: {notes}");
    }
    for values in [
        with_argument("--disable-telemetry=false"),
        with_argument("--operator-poll-interval=1m"),
        with_variable("DO_NOT_TRACK", "0"),
        with_variable("OTEL_SDK_DISABLED", " Off "),
        with_variable("RUST_LOG", "info"),
    ] {
        let notes = helm.upgrade(&values).await;
        assert!(notes.contains("Telemetry is ON") && !notes.contains("switched off in the pod"), "{values}: {notes}");
    }
    let source = json!({"configMapKeyRef": {"name": "a", "key": "b", "optional": true}});
    let values = json!({
        "telemetry": {"endpoint": ENDPOINT},
        "extraEnv": [{"name": "DO_NOT_TRACK", "valueFrom": source}],
    });
    let notes = helm.upgrade(&values).await;
    assert!(notes.contains("Telemetry is ON"), "{notes}");
    assert!(notes.contains("What is sent: "), "{notes}");
    assert!(
        notes.contains("DO_NOT_TRACK comes from another object and may switch telemetry off: see its state, below."),
        "{notes}"
    );
    let notes = helm.upgrade(&json!({})).await;
    assert!(notes.contains("Telemetry is LOCAL") && notes.contains("What would be sent: "), "{notes}");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_command_that_switches_telemetry_on_resets_each_opt_out() {
    let cluster = ApiServer::start_for_a_chart().await;
    let helm = Helm::of(&cluster);
    let disabled = json!({"disabled": true});
    for (values, by, command) in [
        (disabled.clone(), "disabled=true", "--set disabled=false"),
        (json!({"telemetry": disabled}), "telemetry.disabled=true", "--set telemetry.disabled=false"),
        (
            json!({"global": {"telemetry": disabled}}),
            "global.telemetry.disabled=true",
            "--reset-then-reuse-values --set global.telemetry.disabled=false",
        ),
        (
            json!({"telemetry": disabled, "global": {"telemetry": disabled}}),
            "telemetry.disabled=true and global.telemetry.disabled=true",
            "--set telemetry.disabled=false --set global.telemetry.disabled=false",
        ),
    ] {
        let notes = helm.upgrade(&values).await;
        assert!(notes.contains(&format!("Telemetry is OFF, by {by}.")), "{notes}");
        assert!(notes.contains(&format!("{command}\n")), "{notes}");
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_notes_of_a_kept_deployment_tell_what_it_does() {
    let cluster = ApiServer::start_for_a_chart().await;
    let notes = Helm::of(&cluster).upgrade(&json!({"disabled": true, "keepWhenDisabled": true})).await;
    assert!(notes.contains("Telemetry is OFF, by disabled=true."), "{notes}");
    assert!(notes.contains("The Deployment stays, by keepWhenDisabled=true: its pod has no relay"), "{notes}");
    assert!(!notes.contains("Nothing is installed"), "{notes}");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_notes_name_the_values_that_the_chart_ignores() {
    let cluster = ApiServer::start_for_a_chart().await;
    let helm = Helm::of(&cluster);
    let values = json!({
        "telemetry": {"endpiont": ENDPOINT},
        "relay": {"tokenSecret": {"nmae": "a"}, "resources": {"limits": {"cpu": 1}}},
        "networkPolicy": {"apiServer": {"port": 443}},
        "nodeSelector": {"a": "b"},
        "global": {"storageClass": "fast"},
        "enabled": true,
        "future": {"a": 1},
    });
    let notes = helm.upgrade(&values).await;
    let warning = "WARNING: this chart does not know, and ignores: \
                   future, networkPolicy.apiServer.port, relay.tokenSecret.nmae, telemetry.endpiont.\n";
    assert!(notes.contains(warning), "{notes}");
    assert!(!helm.upgrade(&json!({})).await.contains("WARNING"));
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_notes_warn_of_alerts_without_a_service_monitor() {
    let cluster = ApiServer::start_for_a_chart().await;
    for name in ["monitoring.coreos.com_servicemonitors", "monitoring.coreos.com_prometheusrules"] {
        cluster.apply(&definition(name)).await;
    }
    let helm = Helm::of(&cluster).with(&BACKEND);
    let warning = "WARNING: prometheusRule.enabled is true and serviceMonitor.enabled is not";
    for (monitor, is_warned) in [(false, true), (true, false)] {
        let values = json!({"prometheusRule": {"enabled": true}, "serviceMonitor": {"enabled": monitor}});
        let notes = helm.upgrade(&values).await;
        assert_eq!(notes.contains(warning), is_warned, "{notes}");
    }
}
