//! `kamaji-telemetry backend ready`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::backend::admin::ready::{self, BackendUrl};
use crate::cli::{interval, print};

#[derive(Debug, Args)]
pub(super) struct ReadyArgs {
    /// URL of the backend's HTTP port: scheme, host and port, without a path.
    url: BackendUrl,
    /// PEM file of the certificate that the backend presents, such as that of its Secret. Required by an https:// URL. The
    /// certificate itself is compared, not its names and its authority.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Time after which the command fails, from 1s to 24h. A kubelet takes up to two minutes to replace the files of a
    /// renewed certificate.
    #[arg(long, default_value = "2m", value_parser = interval)]
    timeout: Duration,
}

/// Waits until the backend is ready.
pub(super) async fn run(args: ReadyArgs) -> anyhow::Result<()> {
    let ReadyArgs { url, certificate, timeout } = args;
    print(&ready::ready(url, certificate, timeout).await?)
}
