//! Administration of a store by the command line: erasure, backup, restore, import, tokens, and answers to questions; and the
//! readiness of a running backend.
//!
//! Each function returns a text that says what was done, and never repeats an identity.

pub mod import;
pub mod insights;
pub mod migrate;
pub mod ready;
pub mod rows;
pub mod token;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use uuid::Uuid;

use super::store::sqlite::backup::{self, directory::BackupDirectory};
use super::store::{
    AuditLogEntry, ERASE, Erased, PostgresStore, SqliteStore, StoreLocation, Stores, erase_installation,
};

/// Deletes all rows of an installation, by its UUID or by the cluster UID that Kamaji's built-in telemetry reports:
/// that of the Service `default/kubernetes`. The backend may serve the store meanwhile.
///
/// The erasure is added to the audit log before, without the installation. Fails if there is no store.
pub async fn erase(store: StoreLocation, installation: Uuid) -> anyhow::Result<String> {
    let store = open_to_change(store).await?;
    record(&store, ERASE).await?;
    let erased = erase_installation(store.rows.as_ref(), installation).await?;
    if erased == Erased::default() {
        return Ok("Nothing is stored of this installation.\n".into());
    }
    let Erased { latest, days } = erased;
    let latest = if latest { "its latest state" } else { "no latest state" };
    let days = plural(days, "day");
    Ok(format!(
        "Erased {latest} and {days}. What it sends from now on is stored again, and backups still hold what they held.\n"
    ))
}

/// Backs up a store into a new file. The backend may serve the store meanwhile.
pub async fn backup(store: StoreLocation, file: PathBuf) -> anyhow::Result<String> {
    let path = file_of(store)?;
    let done = format!("Backed up {} to {}, and checked the backup.\n", path.display(), file.display());
    tokio::task::spawn_blocking(move || backup::backup(&path, &file)).await?.context("no backup was made")?;
    Ok(done)
}

/// Backs up a store into a directory, and deletes the oldest backups there beyond `retain`. The backend may serve the
/// store meanwhile.
pub async fn backup_into(store: StoreLocation, directory: PathBuf, retain: u16) -> anyhow::Result<String> {
    let path = file_of(store)?;
    tokio::task::spawn_blocking(move || {
        let backups = BackupDirectory::open(&directory, &path).context("no backup was made")?;
        let file = backups.add(Timestamp::now()).context("no backup was made")?;
        let done = format!("Backed up {} to {}, and checked the backup.\n", path.display(), file.display());
        let deleted = backups.retain(&file, retain.into()).with_context(|| {
            format!("{} was made, but older backups beyond {retain} could not all be deleted", file.display())
        })?;
        let deleted = deleted.into_iter().map(|name| format!("Deleted {name}: {retain} are retained.\n"));
        Ok(std::iter::once(done).chain(deleted).collect())
    })
    .await?
}

/// Replaces a store that is not in use with a backup.
pub async fn restore(store: StoreLocation, file: PathBuf) -> anyhow::Result<String> {
    let path = file_of(store)?;
    let done = format!("Checked {}, and restored it to {}.\n", file.display(), path.display());
    tokio::task::spawn_blocking(move || backup::restore(&file, &path)).await?.context("nothing was restored")?;
    Ok(done)
}

/// Adds a command to the audit log, without what it changes.
async fn record(store: &Stores, command: &str) -> anyhow::Result<()> {
    Ok(store.auth.record(vec![AuditLogEntry::of_anonymous_command(command, Timestamp::now())]).await?)
}

/// Opens a store that a backend created, and may be serving, for a command that changes rows. Fails if rows were moved into it and no
/// backend has served it since.
async fn open_to_change(store: StoreLocation) -> anyhow::Result<Stores> {
    Ok(match store {
        StoreLocation::Sqlite(path) => {
            Arc::new(tokio::task::spawn_blocking(move || SqliteStore::open_to_change(&path)).await??).into()
        }
        StoreLocation::Postgres(address) => Arc::new(PostgresStore::open_to_change(&address).await?).into(),
    })
}

/// Opens a store that a backend created, and may be serving, for a command that changes nothing.
pub(crate) async fn open(store: StoreLocation) -> anyhow::Result<Stores> {
    Ok(match store {
        StoreLocation::Sqlite(path) => {
            Arc::new(tokio::task::spawn_blocking(move || SqliteStore::open_existing(&path)).await??).into()
        }
        StoreLocation::Postgres(address) => Arc::new(PostgresStore::open_existing(&address).await?).into(),
    })
}

/// Opens a store as a backend that serves it does, and creates it if there is none.
pub(crate) async fn open_to_serve(store: StoreLocation) -> anyhow::Result<Stores> {
    Ok(match store {
        StoreLocation::Sqlite(path) => {
            Arc::new(tokio::task::spawn_blocking(move || SqliteStore::open(&path)).await??).into()
        }
        StoreLocation::Postgres(address) => Arc::new(PostgresStore::open(&address).await?).into(),
    })
}

/// Returns the file of a store. Fails if the store is a database, whose backups are not this program's.
fn file_of(store: StoreLocation) -> anyhow::Result<PathBuf> {
    match store {
        StoreLocation::Sqlite(path) => Ok(path),
        StoreLocation::Postgres(address) => anyhow::bail!(
            "{address} is a database of PostgreSQL, whose administrator backs it up and restores it: expected pg_basebackup \
             with WAL archiving, or the backups of its operator; see docs/backend.md"
        ),
    }
}

fn plural(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Formats rows in columns as wide as their widest cell.
fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let line = |row: &[String; COLUMNS]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
