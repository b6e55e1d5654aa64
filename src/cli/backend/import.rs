//! `kamaji-telemetry backend import`

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;

use super::{StoreArgs, days};
use crate::backend::Retention;
use crate::backend::admin::import;
use crate::backend::store::PostgresAddress;
use crate::cli::print;

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// Database of the v1 server, which is read only: `postgres://USER@HOST[:PORT]/DATABASE`. The parameter
    /// `?sslmode=disable` turns TLS off.
    #[arg(long, value_name = "ADDRESS")]
    from: String,
    /// File of the password for --from [default: the file that PGPASSFILE names].
    #[arg(long, value_name = "FILE")]
    from_password_file: Option<PathBuf>,
    /// PEM file of the certificate authorities for --from [default: the system's].
    #[arg(long, value_name = "FILE")]
    from_ca_file: Option<PathBuf>,
    /// Retention of events, from 1d to 3650d. Older ones are left out.
    #[arg(long, env = "KAMAJI_TELEMETRY_RETENTION_EVENTS", default_value = "400d", value_parser = days)]
    retention_events: u16,
    /// Retention of installations that no longer report, from 1d to 3650d. Older ones are left out.
    #[arg(long, env = "KAMAJI_TELEMETRY_RETENTION_INSTALLATIONS", default_value = "400d", value_parser = days)]
    retention_installations: u16,
    #[command(flatten)]
    store: StoreArgs,
}

/// Imports the history of the v1 server, and prints how much it was.
pub(super) async fn run(args: ImportArgs) -> anyhow::Result<()> {
    let ImportArgs { from, from_password_file, from_ca_file, retention_events, retention_installations, store } = args;
    let mut from: PostgresAddress = from.parse().context("--from")?;
    (from.password_file, from.ca_file) = (from_password_file, from_ca_file);
    let retention =
        Retention { events: retention_events, installations: retention_installations, ..Retention::default() };
    print(&import::import(&from, store.location()?, retention.cutoffs(Timestamp::now())).await?)
}
