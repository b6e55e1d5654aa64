//! What stands around the fleet in a cluster that Kamaji runs in: its operator and its datastores.

use serde_json::{Value, json};

use super::Fleet;
use crate::demo::cluster::{Cluster, Kind, Refusal};
use crate::demo::tenant::NAMESPACE;
use crate::signals::DRIVERS;

/// The namespace of the simulated operator.
pub const KAMAJI_NAMESPACE: &str = "kamaji-system";

/// The version of the simulated operator.
pub const KAMAJI_VERSION: &str = "v1.0.2";

/// Puts the operator, the datastores and the fleet into an empty cluster.
pub fn furnish(cluster: &Cluster, fleet: &Fleet) -> Result<(), Refusal> {
    cluster.create(Kind::Deployment, KAMAJI_NAMESPACE, operator())?;
    for driver in DRIVERS {
        let used_by = fleet.tenants().filter(|tenant| tenant.uses(driver));
        let used_by: Vec<_> = used_by.map(|tenant| format!("{NAMESPACE}/{}", tenant.name())).collect();
        cluster.create(Kind::DataStore, "", data_store(driver, &used_by))?;
    }
    fleet.tenants().try_for_each(|tenant| cluster.create(Kind::TenantControlPlane, NAMESPACE, tenant.to_object()))
}

fn operator() -> Value {
    let labels = json!({ "app.kubernetes.io/name": "kamaji", "app.kubernetes.io/instance": "kamaji" });
    let mut versioned = labels.clone();
    versioned["app.kubernetes.io/version"] = KAMAJI_VERSION.into();
    json!({
        "metadata": { "name": "kamaji", "labels": versioned },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{
                    "name": "manager",
                    "image": format!("docker.io/clastix/kamaji:{KAMAJI_VERSION}"),
                    "command": ["/kamaji"],
                    "args": ["manager", "--health-probe-bind-address=:8081", "--leader-elect", "--datastore=etcd"],
                }] },
            },
        },
        "status": { "replicas": 1, "readyReplicas": 1, "availableReplicas": 1 },
    })
}

fn data_store(driver: &str, used_by: &[String]) -> Value {
    json!({
        "metadata": { "name": driver.to_lowercase() },
        "spec": { "driver": driver, "endpoints": [format!("{}.{KAMAJI_NAMESPACE}.svc:2379", driver.to_lowercase())] },
        "status": { "ready": true, "usedBy": used_by },
    })
}
