//! A simulated control plane: what of it changes in the demo, and the object of real size that tells it.

mod body;
mod managed_fields;

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use serde_json::Value;

use crate::catalog::{NetworkProfile, Status};

/// The namespace that the simulated control planes live in.
pub const NAMESPACE: &str = "tenants";

/// The finalizer with which Kamaji holds a control plane until its resources are gone.
pub const FINALIZER: &str = "finalizer.kamaji.clastix.io";

/// A control plane, before it is an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    name: String,
    created: Timestamp,
    version: String,
    /// The version that runs; none until it first came up.
    installed: Option<String>,
    status: Status,
    driver: &'static str,
    exposure: NetworkProfile,
    cluster_api: bool,
    team: usize,
}

impl Tenant {
    /// A control plane that Kamaji has just seen.
    pub fn new(name: impl Into<String>, created: Timestamp) -> Self {
        Self {
            name: name.into(),
            created,
            version: "v1.35.1".to_owned(),
            installed: None,
            status: Status::Provisioning,
            driver: "etcd",
            exposure: NetworkProfile::LoadBalancer,
            cluster_api: false,
            team: 1,
        }
    }

    /// With this desired version.
    #[must_use]
    pub fn version(self, version: impl Into<String>) -> Self {
        Self { version: version.into(), ..self }
    }

    /// Up: with this status, and its desired version installed.
    #[must_use]
    pub fn installed(self, status: Status) -> Self {
        Self { installed: Some(self.version.clone()), status, ..self }
    }

    /// With a datastore of this driver.
    #[must_use]
    pub fn driver(self, driver: &'static str) -> Self {
        Self { driver, ..self }
    }

    /// Exposed like this.
    #[must_use]
    pub fn exposure(self, exposure: NetworkProfile) -> Self {
        Self { exposure, ..self }
    }

    /// Made through Cluster API, or not.
    #[must_use]
    pub fn cluster_api(self, cluster_api: bool) -> Self {
        Self { cluster_api, ..self }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its desired version.
    pub fn desired(&self) -> &str {
        &self.version
    }

    /// Its status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Whether its datastore is of this driver.
    pub fn uses(&self, driver: &str) -> bool {
        self.driver == driver
    }

    /// Asks for another version: Kamaji upgrades it.
    pub fn upgrade(&mut self, version: impl Into<String>) {
        self.version = version.into();
        self.status = Status::Upgrading;
    }

    /// Gives it to another team: a change of a label and of nothing else.
    pub fn relabel(&mut self) {
        self.team = self.team % 5 + 1;
    }

    /// Sets its status; with [`Status::Ready`] the desired version is the one that runs.
    pub fn become_(&mut self, status: Status) {
        self.status = status;
        if status == Status::Ready {
            self.installed = Some(self.version.clone());
        }
    }

    /// The object as the API server keeps it, about 9 kB of JSON, without what the API server adds itself.
    pub fn to_object(&self) -> Value {
        body::object(self)
    }

    /// A checksum as Kamaji writes them, the same each time for the same thing.
    fn checksum(&self, of: &str) -> String {
        let mut hasher = DefaultHasher::new();
        (&self.name, of).hash(&mut hasher);
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
        let tenant = Tenant::new("tenant-01", Timestamp::UNIX_EPOCH).installed(Status::Ready);
        let bytes = tenant.to_object().to_string().len();
        assert!((8_500..=9_500).contains(&bytes), "{bytes} bytes, expected about 9 kB");
    }

    #[test]
    fn an_object_says_where_the_agent_looks_what_the_control_plane_is() {
        let mut tenant = Tenant::new("tenant-01", Timestamp::UNIX_EPOCH).version("v1.34.3").installed(Status::Ready);
        tenant.upgrade("v1.35.1");
        let object = tenant.to_object();
        assert_eq!(object["spec"]["kubernetes"]["version"], "v1.35.1");
        let resources = &object["status"]["kubernetesResources"]["version"];
        assert_eq!((&resources["status"], &resources["version"]), (&"Upgrading".into(), &"v1.34.3".into()));
    }
}
