//! Tests of the agent's `NetworkPolicy`. A rule without ports would allow every port.

use serde_json::{Value, json};

use super::{Helm, merge, snapshots};
use crate::servers::documents;

/// Returns the ports of each egress rule.
async fn ports(mut values: Value) -> Vec<Vec<u64>> {
    merge(&mut values, json!({"networkPolicy": {"enabled": true}}));
    let rendered = Helm::offline().template(&values).await.unwrap();
    let policy = documents(&rendered).into_iter().find(|object| object["kind"] == "NetworkPolicy").unwrap();
    let port = |port: &Value| port["port"].as_u64().unwrap();
    let ports = |rule: &Value| rule["ports"].as_array().map(|ports| ports.iter().map(port).collect());
    policy["spec"]["egress"].as_array().unwrap().iter().map(|rule| ports(rule).unwrap_or_default()).collect()
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn every_egress_rule_has_ports() {
    let rendered = snapshots::all().into_iter().filter(|(name, _)| *name != "disabled").map(|(_, values)| values);
    for values in rendered.chain([
        json!({"networkPolicy": {"dnsPorts": []}}),
        json!({
            "telemetry": {"endpoint": "https://telemetry.test"},
            "networkPolicy": {"dnsPorts": [], "endpoint": {"ports": [], "cidrs": ["192.0.2.0/24"]}},
        }),
    ]) {
        let ports = ports(values.clone()).await;
        assert!(!ports.is_empty() && ports.iter().all(|ports| !ports.is_empty()), "{values}: {ports:?}");
    }
}

/// A network plugin may not resolve the name of a port, above all of a sidecar's.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn ingress_names_the_ports_of_the_probes_by_number() {
    let helm = Helm::offline();
    for (name, mut values) in snapshots::all().into_iter().filter(|(name, _)| *name != "disabled") {
        merge(&mut values, json!({"networkPolicy": {"enabled": true}}));
        let objects = documents(&helm.template(&values).await.unwrap());
        let of_kind = |kind: &str| objects.iter().find(|object| object["kind"] == kind).unwrap();
        let pod = &of_kind("Deployment")["spec"]["template"]["spec"];
        let containers = ["containers", "initContainers"].map(|list| pod[list].as_array().cloned().unwrap_or_default());
        let mut listening: Vec<_> = containers.iter().flatten().map(|it| &it["ports"][0]["containerPort"]).collect();
        listening.sort_by_key(|port| port.as_u64());
        let ports = of_kind("NetworkPolicy")["spec"]["ingress"][0]["ports"].as_array().unwrap();
        let allowed: Vec<_> = ports.iter().map(|port| &port["port"]).collect();
        assert_eq!(allowed, listening, "{name}");
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn each_rule_has_the_configured_ports() {
    let with_dns = |ports: Value| {
        json!({
            "telemetry": {"endpoint": "https://telemetry.test:8443"},
            "networkPolicy": {"dnsPorts": ports, "apiServer": {"ports": [6443]}},
        })
    };
    assert_eq!(ports(with_dns(json!([5353]))).await, [vec![5353, 5353], vec![6443], vec![8443]]);
    assert_eq!(ports(with_dns(json!([]))).await, [[6443], [8443]], "an empty list of DNS ports blocks DNS");
}
