//! The management cluster: control planes as a stream of what is seen, Kamaji's operator, and versions.

pub mod datastores;
pub mod failure;
pub mod operator;
mod projection;
pub mod watch;

use std::time::Duration;

use anyhow::Context;
use kube::Client;

use crate::signals::KubernetesVersion;

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

/// The version of the management cluster.
pub async fn kubernetes_version(client: &Client) -> Result<KubernetesVersion, kube::Error> {
    let info = within_deadline(client.apiserver_version()).await?;
    Ok(KubernetesVersion::normalise(&info.git_version))
}

/// Bounds a request by [`REQUEST_TIMEOUT`].
async fn within_deadline<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    tokio::time::timeout(REQUEST_TIMEOUT, request).await.unwrap_or_else(|_| {
        let message = format!("no answer within {} s", REQUEST_TIMEOUT.as_secs());
        Err(kube::Error::Service(std::io::Error::new(std::io::ErrorKind::TimedOut, message).into()))
    })
}
