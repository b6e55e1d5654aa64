//! Facts about the management cluster that can change without a TenantControlPlane changing.

use kube::Client;

use super::client::within_deadline;
use super::operator::{self, Operator, OperatorError, OperatorLocation};

use crate::catalog::{KamajiVersion, KubernetesVersion};
use crate::process::log_throttle::LogThrottle;

/// The versions that every metric and every event carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComponentVersions {
    /// The version of Kamaji.
    pub kamaji: KamajiVersion,
    /// The version of Kubernetes in the management cluster.
    pub kubernetes: KubernetesVersion,
}

/// Kamaji's operator and the versions of Kamaji and Kubernetes, as of one poll of the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Kamaji's operator, or the reason why it is unknown.
    pub operator: Result<Operator, OperatorError>,
    /// The last known version of Kamaji.
    kamaji_version: KamajiVersion,
    /// The last known version of the management cluster.
    kubernetes_version: KubernetesVersion,
}

/// Reads Kamaji's operator in `location`, and the version of the management cluster if `needs_version` returns
/// true for that operator.
///
/// While telemetry is off, the operator is the only thing that the agent may request from the API server. The caller
/// decides that, because consent is no concern of this module.
pub async fn read_cluster_info(
    client: &Client,
    location: &OperatorLocation,
    needs_version: impl FnOnce(&Result<Operator, OperatorError>) -> bool,
) -> ClusterInfo {
    let operator = operator::find(client, location).await;
    let kubernetes_version =
        if needs_version(&operator) { read_kubernetes_version(client).await } else { KubernetesVersion::Unknown };
    let kamaji_version = match &operator {
        Ok(operator) => operator.version,
        Err(error) => error.version().map_or(KamajiVersion::Unknown, |(version, _)| version),
    };
    ClusterInfo { operator, kamaji_version, kubernetes_version }
}

async fn read_kubernetes_version(client: &Client) -> KubernetesVersion {
    static THROTTLE: LogThrottle = LogThrottle::hourly();
    match within_deadline(client.apiserver_version()).await {
        Ok(info) => {
            THROTTLE.recovered(|| tracing::info!("the version of the API server can be read again"));
            KubernetesVersion::normalize(&info.git_version)
        }
        Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403) => {
            THROTTLE.failed(|_| {
                tracing::warn!(
                    code = status.code,
                    "the API server refuses its version, which is unknown until then; a ClusterRole with \
                     {{nonResourceURLs: [/version], verbs: [get]}} allows it"
                );
            });
            KubernetesVersion::Unknown
        }
        // A server that can't be reached is told by the requests that matter more.
        Err(_) => KubernetesVersion::Unknown,
    }
}

impl ClusterInfo {
    /// Creates the value that stands for a cluster that was not polled yet.
    pub fn unknown(location: &OperatorLocation) -> Self {
        Self {
            operator: Err(OperatorError::NotFound { location: location.clone(), found: Vec::new() }),
            kamaji_version: KamajiVersion::Unknown,
            kubernetes_version: KubernetesVersion::Unknown,
        }
    }

    /// Replaces each version that this poll could not read by the one in `previous`.
    ///
    /// An operator that was read and has no recognisable version is unknown from then on; only a failure to read it
    /// leaves the previous version in force.
    #[must_use]
    pub fn inherit_versions(self, previous: &Self) -> Self {
        Self {
            kamaji_version: match self.kamaji_version {
                KamajiVersion::Unknown if self.operator.is_err() => previous.kamaji_version,
                version => version,
            },
            kubernetes_version: match self.kubernetes_version {
                KubernetesVersion::Unknown => previous.kubernetes_version,
                version => version,
            },
            ..self
        }
    }

    /// Returns whether the API server could not be reached, so that the next poll may yield another result.
    pub fn is_transient(&self) -> bool {
        self.operator.as_ref().is_err_and(OperatorError::is_transient)
    }

    /// Returns the versions, with Kamaji's replaced by `kamaji_version` if that is set.
    pub fn versions(&self, kamaji_version: Option<KamajiVersion>) -> ComponentVersions {
        ComponentVersions { kamaji: kamaji_version.unwrap_or(self.kamaji_version), kubernetes: self.kubernetes_version }
    }
}
