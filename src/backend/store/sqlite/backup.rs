//! Copies of a store: out of a live one, and back.

pub mod folder;

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::file::{MODE, beside, connect};
use super::lock::{Lock, LockError};
use super::migrate::{self, SCHEMA};

/// What a copy that is not complete has after its name, and what the file has after that which `SQLite` puts beside it.
const PART: &str = ".part";
const JOURNAL: &str = "-journal";

/// A copy that is not complete, which is deleted unless it gets its name.
struct PartialFile(PathBuf);

/// Why a copy was not made, or not put back. What was there before is as it was.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", path.display())]
pub struct BackupError {
    path: PathBuf,
    cause: BackupCause,
}

#[derive(Debug, thiserror::Error)]
enum BackupCause {
    #[error("it is there already: expected the name of a new file")]
    Exists,
    #[error("there is no such file: expected a store that this program made")]
    Missing,
    #[error("the store is in use: stop the backend before anything is put back")]
    InUse,
    #[error("the store is being replaced by another process: try again when it has ended")]
    Replaced,
    #[error("there is no such folder: expected one that is there, such as a volume of its own")]
    NoFolder,
    #[error("another process makes a copy in this folder: try again when it has ended")]
    FolderInUse,
    #[error(
        "the store itself is in this folder under the name {0:?}, by which it would be taken for a copy or its lock for the folder's: expected another folder, or a store of another name such as telemetry.db"
    )]
    HoldsStore(String),
    #[error("it is no store: expected a file that `backend backup` made")]
    NoStore,
    #[error("it is damaged: {0}; expected `ok` from SQLite's integrity check, take an older backup")]
    Damaged(String),
    #[error("its schema has version {found}, and this program knows up to {known}: take a newer program")]
    TooNew { found: i64, known: i64 },
    #[error(transparent)]
    File(#[from] io::Error),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// Copies the store at `path`, in use or not, into the new file `copy`, with mode 0600. The copy is one consistent
/// state of it, is checked, and holds nothing that was deleted. Writes go on meanwhile. Blocks.
///
/// Fails where `copy` is there already, or the store can't be read.
pub fn backup(path: &Path, copy: &Path) -> Result<(), BackupError> {
    let lock = require(path).and_then(|()| match Lock::shared(path) {
        Err(LockError::Used) => Err(BackupCause::Replaced),
        Err(LockError::File(error)) => Err(error.into()),
        Ok(lock) => Ok(lock),
    });
    let _lock = lock.map_err(|cause| BackupError { path: path.to_owned(), cause })?;
    try_backup(path, copy).map_err(|cause| BackupError { path: copy.to_owned(), cause })
}

fn try_backup(path: &Path, copy: &Path) -> Result<(), BackupCause> {
    if copy.try_exists()? {
        return Err(BackupCause::Exists);
    }
    let part = PartialFile(beside(copy, PART));
    // Whoever closes a store last clears its log away, which takes the right to write.
    duplicate(&connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?, &part.0)?;
    check(&open(&part.0)?)?;
    put(&part.0, copy)
}

/// Puts a copy in the place of the store at `path`, or where there is none yet, with mode 0600. The copy is checked
/// first, and stays. Blocks.
///
/// Fails while the store is in use, and where the copy is damaged or of a later version of this program.
pub fn restore(copy: &Path, path: &Path) -> Result<(), BackupError> {
    let lock = Lock::exclusive(path).map_err(|error| match error {
        LockError::Used => BackupCause::InUse,
        LockError::File(error) => error.into(),
    });
    let _lock = lock.map_err(|cause| BackupError { path: path.to_owned(), cause })?;
    require(copy).and_then(|()| check(&open(copy)?)).map_err(|cause| BackupError { path: copy.to_owned(), cause })?;
    replace(copy, path).map_err(|cause| BackupError { path: path.to_owned(), cause })
}

fn replace(copy: &Path, path: &Path) -> Result<(), BackupCause> {
    let part = PartialFile(beside(path, PART));
    duplicate(&open(copy)?, &part.0)?;
    // A log that stayed would be taken for the new file's.
    for left in ["-wal", "-shm"] {
        remove(&beside(path, left))?;
    }
    put(&part.0, path)
}

impl Drop for PartialFile {
    /// Once it has its name there is none left. Where it has not, its room may be what the store lacks.
    fn drop(&mut self) {
        for suffix in ["", JOURNAL] {
            let left = beside(&self.0, suffix);
            if let Err(error) = remove(&left) {
                tracing::warn!(%error, "{} is left of what failed: delete it", left.display());
            }
        }
    }
}

fn require(path: &Path) -> Result<(), BackupCause> {
    if path.try_exists()? { Ok(()) } else { Err(BackupCause::Missing) }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// Writes all that `from` holds into `to`, which replaces what an earlier attempt left there.
fn duplicate(from: &Connection, to: &Path) -> Result<(), BackupCause> {
    remove(to)?;
    // Made before `SQLite` would, with the process's umask; it takes an empty file.
    OpenOptions::new().write(true).create_new(true).mode(MODE).open(to)?;
    let to = to.to_str().ok_or_else(|| io::Error::new(ErrorKind::InvalidFilename, "expected a name in UTF-8"))?;
    from.execute("VACUUM INTO ?1", params![to])?;
    Ok(())
}

/// Makes `part` durable, and gives it its name.
fn put(part: &Path, name: &Path) -> Result<(), BackupCause> {
    File::open(part)?.sync_all()?;
    fs::rename(part, name)?;
    let folder = name.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A store of this version or an earlier one, sound in all its pages.
fn check(connection: &Connection) -> Result<(), BackupCause> {
    let known = SCHEMA.version();
    let found = version(connection)?;
    if found > known {
        return Err(BackupCause::TooNew { found, known });
    }
    let verdict: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(BackupCause::Damaged(verdict)) }
}

fn version(connection: &Connection) -> Result<i64, BackupCause> {
    match migrate::version(connection) {
        Ok(version) => version.ok_or(BackupCause::NoStore),
        Err(error) => Err(match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt) => BackupCause::Damaged(error.to_string()),
            Some(ErrorCode::NotADatabase) => BackupCause::NoStore,
            _ => error.into(),
        }),
    }
}
