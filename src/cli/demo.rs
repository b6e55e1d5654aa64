//! `kamaji-telemetry demo`

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::process;
use crate::testkit::demo;

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Directory that keeps the demo's data [default: a temporary directory, which is deleted at the end].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address that serves the web page [default: 127.0.0.1:4318, or another port if that one is in use].
    #[arg(long, value_name = "ADDRESS")]
    http_addr: Option<SocketAddr>,
    /// Program of an OpenTelemetry Collector to run as the relay between agent and backend [default: no relay].
    #[arg(long, value_name = "PATH")]
    collector: Option<PathBuf>,
}

/// Runs the demo until a signal ends it.
pub(super) async fn run(args: DemoArgs) -> anyhow::Result<()> {
    let shutdown = process::shutdown::shutdown_on_signals()?;
    let DemoArgs { data, collector, http_addr } = args;
    demo::run(demo::Config { data, collector, http_addr }, shutdown).await
}
