//! `kamaji-telemetry backend migrate`

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::backend::StoreLocation;
use crate::backend::admin::migrate::{self, Migrated};
use crate::cli::print;

#[derive(Debug, Args)]
pub(super) struct MigrateArgs {
    /// Location of the store whose rows are moved. It is only read, and stays as it is.
    #[arg(long, value_name = "STORE")]
    from: String,
    /// Location of the store that becomes equal to it. It is made if there is none; no backend may serve it.
    #[arg(long, value_name = "STORE")]
    to: String,
    /// File of the password of PostgreSQL [default: the file that PGPASSFILE names].
    #[arg(long, env = "KAMAJI_TELEMETRY_STORE_PASSWORD_FILE", value_name = "FILE")]
    store_password_file: Option<PathBuf>,
    /// PEM file of the certificate authorities of PostgreSQL [default: the system's].
    #[arg(long, env = "KAMAJI_TELEMETRY_STORE_CA_FILE", value_name = "FILE")]
    store_ca_file: Option<PathBuf>,
}

/// Moves rows, and prints the rows of both stores. Fails if they differ although nobody served the source.
pub(super) async fn run(args: MigrateArgs) -> anyhow::Result<()> {
    let from = args.location(&args.from).context("--from")?;
    let to = args.location(&args.to).context("--to")?;
    let Migrated { text, difference } = migrate::migrate(&from, &to).await?;
    print(&text)?;
    match difference {
        Some(difference) => Err(anyhow::Error::msg(difference)),
        None => Ok(()),
    }
}

impl MigrateArgs {
    /// Parses a location. The files are for each store that is a database.
    fn location(&self, text: &str) -> anyhow::Result<StoreLocation> {
        let mut location = text.parse()?;
        if let StoreLocation::Postgres(address) = &mut location {
            address.password_file.clone_from(&self.store_password_file);
            address.ca_file.clone_from(&self.store_ca_file);
        }
        Ok(location)
    }
}
