//! `kamaji-telemetry backend backup` and `kamaji-telemetry backend restore`

use std::path::PathBuf;

use clap::{Args, value_parser};

use super::StoreArgs;
use crate::backend::admin;
use crate::cli::print;

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// File of the backup, which must not exist yet.
    #[arg(required_unless_present = "directory", conflicts_with = "directory")]
    file: Option<PathBuf>,
    /// Directory of backups. The new one is named after the time, such as telemetry-20261124T031500Z.db.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Number of backups to retain in the directory, from 1 to 1000. Older ones are deleted once the new one is
    /// complete.
    #[arg(
        long,
        value_name = "N",
        default_value = "7",
        requires = "directory",
        conflicts_with = "file",
        value_parser = value_parser!(u16).range(1..=1_000)
    )]
    retain: u16,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// File of the backup.
    file: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
}

/// Backs up the store, and prints the path of the backup.
pub(super) async fn backup(args: BackupArgs) -> anyhow::Result<()> {
    let BackupArgs { file, directory, retain, store } = args;
    let store = store.location()?;
    print(&match (file, directory) {
        (Some(file), _) => admin::backup(store, file).await?,
        (None, Some(directory)) => admin::backup_into(store, directory, retain).await?,
        (None, None) => anyhow::bail!("there is nowhere to back up to: expected FILE, or --directory DIR"),
    })
}

/// Replaces the store with a backup.
pub(super) async fn restore(args: RestoreArgs) -> anyhow::Result<()> {
    let RestoreArgs { file, store } = args;
    print(&admin::restore(store.location()?, file).await?)
}
