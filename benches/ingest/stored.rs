//! The check of a store's file against the acknowledged records.

use std::collections::HashMap;
use std::path::Path;

use anyhow::ensure;
use rusqlite::Connection;
use uuid::Uuid;

use crate::load::Acknowledged;

/// Fails unless the file of a backend that has ended has exactly the acknowledged records.
pub(crate) fn check(file: &Path, Acknowledged { events, snapshots }: &Acknowledged) -> anyhow::Result<()> {
    let connection = Connection::open(file)?;
    let stored: i64 = connection.query_row("SELECT count(*) FROM events", [], |row| row.get(0))?;
    ensure!(u64::try_from(stored)? == *events, "{events} events were acknowledged, and {stored} are stored");
    let mut statement = connection.prepare("SELECT installation, time FROM latest")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, Uuid>(0)?, row.get::<_, i64>(1)?)))?;
    let latest: HashMap<_, _> = rows.collect::<Result<_, _>>()?;
    for (installation, time) in snapshots.iter().filter(|(_, time)| *time > 0) {
        let stored = latest.get(installation).copied().unwrap_or_default();
        ensure!(
            i64::try_from(*time)? == stored,
            "a snapshot of {time} was acknowledged, and that of {stored} is stored"
        );
    }
    Ok(())
}
