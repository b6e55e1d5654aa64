//! The client of the API server, and the deadline of its requests.

use std::time::Duration;

use anyhow::anyhow;
use kube::Client;
use kube::client::RustlsTlsError;
use kube::config::{KubeconfigError, LoadDataError};

use super::{auth_error, kubeconfig};
use crate::agent::error_chain;

/// The limit on opening a connection to the API server. A healthy one in the same cluster takes milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The limit on a blocked write: the same as for opening a connection.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// The limit on a request that is no watch. The API server itself gives up after 60 s, and the agent's requests are
/// small.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Creates a client for the cluster of `config`, or else of the environment: the kubeconfig, then the service account of
/// the pod. No connection is opened yet, and the proxy is the one that kubectl would use.
///
/// # Errors
///
/// Fails if the environment names no cluster, or if the configuration cannot be used.
pub async fn connect(config: Option<kube::Config>) -> anyhow::Result<Client> {
    let mut config = match config {
        Some(config) => config,
        None => kubeconfig::load()?,
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
    // A retry inside the client would hide an outage for minutes. Every loop of the agent backs off by itself and logs
    // the reason.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| anyhow!("{}", unusable(&error)))
}

/// Describes a configuration that can't be used. kube's own texts may repeat credentials, or parts of their files.
fn unusable(error: &kube::Error) -> String {
    match error {
        kube::Error::Auth(error) => auth_error::describe(error),
        kube::Error::InferKubeconfig(KubeconfigError::LoadClientCertificate(error)) => {
            unloadable("client-certificate", error)
        }
        kube::Error::InferKubeconfig(KubeconfigError::LoadClientKey(error)) => unloadable("client-key", error),
        kube::Error::RustlsTls(
            RustlsTlsError::InvalidIdentityPem(_)
            | RustlsTlsError::MissingPrivateKey
            | RustlsTlsError::MissingCertificate
            | RustlsTlsError::InvalidPrivateKey(_)
            | RustlsTlsError::UnknownPrivateKeyFormat,
        ) => "the client-certificate and the client-key of the kubeconfig are no pair: expected PEM".to_owned(),
        error => format!("the configuration of the API server can't be used: {}", error_chain::text(error)),
    }
}

fn unloadable(name: &str, error: &LoadDataError) -> String {
    match error {
        LoadDataError::DecodeBase64(_) => format!("the {name}-data of the kubeconfig is no base64"),
        LoadDataError::ReadFile(error, path) => {
            format!("the {name} {} of the kubeconfig can't be read: {error}", path.display())
        }
        LoadDataError::NoBase64DataOrFile => format!("the kubeconfig has no {name}"),
    }
}

/// Runs `request`, and fails with a timeout after [`REQUEST_TIMEOUT`].
pub(in crate::agent) async fn within_deadline<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    tokio::time::timeout(REQUEST_TIMEOUT, request).await.unwrap_or_else(|_| Err(no_answer()))
}

/// Returns the error of a request that had no answer within [`REQUEST_TIMEOUT`].
pub(super) fn no_answer() -> kube::Error {
    let message = format!("no answer within {} s", REQUEST_TIMEOUT.as_secs());
    kube::Error::Service(std::io::Error::new(std::io::ErrorKind::TimedOut, message).into())
}
