//! The management cluster: control planes as a stream of what is seen, Kamaji's operator, and versions.

pub mod datastores;
pub mod api_error;
pub mod operator;
pub mod owner;
mod lenient;
mod tenant_control_plane;
pub mod watch;

use std::time::Duration;

use anyhow::Context;
use kube::Client;

use super::consent::KamajiOptOut;
use super::journal::ComponentVersions;
use crate::catalog::{KamajiVersion, KubernetesVersion};
use operator::{Operator, OperatorError};

/// How long a connection to the API server may take to open. A healthy one in the same cluster takes milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a write may block: as long as a connection may take to open.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one request that is no watch may take. The API server itself gives up on one after 60 s; ours are small.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// A client for the cluster of `config`, or else of the environment: `KUBECONFIG`, then the pod's service account.
pub async fn connect(config: Option<kube::Config>) -> anyhow::Result<Client> {
    let mut config = match config {
        Some(config) => config,
        None => kube::Config::infer()
            .await
            .context("no cluster to watch: set KUBECONFIG, or run in a pod with a service account token")?,
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
    // A retry in the client would hide an outage for minutes; every loop here backs off by itself and says why.
    config.default_retry = false;
    Client::try_from(config).context("the cluster's configuration can't be used")
}

/// What can change without the control planes changing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Kamaji's operator.
    pub operator: Result<Operator, OperatorError>,
    /// The last version of it that was known.
    kamaji_version: KamajiVersion,
    /// The last version of the management cluster that was known.
    kubernetes_version: KubernetesVersion,
}

/// Looks at Kamaji's operator in `kamaji_namespace` and, unless that turns telemetry off, at the management cluster's
/// version: while it is off, nothing else is asked of the API server.
pub async fn look(client: &Client, kamaji_namespace: &str, flag: KamajiOptOut) -> ClusterInfo {
    let operator = operator::look(client, kamaji_namespace).await;
    let kubernetes_version = match flag.off(&operator) {
        Some(_) => KubernetesVersion::Unknown,
        None => kubernetes_version(client).await,
    };
    let kamaji_version = operator.as_ref().map_or(KamajiVersion::Unknown, |operator| operator.version);
    ClusterInfo { operator, kamaji_version, kubernetes_version }
}

async fn kubernetes_version(client: &Client) -> KubernetesVersion {
    let info = within_deadline(client.apiserver_version()).await;
    info.map_or(KubernetesVersion::Unknown, |info| KubernetesVersion::normalise(&info.git_version))
}

impl ClusterInfo {
    /// Before anything was seen.
    pub fn nothing(kamaji_namespace: &str) -> Self {
        Self {
            operator: Err(OperatorError::NotFound { namespace: kamaji_namespace.to_owned() }),
            kamaji_version: KamajiVersion::Unknown,
            kubernetes_version: KubernetesVersion::Unknown,
        }
    }

    /// This look, with the versions that it could not read taken from the one before.
    #[must_use]
    pub fn after(self, last: &Self) -> Self {
        Self {
            kamaji_version: match self.kamaji_version {
                KamajiVersion::Unknown if self.operator.is_err() => last.kamaji_version,
                version => version,
            },
            kubernetes_version: match self.kubernetes_version {
                KubernetesVersion::Unknown => last.kubernetes_version,
                version @ KubernetesVersion::Release(_) => version,
            },
            ..self
        }
    }

    /// The cluster could not be read: the next look may say something else.
    pub fn is_transient(&self) -> bool {
        self.operator.as_ref().is_err_and(OperatorError::is_transient)
    }

    /// The versions, with Kamaji's replaced by `given` where there is one.
    pub fn versions(&self, given: Option<KamajiVersion>) -> ComponentVersions {
        ComponentVersions { kamaji: given.unwrap_or(self.kamaji_version), kubernetes: self.kubernetes_version }
    }
}

/// Bounds a request by [`REQUEST_TIMEOUT`].
pub(super) async fn within_deadline<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    tokio::time::timeout(REQUEST_TIMEOUT, request).await.unwrap_or_else(|_| {
        let message = format!("no answer within {} s", REQUEST_TIMEOUT.as_secs());
        Err(kube::Error::Service(std::io::Error::new(std::io::ErrorKind::TimedOut, message).into()))
    })
}
