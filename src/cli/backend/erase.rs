//! `kamaji-telemetry backend erase`

use clap::{Args, Subcommand};
use uuid::Uuid;

use super::StoreArgs;
use super::installations::{EventFilterArgs, InstallationFilterArgs};
use crate::backend::admin;
use crate::cli::print;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct EraseArgs {
    /// UUID of the installation. For one that Kamaji's built-in telemetry reports, the UID of its Service
    /// default/kubernetes.
    #[arg(value_name = "UUID", required = true)]
    installation: Option<Uuid>,
    #[command(flatten)]
    store: StoreArgs,
    #[command(subcommand)]
    matching: Option<EraseCommand>,
}

#[derive(Debug, Subcommand)]
pub(super) enum EraseCommand {
    /// Delete all installations that match filters.
    Installations(EraseInstallationsArgs),
    /// Delete all events that match filters.
    Events(EraseEventsArgs),
}

#[derive(Debug, Args)]
pub(super) struct EraseInstallationsArgs {
    #[command(flatten)]
    filter: InstallationFilterArgs,
    /// Count what would be deleted, and delete nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
pub(super) struct EraseEventsArgs {
    #[command(flatten)]
    filter: EventFilterArgs,
    /// Count what would be deleted, and delete nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Deletes data and prints how much it was.
pub(super) async fn run(args: EraseArgs) -> anyhow::Result<()> {
    let EraseArgs { installation, store, matching } = args;
    print(&match (matching, installation) {
        (Some(EraseCommand::Installations(EraseInstallationsArgs { filter, dry_run, store })), _) => {
            admin::rows::erase_installations(store.location()?, filter.into_filter(), dry_run).await?
        }
        (Some(EraseCommand::Events(EraseEventsArgs { filter, dry_run, store })), _) => {
            admin::rows::erase_events(store.location()?, filter.into_filter(), dry_run).await?
        }
        (None, Some(installation)) => admin::erase(store.location()?, installation).await?,
        (None, None) => anyhow::bail!("nothing to erase is named: expected UUID, `installations` or `events`"),
    })
}
