//! The client of the API server, and the deadline of its requests.

use std::time::Duration;

use anyhow::Context;
use kube::Client;

/// The limit on opening a connection to the API server. A healthy one in the same cluster takes milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The limit on a blocked write: the same as for opening a connection.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// The limit on a request that is no watch. The API server itself gives up after 60 s, and the agent's requests are
/// small.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Creates a client for the cluster of `config`, or else of the environment: `KUBECONFIG`, then the service account of
/// the pod. No connection is opened yet.
///
/// # Errors
///
/// Fails if the environment names no cluster, or if the configuration cannot be used.
pub async fn connect(config: Option<kube::Config>) -> anyhow::Result<Client> {
    let mut config = match config {
        Some(config) => config,
        None => kube::Config::infer()
            .await
            .context("no cluster to watch: set KUBECONFIG, or run in a pod with a service account token")?,
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
    // A retry inside the client would hide an outage for minutes. Every loop of the agent backs off by itself and logs
    // the reason.
    config.default_retry = false;
    Client::try_from(config).context("the cluster's configuration can't be used")
}

/// Runs `request`, and fails with a timeout after [`REQUEST_TIMEOUT`].
pub(in crate::agent) async fn within_deadline<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    tokio::time::timeout(REQUEST_TIMEOUT, request).await.unwrap_or_else(|_| {
        let message = format!("no answer within {} s", REQUEST_TIMEOUT.as_secs());
        Err(kube::Error::Service(std::io::Error::new(std::io::ErrorKind::TimedOut, message).into()))
    })
}
