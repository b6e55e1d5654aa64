//! The kinds of objects that the simulated API serves.

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `TenantControlPlane` of Kamaji.
    TenantControlPlane,
    /// `DataStore` of Kamaji, the only cluster-scoped kind here.
    DataStore,
    /// `Deployment`.
    Deployment,
    /// `ConfigMap`.
    ConfigMap,
    /// `Lease`.
    Lease,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::TenantControlPlane, Self::DataStore, Self::Deployment, Self::ConfigMap, Self::Lease];

    /// Returns the `kind` of an object.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TenantControlPlane => "TenantControlPlane",
            Self::DataStore => "DataStore",
            Self::Deployment => "Deployment",
            Self::ConfigMap => "ConfigMap",
            Self::Lease => "Lease",
        }
    }

    /// Returns the plural, as in the path of a URL.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::TenantControlPlane => "tenantcontrolplanes",
            Self::DataStore => "datastores",
            Self::Deployment => "deployments",
            Self::ConfigMap => "configmaps",
            Self::Lease => "leases",
        }
    }

    /// Returns the API group, which is empty for the core group.
    pub const fn group(self) -> &'static str {
        match self {
            Self::TenantControlPlane | Self::DataStore => "kamaji.clastix.io",
            Self::Deployment => "apps",
            Self::ConfigMap => "",
            Self::Lease => "coordination.k8s.io",
        }
    }

    /// Returns the `apiVersion` of an object.
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::TenantControlPlane | Self::DataStore => "kamaji.clastix.io/v1alpha1",
            Self::Deployment => "apps/v1",
            Self::ConfigMap => "v1",
            Self::Lease => "coordination.k8s.io/v1",
        }
    }

    /// Returns whether the kind is namespaced.
    pub const fn is_namespaced(self) -> bool {
        !matches!(self, Self::DataStore)
    }

    /// Returns the path below which the kind is served.
    pub fn base_path(self) -> String {
        let root = if self.group().is_empty() { "/api" } else { "/apis" };
        format!("{root}/{}", self.api_version())
    }

    /// Returns the plural with its group, as in the messages of an API server.
    pub fn qualified(self) -> String {
        match self.group() {
            "" => self.plural().to_owned(),
            group => format!("{}.{group}", self.plural()),
        }
    }

    /// Returns whether a replacement may omit `metadata.resourceVersion`. A real API server decides that by kind.
    pub(super) const fn allows_unconditional_update(self) -> bool {
        matches!(self, Self::Deployment | Self::ConfigMap)
    }

    /// Returns whether the API server counts changes of `spec` in `metadata.generation`.
    pub(super) const fn has_generation(self) -> bool {
        matches!(self, Self::TenantControlPlane | Self::DataStore | Self::Deployment)
    }
}
