//! etcd, for one API server.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::process::{Launch, Process, free_address, tool_path};
use super::web;

/// The folder of the data, within that of the process.
const DATA: &str = "data";

/// A single etcd without TLS.
pub(crate) struct Etcd {
    process: Process,
    client: SocketAddr,
}

impl Etcd {
    /// Starts an empty etcd and waits until it is healthy.
    pub(crate) async fn start() -> Self {
        let launch = |folder: &Path| {
            let (client, peer) = (free_address(), free_address());
            let arguments = vec![
                format!("--data-dir={}", folder.join(DATA).display()),
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
        let (process, client) = Process::start(launch, async |client: &SocketAddr| is_healthy(*client).await).await;
        Self { process, client }
    }

    /// Returns the URL for clients.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.client)
    }

    /// Kills etcd.
    pub(super) fn stop(&mut self) {
        self.process.stop();
    }

    /// Starts etcd again on the same ports with the data that is there, and waits until it is healthy.
    pub(super) async fn resume(&mut self) {
        let client = self.client;
        self.process.resume(async || is_healthy(client).await).await;
    }

    /// Copies the data of a stopped etcd into a new folder beside it, which it returns.
    pub(super) fn back_up(&self, name: &str) -> PathBuf {
        let backup = self.process.folder().join(name);
        copy_folder(&self.data(), &backup).expect("the data can be copied");
        backup
    }

    /// Replaces the data of a stopped etcd with a backup.
    pub(super) fn restore(&self, backup: &Path) {
        fs::remove_dir_all(self.data()).and_then(|()| copy_folder(backup, &self.data())).expect("it can be replaced");
    }

    fn data(&self) -> PathBuf {
        self.process.folder().join(DATA)
    }
}

async fn is_healthy(client: SocketAddr) -> bool {
    web::answers_ok(&format!("http://{client}"), "/health").await
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_folder(&from, &to)?;
        } else {
            fs::copy(from, to)?;
        }
    }
    Ok(())
}
