//! Kamaji in the simulated cluster: its operator and its datastores.

use serde_json::{Value, json};

use super::Fleet;
use crate::catalog::DRIVERS;
use crate::testkit::simulated_cluster::{Kind, SimulatedCluster, StatusError};
use crate::testkit::tenant::NAMESPACE;

/// The namespace of the simulated operator.
pub const KAMAJI_NAMESPACE: &str = "kamaji-system";

/// The version of the simulated operator.
pub const KAMAJI_VERSION: &str = "v1.0.2";

/// Creates the operator, the datastores and the fleet in an empty cluster.
pub fn install(cluster: &SimulatedCluster, fleet: &Fleet) -> Result<(), StatusError> {
    cluster.create(Kind::Deployment, KAMAJI_NAMESPACE, operator())?;
    for driver in DRIVERS {
        cluster.create(Kind::DataStore, "", data_store(driver, fleet))?;
    }
    fleet.tenants().try_for_each(|tenant| cluster.create(Kind::TenantControlPlane, NAMESPACE, tenant.to_object()))
}

/// Updates the users in the status of each datastore, as the operator does.
pub(super) fn update_data_stores(cluster: &SimulatedCluster, fleet: &Fleet) -> Result<(), StatusError> {
    DRIVERS.iter().try_for_each(|driver| {
        cluster.change(Kind::DataStore, "", &driver.to_lowercase(), |object| *object = data_store(driver, fleet))
    })
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
                    // Kamaji's built-in telemetry is off because the agent's replaces it.
                    "args": ["manager", "--leader-elect", "--datastore=etcd", "--disable-telemetry"],
                }] },
            },
        },
        "status": { "replicas": 1, "readyReplicas": 1, "availableReplicas": 1 },
    })
}

fn data_store(driver: &str, fleet: &Fleet) -> Value {
    let used_by = fleet.tenants().filter(|tenant| tenant.uses(driver));
    let used_by: Vec<_> = used_by.map(|tenant| format!("{NAMESPACE}/{}", tenant.name())).collect();
    json!({
        "metadata": { "name": driver.to_lowercase() },
        "spec": { "driver": driver, "endpoints": [format!("{}.{KAMAJI_NAMESPACE}.svc:2379", driver.to_lowercase())] },
        "status": { "ready": true, "usedBy": used_by },
    })
}
