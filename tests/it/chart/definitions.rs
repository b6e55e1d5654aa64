//! `CustomResourceDefinition`s of other projects, against which a real API server validates the rendered objects.

use serde_json::{Value, json};

use super::helm::NAMESPACE;
use crate::servers::{ApiServer, definition};

/// Returns file, API version, kind and a minimal valid spec of each definition.
fn all() -> [(&'static str, &'static str, &'static str, Value); 7] {
    let (monitoring, certificates, gateway) =
        ("monitoring.coreos.com/v1", "cert-manager.io/v1", "gateway.networking.k8s.io/v1");
    let backend = json!([{"name": "backend", "port": 80}]);
    [
        (
            "monitoring.coreos.com_servicemonitors",
            monitoring,
            "ServiceMonitor",
            json!({"selector": {}, "endpoints": [{"port": "http"}]}),
        ),
        (
            "monitoring.coreos.com_prometheusrules",
            monitoring,
            "PrometheusRule",
            json!({"groups": [{"name": "a", "rules": [{"alert": "A", "expr": "up == 0"}]}]}),
        ),
        (
            "cert-manager.io_certificates",
            certificates,
            "Certificate",
            json!({"secretName": "a", "issuerRef": {"name": "a"}, "dnsNames": ["a.test"]}),
        ),
        ("cert-manager.io_issuers", certificates, "Issuer", json!({"selfSigned": {}})),
        (
            "gateway.networking.k8s.io_gateways",
            gateway,
            "Gateway",
            json!({"gatewayClassName": "a", "listeners": [{"name": "a", "port": 80, "protocol": "HTTP"}]}),
        ),
        (
            "gateway.networking.k8s.io_httproutes",
            gateway,
            "HTTPRoute",
            json!({"parentRefs": [{"name": "a"}], "rules": [{"backendRefs": backend}]}),
        ),
        (
            "gateway.networking.k8s.io_grpcroutes",
            gateway,
            "GRPCRoute",
            json!({"parentRefs": [{"name": "a"}], "rules": [{"backendRefs": backend}]}),
        ),
    ]
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn every_definition_accepts_a_minimal_object_and_rejects_an_unknown_field() {
    let cluster = ApiServer::start_for_a_chart().await;
    for (file, version, kind, spec) in all() {
        cluster.apply(&definition(file)).await;
        let metadata = json!({"name": "a", "namespace": NAMESPACE});
        let mut object = json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec});
        cluster.dry_run(&object).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
        object["spec"]["misspelt"] = true.into();
        let error = cluster.dry_run(&object).await.unwrap_err().to_string();
        assert!(error.contains(".spec.misspelt: field not declared in schema"), "{kind}: {error}");
    }
}

/// Starts a cluster with the definitions of every optional object of both charts.
pub(super) async fn with_definitions() -> ApiServer {
    let cluster = ApiServer::start_for_a_chart().await;
    for name in [
        "cert-manager.io_certificates",
        "gateway.networking.k8s.io_grpcroutes",
        "gateway.networking.k8s.io_httproutes",
        "monitoring.coreos.com_servicemonitors",
        "monitoring.coreos.com_prometheusrules",
    ] {
        cluster.apply(&definition(name)).await;
    }
    cluster
}
