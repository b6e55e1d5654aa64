//! The events that the backend has stored, read from its file.

use std::fmt;
use std::path::Path;

use kamaji_telemetry::catalog::{CREATED, DELETED, KubernetesVersion, Status, UPDATED};
use rusqlite::Row;

use crate::servers::store;

/// A lifecycle change, as reported by an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    /// The control plane appeared with this version.
    Created(KubernetesVersion),
    /// The desired version changed from the first to the second.
    Updated(KubernetesVersion, KubernetesVersion),
    /// The deletion began at this version.
    Deleted(KubernetesVersion),
}

/// A stored event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredEvent {
    /// The change.
    pub(crate) change: Change,
    /// The status, for a deletion.
    pub(crate) status: Option<Status>,
}

impl fmt::Display for StoredEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.change, self.status) {
            (Change::Created(version), _) => write!(f, "created {version}"),
            (Change::Updated(old, new), _) => write!(f, "{old} to {new}"),
            (Change::Deleted(version), Some(status)) => write!(f, "deleted {version} {}", status.as_str()),
            (Change::Deleted(version), None) => write!(f, "deleted {version}"),
        }
    }
}

/// Reads every event in the backend's file, while its process may be running or not.
pub(crate) fn read(file: &Path) -> Vec<StoredEvent> {
    let connection = store::open(file);
    let word = |column: &str| format!("(SELECT word FROM words WHERE id = events.{column}) AS {column}");
    let columns = ["kind", "tcp_version", "old_tcp_version", "status"].map(word).join(", ");
    let mut statement = connection.prepare(&format!("SELECT {columns} FROM events")).expect("the file has events");
    let rows = statement.query_map([], |row| Ok(event(row))).expect("events can be read");
    rows.map(|row| row.expect("a row can be read")).collect()
}

/// Returns the number of events in the file.
pub(crate) fn count(file: &Path) -> usize {
    rows(file, "events")
}

/// Returns the running, sleeping and not ready control planes in the latest snapshot, if there is one. A test has one
/// installation.
pub(crate) fn counts(file: &Path) -> Option<[u32; 3]> {
    let installation = store::installations(file).into_iter().next()?;
    let [running, sleeping, not_ready, _] = installation.counts;
    Some([running, sleeping, not_ready])
}

/// Returns the number of installations in the file.
pub(crate) fn installations(file: &Path) -> usize {
    rows(file, "latest")
}

fn rows(file: &Path, table: &str) -> usize {
    usize::try_from(store::count(file, table)).expect("a count fits into memory")
}

fn event(row: &Row<'_>) -> StoredEvent {
    let text = |column: &str| row.get::<_, Option<String>>(column).expect("a column of text");
    let version = |column: &str| -> KubernetesVersion {
        text(column)
            .expect("the kind has this column")
            .parse()
            .expect("versions are stored as they may leave a cluster")
    };
    let change = match text("kind").as_deref() {
        Some(kind) if kind == CREATED.name => Change::Created(version("tcp_version")),
        Some(kind) if kind == UPDATED.name => Change::Updated(version("old_tcp_version"), version("tcp_version")),
        Some(kind) if kind == DELETED.name => Change::Deleted(version("tcp_version")),
        kind => panic!("a kind that is not in the catalog: {kind:?}"),
    };
    let status = text("status").map(|word| word.parse().expect("a status is one of the catalog's words"));
    StoredEvent { change, status }
}
