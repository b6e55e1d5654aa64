//! The schema of the store, and its migrations.

#[cfg(test)]
mod tests;

use refinery::{Migration, Runner};
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

/// The number of `SQLite`'s virtual machine steps between two checks for cancellation; it executes millions a second.
const STEPS_PER_CHECK: i32 = 10_000;

/// The schema of this program.
pub(super) const SCHEMA: Schema = Schema(&[("V1__schema", include_str!("migrations/V1__schema.sql"))]);

/// A schema: the names and the statements of its migrations, numbered from 1 without a gap.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schema(pub(super) &'static [(&'static str, &'static str)]);

/// An error in the schema of a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum SchemaError {
    #[error("it holds no store")]
    NoStore,
    #[error("its schema has version {found}, and this program knows up to {known}")]
    TooNew { found: i64, known: i64 },
    #[error("its schema has version {found}, and this program's is {known}")]
    TooOld { found: i64, known: i64 },
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("its schema cannot be brought up to date: {0}")]
    Migration(#[from] Box<refinery::Error>),
}

impl Schema {
    /// Returns the version: the number of the last migration.
    pub(super) fn version(self) -> i64 {
        i64::try_from(self.0.len()).unwrap_or(i64::MAX)
    }

    /// Applies the migrations that the file does not have. Fails, and leaves the file as it was, once `cancelled` is.
    ///
    /// All migrations and the record of them are one transaction. So whatever interrupts it, the file's schema is of
    /// the version that the file records.
    pub(super) fn migrate(self, connection: &mut Connection, cancelled: CancellationToken) -> Result<(), SchemaError> {
        connection.progress_handler(STEPS_PER_CHECK, Some(move || cancelled.is_cancelled()))?;
        let (found, known) = (version(connection)?.unwrap_or_default(), self.version());
        if found > known {
            return Err(SchemaError::TooNew { found, known });
        }
        if 0 < found && found < known {
            tracing::info!(from = found, to = known, "migrating the store's schema, which can take minutes");
        }
        let migrations = self.0.iter().map(|(name, sql)| Migration::unapplied(name, sql));
        let migrations = migrations.collect::<Result<Vec<_>, _>>().map_err(Box::new)?;
        Runner::new(&migrations).set_grouped(true).run(connection).map_err(Box::new)?;
        connection.progress_handler(0, None::<fn() -> bool>)?;
        Ok(())
    }

    /// Fails if the file does not have this version.
    pub(super) fn require(self, connection: &Connection) -> Result<(), SchemaError> {
        match (version(connection)?, self.version()) {
            (Some(found), known) if found == known => Ok(()),
            (Some(found), known) if found > known => Err(SchemaError::TooNew { found, known }),
            (Some(found), known) => Err(SchemaError::TooOld { found, known }),
            (None, _) => Err(SchemaError::NoStore),
        }
    }
}

/// Returns the version of the file's schema; `None` if the file holds no store.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let has_history = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'refinery_schema_history')";
    if !connection.query_row(has_history, [], |row| row.get(0))? {
        return Ok(None);
    }
    connection.query_row("SELECT max(version) FROM refinery_schema_history", [], |row| row.get(0))
}
