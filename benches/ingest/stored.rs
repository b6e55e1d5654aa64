//! The check of a store's file against the acknowledged records.

use std::collections::HashSet;
use std::path::Path;

use anyhow::ensure;
use kamaji_telemetry::backend::store::SqliteStore;
use rusqlite::Connection;
use uuid::Uuid;

use crate::load::Acknowledged;

/// Fails unless the file of a backend that has ended has exactly the acknowledged records.
pub(crate) fn check(file: &Path, Acknowledged { events, snapshots }: &Acknowledged) -> anyhow::Result<()> {
    // Opened as a backend opens it, which merges the last events.
    drop(SqliteStore::open(file)?);
    let connection = Connection::open(file)?;
    let stored: i64 = connection.query_row("SELECT count(*) FROM events", [], |row| row.get(0))?;
    ensure!(u64::try_from(stored)? == *events, "{events} events were acknowledged, and {stored} are stored");
    let mut statement = connection.prepare("SELECT installation FROM latest")?;
    let stored: HashSet<Uuid> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for (installation, _) in snapshots.iter().filter(|(_, time)| *time > 0) {
        ensure!(stored.contains(installation), "a snapshot of {installation} was acknowledged, and none is stored");
    }
    Ok(())
}
