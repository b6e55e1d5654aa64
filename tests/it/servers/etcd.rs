//! etcd, for one API server.

use std::net::SocketAddr;

use super::process::{Launch, Process, free_address, tool_path};
use super::web;

/// A single etcd without TLS.
pub(crate) struct Etcd {
    _process: Process,
    client: SocketAddr,
}

impl Etcd {
    /// Starts an empty etcd and waits until it is healthy.
    pub(crate) async fn start() -> Self {
        let launch = |folder: &std::path::Path| {
            let (client, peer) = (free_address(), free_address());
            let arguments = vec![
                format!("--data-dir={}", folder.join("data").display()),
                format!("--listen-client-urls=http://{client}"),
                format!("--advertise-client-urls=http://{client}"),
                format!("--listen-peer-urls=http://{peer}"),
                format!("--initial-advertise-peer-urls=http://{peer}"),
                format!("--initial-cluster=default=http://{peer}"),
                // Its data needs to outlive no power failure.
                "--unsafe-no-fsync".to_owned(),
                "--log-level=warn".to_owned(),
            ];
            (Launch { program: tool_path("etcd"), arguments, environment: Vec::new() }, client)
        };
        let ready = async |client: &SocketAddr| web::answers_ok(&format!("http://{client}"), "/health").await;
        let (process, client) = Process::start(launch, ready).await;
        Self { _process: process, client }
    }

    /// Returns the URL for clients.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.client)
    }
}
