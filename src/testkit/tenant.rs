//! A simulated `TenantControlPlane`, and its object, which is as large as a real one.

mod managed_fields;
mod manifest;

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use serde_json::Value;

use crate::catalog::{NetworkProfile, Status};

/// The namespace of the simulated control planes.
pub const NAMESPACE: &str = "tenants";

/// The finalizer with which Kamaji delays the deletion of a control plane until its resources are deleted.
pub const FINALIZER: &str = "finalizer.kamaji.clastix.io";

/// A control plane, from which its object is derived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedControlPlane {
    name: String,
    created: Timestamp,
    version: String,
    /// The version that runs; `None` until the first start.
    installed: Option<String>,
    status: Status,
    driver: &'static str,
    network_profile: NetworkProfile,
    cluster_api: bool,
    team: usize,
}

impl SimulatedControlPlane {
    /// Creates a control plane that was just created in the cluster.
    pub fn new(name: impl Into<String>, created: Timestamp) -> Self {
        Self {
            name: name.into(),
            created,
            version: "v1.35.1".to_owned(),
            installed: None,
            status: Status::Provisioning,
            driver: "etcd",
            network_profile: NetworkProfile::LoadBalancer,
            cluster_api: false,
            team: 1,
        }
    }

    /// Sets the desired version.
    #[must_use]
    pub fn version(self, version: impl Into<String>) -> Self {
        Self { version: version.into(), ..self }
    }

    /// Sets the status, and installs the desired version.
    #[must_use]
    pub fn installed(self, status: Status) -> Self {
        Self { installed: Some(self.version.clone()), status, ..self }
    }

    /// Sets the driver of the datastore.
    #[must_use]
    pub fn driver(self, driver: &'static str) -> Self {
        Self { driver, ..self }
    }

    /// Sets the exposure of the API server.
    #[must_use]
    pub fn network_profile(self, network_profile: NetworkProfile) -> Self {
        Self { network_profile, ..self }
    }

    /// Sets whether Cluster API manages the control plane.
    #[must_use]
    pub fn cluster_api(self, cluster_api: bool) -> Self {
        Self { cluster_api, ..self }
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the desired version.
    pub fn desired(&self) -> &str {
        &self.version
    }

    /// Returns the status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Returns whether the datastore has this driver.
    pub fn uses(&self, driver: &str) -> bool {
        self.driver == driver
    }

    /// Begins an upgrade to another version.
    pub fn upgrade(&mut self, version: impl Into<String>) {
        self.version = version.into();
        self.status = Status::Upgrading;
    }

    /// Changes a label, and nothing else.
    pub fn relabel(&mut self) {
        self.team = self.team % 5 + 1;
    }

    /// Sets the status. [`Status::Ready`] installs the desired version as well.
    pub fn set_status(&mut self, status: Status) {
        self.status = status;
        if status == Status::Ready {
            self.installed = Some(self.version.clone());
        }
    }

    /// Returns the object as it is sent to the API server, about 9 kB of JSON.
    pub fn to_object(&self) -> Value {
        manifest::object(self)
    }

    /// Returns a stable checksum of a part, in the format of Kamaji's.
    fn checksum(&self, part: &str) -> String {
        let mut hasher = DefaultHasher::new();
        (&self.name, part).hash(&mut hasher);
        let first = hasher.finish();
        first.hash(&mut hasher);
        format!("{first:016x}{:016x}", hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_as_large_as_a_real_one() {
        let tenant = SimulatedControlPlane::new("tenant-01", Timestamp::UNIX_EPOCH).installed(Status::Ready);
        let bytes = tenant.to_object().to_string().len();
        assert!((8_500..=9_500).contains(&bytes), "{bytes} bytes, expected about 9 kB");
    }

    #[test]
    fn an_object_has_versions_and_status_in_the_fields_that_the_agent_reads() {
        let mut tenant =
            SimulatedControlPlane::new("tenant-01", Timestamp::UNIX_EPOCH).version("v1.34.3").installed(Status::Ready);
        tenant.upgrade("v1.35.1");
        let object = tenant.to_object();
        assert_eq!(object["spec"]["kubernetes"]["version"], "v1.35.1");
        let resources = &object["status"]["kubernetesResources"]["version"];
        assert_eq!((&resources["status"], &resources["version"]), (&"Upgrading".into(), &"v1.34.3".into()));
    }
}
