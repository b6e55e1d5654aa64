//! The kinds of objects that the simulated API serves.

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `TenantControlPlane` of Kamaji.
    TenantControlPlane,
    /// `DataStore` of Kamaji, the one kind here that lives in no namespace.
    DataStore,
    /// `Deployment`.
    Deployment,
    /// `ConfigMap`.
    ConfigMap,
    /// `Lease`.
    Lease,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::TenantControlPlane, Self::DataStore, Self::Deployment, Self::ConfigMap, Self::Lease];

    /// The word in `kind` of an object.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TenantControlPlane => "TenantControlPlane",
            Self::DataStore => "DataStore",
            Self::Deployment => "Deployment",
            Self::ConfigMap => "ConfigMap",
            Self::Lease => "Lease",
        }
    }

    /// The word in the path of a URL.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::TenantControlPlane => "tenantcontrolplanes",
            Self::DataStore => "datastores",
            Self::Deployment => "deployments",
            Self::ConfigMap => "configmaps",
            Self::Lease => "leases",
        }
    }

    /// The API group; empty for the core group.
    pub const fn group(self) -> &'static str {
        match self {
            Self::TenantControlPlane | Self::DataStore => "kamaji.clastix.io",
            Self::Deployment => "apps",
            Self::ConfigMap => "",
            Self::Lease => "coordination.k8s.io",
        }
    }

    /// The word in `apiVersion` of an object.
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::TenantControlPlane | Self::DataStore => "kamaji.clastix.io/v1alpha1",
            Self::Deployment => "apps/v1",
            Self::ConfigMap => "v1",
            Self::Lease => "coordination.k8s.io/v1",
        }
    }

    /// Whether objects live in a namespace.
    pub const fn namespaced(self) -> bool {
        !matches!(self, Self::DataStore)
    }

    /// The path below which the kind is served.
    pub fn base_path(self) -> String {
        let root = if self.group().is_empty() { "/api" } else { "/apis" };
        format!("{root}/{}", self.api_version())
    }

    /// The plural with its group, as messages name a kind.
    pub fn qualified(self) -> String {
        match self.group() {
            "" => self.plural().to_owned(),
            group => format!("{}.{group}", self.plural()),
        }
    }

    /// Whether a replacement may leave `metadata.resourceVersion` out, as for each kind a real API server decides.
    pub(super) const fn replaces_unconditionally(self) -> bool {
        matches!(self, Self::Deployment | Self::ConfigMap)
    }

    /// Whether the API server counts changes of `spec` in `metadata.generation`.
    pub(super) const fn counts_generations(self) -> bool {
        matches!(self, Self::TenantControlPlane | Self::DataStore | Self::Deployment)
    }
}
