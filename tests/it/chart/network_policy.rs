//! The agent's network policy. A rule without ports would allow every one of them.

use serde_json::{Value, json};

use super::{Helm, merge, snapshots};
use crate::servers::documents;

/// The policy's rules for what goes out, beside a backend and with these values.
async fn egress(values: Value) -> Vec<Value> {
    let mut all = json!({
        "telemetry": {"endpoint": "https://telemetry.test:8443"},
        "networkPolicy": {"enabled": true, "dnsPorts": [5353], "apiServer": {"ports": [6443]}},
    });
    merge(&mut all, values);
    let rendered = Helm::offline().template(&all).await.unwrap();
    let policy = documents(&rendered).into_iter().find(|object| object["kind"] == "NetworkPolicy").unwrap();
    policy["spec"]["egress"].as_array().unwrap().clone()
}

/// The ports of each rule.
fn ports(rules: &[Value]) -> Vec<Vec<u64>> {
    let port = |port: &Value| port["port"].as_u64().unwrap();
    let ports = |rule: &Value| rule["ports"].as_array().map(|ports| ports.iter().map(port).collect());
    rules.iter().map(|rule| ports(rule).unwrap_or_default()).collect()
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn no_rule_is_without_ports_whatever_is_set() {
    for values in snapshots::all().map(|(_, values)| values).into_iter().filter(|values| *values != off()).chain([
        json!({}),
        json!({"networkPolicy": {"dnsPorts": []}}),
        json!({"networkPolicy": {"endpoint": {"ports": [], "cidrs": ["192.0.2.0/24"]}}}),
        json!({"telemetry": {"endpoint": ""}, "networkPolicy": {"dnsPorts": []}}),
    ]) {
        let mut values = values;
        merge(&mut values, json!({"networkPolicy": {"enabled": true}}));
        if values["relay"]["enabled"] == false {
            merge(&mut values, json!({"telemetry": {"endpoint": ""}}));
        }
        let ports = ports(&egress(values.clone()).await);
        assert!(!ports.is_empty() && ports.iter().all(|ports| !ports.is_empty()), "{values}: {ports:?}");
    }
}

fn off() -> Value {
    json!({"telemetry": {"disabled": true}})
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn each_rule_has_the_ports_that_are_asked_for() {
    assert_eq!(ports(&egress(json!({})).await), [vec![5353, 5353], vec![6443], vec![8443]]);
    let without_dns = egress(json!({"networkPolicy": {"dnsPorts": []}})).await;
    assert_eq!(ports(&without_dns), [[6443], [8443]], "no DNS where no port of it is given");
}
