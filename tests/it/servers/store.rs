//! A backend's store, read from its file, while its process may be running or not.

use std::path::Path;

use kamaji_telemetry::backend::store::{SqliteStore, Store};
use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

/// The latest state of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installation {
    pub(crate) uuid: Uuid,
    /// Running, sleeping, not ready and upgrading.
    pub(crate) counts: [u32; 4],
    pub(crate) kamaji_version: String,
    pub(crate) kubernetes_version: String,
}

/// Opens the file, after all its events were merged into their table.
pub(crate) fn open(file: &Path) -> Connection {
    merge(file);
    connect(file)
}

/// Opens the file as it is. Reading the writer's log requires write access.
fn connect(file: &Path) -> Connection {
    Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE).expect("the backend's file can be opened")
}

/// Counts the rows of a table.
pub(crate) fn count(file: &Path, table: &str) -> u64 {
    let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    let connection = if table == "events" { open(file) } else { connect(file) };
    let count = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], count);
    count.expect("the file has the table").try_into().expect("a count is positive")
}

/// Reads the latest states.
pub(crate) fn installations(file: &Path) -> Vec<Installation> {
    let connection = connect(file);
    let mut select = connection
        .prepare(
            "SELECT installation, running, sleeping, not_ready, upgrading, k.word AS kamaji, c.word AS kubernetes
             FROM latest JOIN words k ON k.id = kamaji JOIN words c ON c.id = kubernetes",
        )
        .expect("the file has installations");
    let row = |row: &rusqlite::Row<'_>| {
        Ok(Installation {
            uuid: row.get(0)?,
            counts: [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?],
            kamaji_version: row.get(5)?,
            kubernetes_version: row.get(6)?,
        })
    };
    let rows = select.query_map([], row).expect("installations can be read");
    rows.map(|row| row.expect("a row can be read")).collect()
}

/// Merges the inbox, as the backend does each minute.
fn merge(file: &Path) {
    let store = SqliteStore::open_existing(file).expect("the backend's file can be opened");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be built");
            runtime.block_on(store.checkpoint()).expect("the inbox can be merged");
        });
    });
}
