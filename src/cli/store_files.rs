//! The files of a store in PostgreSQL.

use std::path::PathBuf;

use clap::Args;

use crate::backend::StoreLocation;

/// The files by which PostgreSQL is reached, for every command with a store.
#[derive(Debug, Args)]
pub(super) struct StoreFiles {
    /// File of the password of PostgreSQL, read for each connection [default: the file that PGPASSFILE names].
    #[arg(long, env = "KAMAJI_TELEMETRY_STORE_PASSWORD_FILE", value_name = "FILE")]
    store_password_file: Option<PathBuf>,
    /// PEM file of the certificate authorities of PostgreSQL, read for each connection [default: the system's].
    #[arg(long, env = "KAMAJI_TELEMETRY_STORE_CA_FILE", value_name = "FILE")]
    store_ca_file: Option<PathBuf>,
}

impl StoreFiles {
    /// Returns whether none was given.
    pub(super) const fn are_missing(&self) -> bool {
        self.store_password_file.is_none() && self.store_ca_file.is_none()
    }

    /// Returns the location with these files, if it is a database.
    pub(super) fn of(&self, mut location: StoreLocation) -> StoreLocation {
        if let StoreLocation::Postgres(address) = &mut location {
            address.password_file.clone_from(&self.store_password_file);
            address.ca_file.clone_from(&self.store_ca_file);
        }
        location
    }
}
