//! The check of a store's file against the acknowledged records.

use std::collections::HashMap;
use std::path::Path;

use anyhow::ensure;
use kamaji_telemetry::backend::store::SqliteStore;
use rusqlite::Connection;
use uuid::Uuid;

use crate::load::{Acknowledged, LoadInstallation};

/// Returns the number of events in the file of a backend that has ended.
pub(crate) fn events(file: &Path) -> anyhow::Result<u64> {
    // Opened as a backend opens it, which merges the last events.
    drop(SqliteStore::open(file)?);
    let events: i64 = Connection::open(file)?.query_row("SELECT count(*) FROM events", [], |row| row.get(0))?;
    Ok(events.try_into()?)
}

/// Fails unless the file of a backend that has ended has exactly the acknowledged records, beside `before` events that
/// it had before.
pub(crate) fn check(file: &Path, before: u64, acknowledged: &Acknowledged) -> anyhow::Result<()> {
    let Acknowledged { events: acknowledged, installations } = acknowledged;
    let stored = events(file)?;
    ensure!(stored == before + acknowledged, "{before} + {acknowledged} events were acknowledged, {stored} are stored");
    let connection = Connection::open(file)?;
    let mut statement = connection.prepare("SELECT installation, running FROM latest")?;
    let stored: HashMap<Uuid, u32> =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    for LoadInstallation { uuid, running, .. } in installations.iter().filter(|sender| sender.is_acknowledged) {
        let found = stored.get(uuid);
        ensure!(found == Some(running), "{running} running were acknowledged of {uuid}, and {found:?} are stored");
    }
    Ok(())
}
