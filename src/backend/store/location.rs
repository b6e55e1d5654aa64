//! The location of a store, as `--store` gives it.

use std::path::PathBuf;
use std::str::FromStr;

use super::postgres::{InvalidAddress, PostgresAddress};
use crate::process::redact::redacted;

/// The location of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLocation {
    /// An `SQLite` file, written `sqlite:PATH`, which is created if there is none.
    Sqlite(PathBuf),
    /// A database of PostgreSQL, written `postgres://USER@HOST/DATABASE`.
    Postgres(Box<PostgresAddress>),
}

/// A text that is not a [`StoreLocation`]. A URL of a database, which may hold a password, is not repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownStore {
    /// It is of no kind that is known.
    #[error(
        "unknown store {0:?}: expected sqlite:PATH, such as sqlite:/var/lib/kamaji-telemetry/telemetry.db, or \
         postgres://USER@HOST/DATABASE"
    )]
    Kind(String),
    /// It is an address of PostgreSQL that cannot be used.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
}

impl FromStr for StoreLocation {
    type Err = UnknownStore;

    fn from_str(text: &str) -> Result<Self, UnknownStore> {
        match text.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() && path != ":memory:" => Ok(Self::Sqlite(path.into())),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(Box::new(text.parse()?))),
            _ => Err(UnknownStore::Kind(redacted(text).to_owned())),
        }
    }
}
