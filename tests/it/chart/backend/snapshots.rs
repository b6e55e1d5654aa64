//! Snapshots of the backend's chart in `tests/it/snapshots`, for review. `make generate` writes them.

use serde_json::{Value, json};

use super::offline;
use crate::chart::snapshots::{compare, topology_spread};

/// Returns the name and the values of each snapshot.
pub(super) fn all() -> [(&'static str, Value); 4] {
    [("default", json!({})), ("everything", everything()), ("restore", restore()), ("postgres", postgres())]
}

/// Returns values that set everything of a store in PostgreSQL.
pub(super) fn postgres() -> Value {
    json!({
        "store": {"postgres": {
            "address": "postgres://telemetry@db-a.example.org,db-b.example.org:5433/telemetry",
            "existingSecret": "telemetry-database",
            "caSecret": {"name": "telemetry-database-ca"},
        }},
        "replicas": 3,
        "prometheusRule": {"enabled": true},
        "networkPolicy": {"enabled": true, "storeTo": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]},
    })
}

/// Returns values that restore a backup in maintenance.
pub(super) fn restore() -> Value {
    json!({
        "maintenance": true,
        "restore": {"backup": "telemetry-20261124T031700Z.db"},
        "backup": {"enabled": true},
        "prometheusRule": {"enabled": true},
    })
}

/// Returns values that set everything that can be combined.
pub(in crate::chart) fn everything() -> Value {
    let digest = format!("sha256:{}", "0".repeat(64));
    let from =
        |namespace: &str| json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}]);
    json!({
        "global": {"imageRegistry": "registry.example.org"},
        "image": {"registry": "other.example.org", "repository": "kamaji-telemetry-backend", "digest": digest},
        "imagePullSecrets": [{"name": "registry"}],
        "store": {"sqlite": {"persistence": {
            "size": "20Gi",
            "storageClass": "fast",
            "annotations": {"example.org/snapshots": "daily"},
        }}},
        "retention": {"events": "90d", "interval": "1h"},
        "rateLimit": {"bytesPerDay": 4_000_000},
        "auth": {"ingestTokensSecret": {"name": "senders"}, "readerTokensSecret": {"name": "readers"}},
        "publicPage": {"enabled": true},
        "publicUrl": "https://telemetry.example.org",
        "trustedProxies": ["10.244.0.0/16", "2001:db8::/32"],
        "tls": {"certManager": {
            "enabled": true,
            "issuerRef": {"name": "authority", "kind": "ClusterIssuer"},
            "dnsNames": ["kamaji-telemetry-backend.kamaji-system.svc", "telemetry.example.org"],
        }},
        "service": {
            "type": "LoadBalancer",
            "externalTrafficPolicy": "Local",
            "annotations": {"example.org/balancer": "internal"},
        },
        "ingress": {"http": ingress("HTTPS"), "grpc": ingress("GRPCS")},
        "gateway": {"http": route("telemetry.example.org"), "grpc": route("grpc.telemetry.example.org")},
        "backup": {"enabled": true, "timeZone": "Etc/UTC"},
        "serviceMonitor": {"enabled": true, "interval": "1m", "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": true, "labels": {"release": "prometheus"}},
        "networkPolicy": {"enabled": true, "from": from("envoy-gateway-system"), "metricsFrom": from("monitoring")},
        "logFormat": "json",
        "revisionHistoryLimit": 3,
        "extraVolumes": [{"name": "authorities", "configMap": {"name": "authorities"}}],
        "extraVolumeMounts": [{"name": "authorities", "mountPath": "/etc/ssl/certs", "readOnly": true}],
        "extraEnv": [{"name": "RUST_LOG", "value": "kamaji_telemetry=debug"}],
        "extraArgs": ["--tls-reload-interval=10s"],
        "serviceAccount": {"annotations": {"example.org/role": "telemetry"}},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}],
        "affinity": affinity(),
        "topologySpreadConstraints": [topology_spread(&json!({"tier": "telemetry"}))],
        "priorityClassName": "system-cluster-critical",
        "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
        // Labels of the chart's selectors must not be overridden.
        "extraLabels": {"team": "platform", "app.kubernetes.io/name": "kamaji"},
        "extraAnnotations": {"example.org/owner": "platform"},
        "podLabels": {"tier": "telemetry", "app.kubernetes.io/component": "other"},
        "podAnnotations": {"example.org/log": "true"},
        "extraObjects": [config_map("map"), config_map("text").to_string()],
    })
}

fn affinity() -> Value {
    json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a"]}]},
    ]}}})
}

/// Returns an object with templates of Helm in it.
fn config_map(name: &str) -> Value {
    let metadata = json!({
        "name": format!("{{{{ .Release.Name }}}}-{name}"),
        "namespace": "{{ .Release.Namespace }}",
        "labels": {"app.kubernetes.io/instance": "{{ .Release.Name }}"},
    });
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
}

fn ingress(protocol: &str) -> Value {
    json!({
        "enabled": true,
        "className": "nginx",
        "host": "telemetry.example.org",
        "annotations": {"nginx.ingress.kubernetes.io/backend-protocol": protocol},
        "tls": [{"secretName": "telemetry-example-org", "hosts": ["telemetry.example.org"]}],
    })
}

fn route(hostname: &str) -> Value {
    json!({
        "enabled": true,
        "parentRefs": [{"name": "public", "namespace": "gateways"}],
        "hostnames": [hostname],
        "annotations": {"example.org/route": hostname},
    })
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn helm_lint_accepts_the_backends_chart_with_every_snapshots_values() {
    for (name, values) in all() {
        offline().lint(&values).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_backends_chart_renders_its_snapshots() {
    for (name, values) in all() {
        let rendered = offline().template(&values).await.unwrap();
        let lines = rendered.lines().map(|line| line.trim_end().to_owned() + "\n");
        compare(&format!("tests/it/snapshots/backend-{name}.yaml"), &lines.collect::<String>());
    }
}
