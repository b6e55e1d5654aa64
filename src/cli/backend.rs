//! `kamaji-telemetry backend`: the server, and the commands that administer its store.

mod backup;
mod erase;
mod import;
mod insights;
mod installations;
mod migrate;
mod ready;
mod serve;
mod token;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::store_files::StoreFiles;
use crate::backend::StoreLocation;

#[derive(Debug, Args)]
pub(super) struct BackendArgs {
    #[command(subcommand)]
    command: BackendCommand,
}

#[derive(Debug, Subcommand)]
enum BackendCommand {
    /// Serve until a signal ends it.
    Serve(Box<serve::ServeArgs>),
    /// Wait until a backend that is serving, here or elsewhere, is ready.
    Ready(ready::ReadyArgs),
    /// Answer a question about the installations, with the rows of the API. The backend may be serving.
    Insights(insights::InsightsArgs),
    /// Look at installations, those outside of the figures included. The backend may be serving.
    Installations {
        #[command(subcommand)]
        command: installations::InstallationsCommand,
    },
    /// Delete all data of one installation, or of all that match filters. The backend may be serving.
    Erase(erase::EraseArgs),
    /// Back up the store into a new file, or into a directory of backups. The backend may be serving.
    Backup(backup::BackupArgs),
    /// Check a backup and replace the store with it. The backend must not be serving.
    Restore(backup::RestoreArgs),
    /// Import what the v1 server has stored of Kamaji's built-in telemetry. A backend may be serving a store in PostgreSQL; a store
    /// in a file must not be served.
    Import(import::ImportArgs),
    /// Move all rows of a store into another one: from a file into PostgreSQL, and back. The backend of the first may be
    /// serving until the last run.
    Migrate(migrate::MigrateArgs),
    /// Manage the tokens of readers. The backend may be serving.
    Token {
        #[command(subcommand)]
        command: token::TokenCommand,
    },
}

#[derive(Debug, Args)]
struct StoreArgs {
    /// Location of the store: sqlite:PATH, or for several backends `postgres://USER@HOST[:PORT][,HOST[:PORT]]/DATABASE`. The
    /// parameter `?sslmode=disable` turns TLS off.
    #[arg(long, env = "KAMAJI_TELEMETRY_STORE", default_value = "sqlite:kamaji-telemetry.db")]
    store: String,
    #[command(flatten)]
    files: StoreFiles,
}

/// Runs a command of the backend.
pub(super) async fn run(args: BackendArgs) -> anyhow::Result<()> {
    match args.command {
        BackendCommand::Serve(args) => serve::run(*args).await,
        BackendCommand::Ready(args) => ready::run(args).await,
        BackendCommand::Insights(args) => insights::run(args).await,
        BackendCommand::Installations { command } => installations::run(command).await,
        BackendCommand::Erase(args) => erase::run(args).await,
        BackendCommand::Backup(args) => backup::backup(args).await,
        BackendCommand::Restore(args) => backup::restore(args).await,
        BackendCommand::Import(args) => import::run(args).await,
        BackendCommand::Migrate(args) => migrate::run(args).await,
        BackendCommand::Token { command } => token::run(command).await,
    }
}

impl StoreArgs {
    fn location(&self) -> anyhow::Result<StoreLocation> {
        let Self { store, files } = self;
        let location = store.parse().context("--store")?;
        anyhow::ensure!(
            files.are_missing() || matches!(location, StoreLocation::Postgres(_)),
            "--store-password-file and --store-ca-file are for postgres://; the --store is a file of SQLite, which needs neither"
        );
        Ok(files.of(location))
    }
}

/// Parses a number of days with the suffix `d`. A retention below one day would delete a day before it is over, and no
/// query covers more than ten years.
fn days(text: &str) -> Result<u16, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
    days.filter(|days| (1..=3_650).contains(days)).ok_or_else(|| "expected days from 1d to 3650d, such as 400d".into())
}
