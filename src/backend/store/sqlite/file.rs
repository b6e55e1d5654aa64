//! The file of a store: its mode, its neighbours, and connections to it.

use std::ffi::OsString;
use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

/// The time that a connection waits for another process that locks the file, such as a backup: less than the 5 s that a
/// relay waits for its answer.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(4);

/// The mode of every file: only the owner reads and writes it.
pub(super) const MODE: u32 = 0o600;

/// Creates the file if there is none, and sets its mode. `SQLite` would create it with the process's umask. It gives
/// the files beside it the same mode.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(MODE).open(path)?;
    file.set_permissions(Permissions::from_mode(MODE))
}

/// Returns `path` with `suffix` appended to the file's name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

pub(super) fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}
