//! Snapshots of the agent's chart in `tests/it/snapshots`, for review. `make generate` writes them.

use serde_json::{Value, json};

use super::{Helm, read};
use crate::servers::checkout;

/// Environment variable that makes the tests write the compared files.
const WRITE: &str = "KAMAJI_TELEMETRY_WRITE";

/// Returns the name and the values of each snapshot.
pub(super) fn all() -> [(&'static str, Value); 6] {
    [
        ("default", json!({"telemetry": {"endpoint": "https://telemetry.example.org"}})),
        ("disabled", json!({"telemetry": {"disabled": true}})),
        ("kept", kept()),
        ("local", json!({})),
        ("own-collector", own_collector()),
        ("extended", extended()),
    ]
}

/// Returns values of a release that is switched off, and whose Deployment stays.
pub(super) fn kept() -> Value {
    let mut values = extended();
    super::merge(&mut values, json!({"disabled": true, "keepWhenDisabled": true}));
    values
}

fn own_collector() -> Value {
    json!({
        "relay": {"enabled": false},
        "otlp": {
            "endpoint": "https://collector.example.org:4317",
            "headersSecret": {"name": "collector"},
            "caSecret": {"name": "collector"},
            "clientCertificateSecret": "collector-client",
        },
        "networkPolicy": {"enabled": true},
    })
}

/// Returns values that set everything that can be combined.
pub(super) fn extended() -> Value {
    let digest = format!("sha256:{}", "0".repeat(64));
    json!({
        "telemetry": {
            "endpoint": "https://telemetry.example.org",
            "exportInterval": "10m",
            "extended": true,
            "followKamajiOptOut": false,
            "kamajiDeployment": "kamaji",
            "kamajiVersion": "v1.0.0",
        },
        "global": {"imageRegistry": "registry.example.org"},
        "image": {"digest": digest},
        "imagePullSecrets": [{"name": "registry"}],
        "replicas": 2,
        "revisionHistoryLimit": 2,
        "logFormat": "json",
        "extraEnv": [{"name": "RUST_LOG", "value": "kamaji_telemetry=debug"}],
        "extraArgs": ["--operator-poll-interval=1m"],
        "extraVolumes": [{"name": "more", "configMap": {"name": "more"}}],
        "extraVolumeMounts": [{"name": "more", "mountPath": "/more", "readOnly": true}],
        "relay": extended_relay(),
        "serviceAccount": {"annotations": {"example.org/role": "telemetry"}},
        "serviceMonitor": {"enabled": true, "interval": "1m", "labels": {"release": "prometheus"}},
        "networkPolicy": {
            "enabled": true,
            "apiServer": {"cidrs": ["10.0.0.1/32"]},
            "endpoint": {"cidrs": ["192.0.2.0/24", "2001:db8::/32"]},
        },
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}],
        "affinity": affinity(),
        "topologySpreadConstraints": [topology_spread(&json!({"app.kubernetes.io/name": "kamaji-telemetry-agent"}))],
        "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
        "priorityClassName": "system-cluster-critical",
        // Labels of the chart's selectors must not be overridden.
        "extraLabels": {"team": "platform", "app.kubernetes.io/name": "kamaji"},
        "extraAnnotations": {"example.org/owner": "platform"},
        "podLabels": {"tier": "telemetry"},
        "podAnnotations": {"example.org/scrape": "true"},
        "extraObjects": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "more", "namespace": "{{ .Release.Namespace }}", "labels": {"a": "b"}},
                "data": {"release": "{{ .Release.Name }}"},
            },
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: text\n  namespace: {{ .Release.Namespace }}\n",
        ],
    })
}

fn extended_relay() -> Value {
    json!({
        "httpsProxy": "http://proxy.example.org:3128",
        "noProxy": ".example.net",
        "caBundle": {"configMap": "authorities"},
        "clientCertificateSecret": "relay-client",
        "tokenSecret": {"name": "relay-token"},
        "extraEnv": [{"name": "RELAY_MEMORY_SPIKE_MIB", "value": "8"}],
        "extraArgs": ["--set=service::telemetry::logs::level=info"],
        "extraVolumeMounts": [{"name": "more", "mountPath": "/more", "readOnly": true}],
    })
}

fn affinity() -> Value {
    json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
        "weight": 1,
        "podAffinityTerm": {
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "kamaji-telemetry-agent"}},
        },
    }]}})
}

/// Returns a constraint that spreads the pods with these labels over zones.
pub(super) fn topology_spread(labels: &Value) -> Value {
    json!({
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels},
    })
}

/// Replaces the relay's configuration with the name of its file, which is reviewed there.
fn readable(rendered: &str) -> String {
    let mut text = rendered.to_owned();
    for file in ["otel-collector/relay.yaml", "otel-collector/debug.yaml", "otel-collector/token.yaml"] {
        let block = read(file).trim_end().replace('\n', "\n    ");
        text = text.replace(&format!("|\n    {block}\n"), &format!("# {file}\n"));
    }
    let lines = text.lines().map(|line| match line.split_once("checksum/relay: ") {
        Some((indent, _)) => format!("{indent}checksum/relay: # checksum of the configuration"),
        None => line.trim_end().to_owned(),
    });
    lines.map(|line| line + "\n").collect()
}

/// Asserts that a file of the checkout has the generated content, or writes it first if `WRITE` is set.
pub(super) fn compare(path: &str, generated: &str) {
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(checkout(path), generated).unwrap();
    }
    assert!(generated == read(path), "{path} is out of date: run `make generate` and review the diff");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_chart_renders_its_snapshots() {
    let helm = Helm::offline();
    for (name, values) in all() {
        let rendered = readable(&helm.template(&values).await.unwrap());
        compare(&format!("tests/it/snapshots/{name}.yaml"), &rendered);
    }
}
