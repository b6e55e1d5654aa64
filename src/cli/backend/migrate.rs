//! `kamaji-telemetry backend migrate`

use anyhow::Context;
use clap::Args;

use crate::backend::admin::migrate::{self, Migrated, MigrationEnd};
use crate::cli::store_files::StoreFiles;
use crate::cli::{IncompleteError, print};

#[derive(Debug, Args)]
pub(super) struct MigrateArgs {
    /// Location of the store whose rows are moved. No row of it is changed or deleted.
    #[arg(long, value_name = "STORE")]
    from: String,
    /// Location of the store that becomes equal to it. It is made if there is none; no backend may serve it.
    #[arg(long, value_name = "STORE")]
    to: String,
    #[command(flatten)]
    files: StoreFiles,
}

/// Moves rows, and prints the rows of both stores. Fails if they differ, or if somebody served the source.
pub(super) async fn run(args: MigrateArgs) -> anyhow::Result<()> {
    let MigrateArgs { from, to, files } = args;
    let from = files.of(from.parse().context("--from")?);
    let to = files.of(to.parse().context("--to")?);
    let Migrated { text, end } = migrate::migrate(&from, &to).await?;
    print(&text)?;
    match end {
        MigrationEnd::Complete => Ok(()),
        MigrationEnd::Served(problem) => Err(IncompleteError(problem.to_owned()).into()),
        MigrationEnd::Different(problem) => Err(anyhow::Error::msg(problem)),
    }
}
