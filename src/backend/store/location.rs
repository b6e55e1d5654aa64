//! The location of a store, as `--store` gives it.

use std::path::PathBuf;
use std::str::FromStr;

use crate::process::redact::redacted;

/// The location of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLocation {
    /// An `SQLite` file, written `sqlite:PATH`, which is created if there is none.
    Sqlite(PathBuf),
}

/// A text that is not a [`StoreLocation`]. A URL of a database, which may hold a password, is not repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown store {0:?}: expected sqlite:PATH, such as sqlite:/var/lib/kamaji-telemetry/telemetry.db")]
pub struct UnknownStore(String);

impl FromStr for StoreLocation {
    type Err = UnknownStore;

    fn from_str(text: &str) -> Result<Self, UnknownStore> {
        match text.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() && path != ":memory:" => Ok(Self::Sqlite(path.into())),
            _ => Err(UnknownStore(redacted(text).to_owned())),
        }
    }
}
