//! Tests of the chart with a store in PostgreSQL.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{offline, snapshots};
use crate::chart::merge;
use crate::chart::schema::rejection;
use crate::servers::documents;

/// Returns the least values of a store in PostgreSQL, with others.
fn postgres(others: Value) -> Value {
    let address = "postgres://telemetry@db.example.org/telemetry";
    let mut values = json!({"store": {"postgres": {"address": address, "existingSecret": "database"}}});
    merge(&mut values, others);
    values
}

async fn rendered(values: &Value) -> Vec<Value> {
    documents(&offline().template(values).await.unwrap())
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let first = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "more than one {kind}");
    first
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn with_postgresql_there_are_replicas_of_a_deployment_and_no_volume() {
    let objects = rendered(&postgres(json!({}))).await;
    let kinds: BTreeSet<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, BTreeSet::from(["Deployment", "Pod", "PodDisruptionBudget", "Service", "ServiceAccount"]));
    let deployment = of_kind(&objects, "Deployment");
    assert_eq!(deployment["spec"]["replicas"], 2);
    let pod = &deployment["spec"]["template"];
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    assert!(volumes.iter().all(|volume| volume.get("secret").is_some()), "{volumes:?}");
    let labels = &pod["metadata"]["labels"];
    let budget = of_kind(&objects, "PodDisruptionBudget");
    for selector in [&budget["spec"]["selector"]["matchLabels"], &of_kind(&objects, "Service")["spec"]["selector"]] {
        assert_eq!(selector, labels);
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn with_postgresql_maintenance_scales_to_zero_and_one_replica_is_allowed() {
    for (others, replicas) in [(json!({"maintenance": true}), 0), (json!({"replicas": 1}), 1)] {
        let objects = rendered(&postgres(others)).await;
        assert_eq!(of_kind(&objects, "Deployment")["spec"]["replicas"], replicas);
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_network_policy_lets_the_backend_reach_dns_and_the_servers_of_the_address() {
    let objects = rendered(&snapshots::postgres()).await;
    let egress = &of_kind(&objects, "NetworkPolicy")["spec"]["egress"];
    let expected = json!([
        {"ports": [{"port": 5432}, {"port": 5433}], "to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]},
        {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
    ]);
    assert_eq!(*egress, expected);
    for (address, ports) in [
        ("postgresql://a@[2001:db8::1]:6432/a?sslmode=disable", json!([{"port": 6432}])),
        ("postgres://a@10.0.0.1,10.0.0.2/a", json!([{"port": 5432}])),
    ] {
        let others = json!({"store": {"postgres": {"address": address}}, "networkPolicy": {"enabled": true}});
        let objects = rendered(&postgres(others)).await;
        assert_eq!(of_kind(&objects, "NetworkPolicy")["spec"]["egress"][0]["ports"], ports, "{address}");
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_ports_of_dns_can_be_others_and_without_any_no_rule_is_left() {
    let servers = json!({"ports": [{"port": 5432}]});
    let both = json!({"ports": [{"port": 5353, "protocol": "UDP"}, {"port": 5353, "protocol": "TCP"}]});
    for (ports, expected) in [(json!([5353]), json!([servers, both])), (json!([]), json!([servers]))] {
        let objects = rendered(&postgres(json!({"networkPolicy": {"enabled": true, "dnsPorts": ports}}))).await;
        assert_eq!(of_kind(&objects, "NetworkPolicy")["spec"]["egress"], expected);
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn alerts_and_notes_are_of_the_kind_of_store() {
    let values = postgres(json!({"prometheusRule": {"enabled": true}}));
    let rendered = offline().template(&values).await.unwrap();
    assert!(!rendered.contains("VolumeFilling") && !rendered.contains(" sts/"), "{rendered}");
    assert!(rendered.contains("deploy/kamaji-telemetry-backend"), "{rendered}");
    let sqlite = offline().template(&json!({"prometheusRule": {"enabled": true}})).await.unwrap();
    assert!(sqlite.contains("VolumeFilling") && sqlite.contains(" sts/kamaji-telemetry-backend"), "{sqlite}");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn values_that_contradict_the_kind_of_store_are_rejected() {
    let address = json!({"store": {"postgres": {"address": "postgres://a@db.example.org/a"}}});
    for (values, expected) in [
        (address, "store.postgres.existingSecret is empty"),
        (json!({"store": {"postgres": {"existingSecret": "a"}}}), "store.postgres.address is empty"),
        (json!({"store": {"postgres": {"caSecret": {"name": "a"}}}}), "store.postgres.caSecret.name is \"a\", yet"),
        (json!({"replicas": 2}), "replicas is 2, yet the store is a file of SQLite"),
        (postgres(json!({"backup": {"enabled": true}})), "backup.enabled is true, yet the store is in PostgreSQL"),
        (
            postgres(json!({"maintenance": true, "restore": {"backup": "telemetry-20261124T031700Z.db"}})),
            "restore.backup is \"telemetry-20261124T031700Z.db\", yet the store is in PostgreSQL",
        ),
    ] {
        let error = rejection(&offline(), values.clone()).await;
        assert!(error.contains(expected), "{values}: {error}");
    }
}
