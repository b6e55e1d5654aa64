//! `kamaji-telemetry backend erase`

use clap::Args;
use uuid::Uuid;

use super::StoreArgs;
use crate::backend::admin;
use crate::cli::print;

#[derive(Debug, Args)]
pub(super) struct EraseArgs {
    /// UUID of the installation. For one that Kamaji's built-in telemetry reports, the UID of its Service
    /// default/kubernetes.
    #[arg(value_name = "UUID")]
    installation: Uuid,
    #[command(flatten)]
    store: StoreArgs,
}

/// Deletes the installation's data and prints how much it was.
pub(super) async fn run(args: EraseArgs) -> anyhow::Result<()> {
    let EraseArgs { installation, store } = args;
    print(&admin::erase(store.location()?, installation).await?)
}
