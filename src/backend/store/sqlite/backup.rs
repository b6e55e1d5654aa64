//! Backup and restore of a store.

pub mod directory;

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::file::{self, FileError, MODE, beside, connect};
use super::inbox;
use super::lock::{Lock, LockError};
use super::migrate::{self, SCHEMA};
use super::published_week::PublishedWeekFile;
use super::words::Words;
use crate::backend::store::hour::Hour;

/// The suffix of a file that is not complete.
const PART: &str = ".part";

/// The suffix of the file that `SQLite` puts beside it.
const JOURNAL: &str = "-journal";

/// A file that is not complete. Dropping it deletes the file, unless it was renamed.
struct PartialFile(PathBuf);

/// An error of a backup or a restore. Existing files are as they were.
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
    #[error("the store is in use: stop the backend before the restore")]
    InUse,
    #[error("the store is being replaced by another process: try again when it has ended")]
    Replaced,
    #[error("there is no such directory: expected an existing one, such as a volume of its own")]
    NoDirectory,
    #[error("another process makes a backup in this directory: try again when it has ended")]
    DirectoryInUse,
    #[error(
        "the store itself is in this directory under the name {0:?}, by which it would be taken for a backup or its lock for the directory's: expected another directory, or a store of another name such as telemetry.db"
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

/// Backs up the store at `path`, which may be in use, into the new file `backup`, with mode 0600. The backup is one
/// consistent state, is checked, and holds no deleted rows. Writes go on meanwhile. Blocks.
///
/// Fails if `backup` exists, or if the store can't be read.
pub fn backup(path: &Path, backup: &Path) -> Result<(), BackupError> {
    let lock = require(path).and_then(|()| match Lock::shared(path) {
        Err(LockError::Used) => Err(BackupCause::Replaced),
        Err(LockError::File(error)) => Err(error.into()),
        Ok(lock) => Ok(lock),
    });
    let _lock = lock.map_err(|cause| BackupError { path: path.to_owned(), cause })?;
    try_backup(path, backup).map_err(|cause| BackupError { path: backup.to_owned(), cause })
}

fn try_backup(path: &Path, backup: &Path) -> Result<(), BackupCause> {
    if backup.try_exists()? {
        return Err(BackupCause::Exists);
    }
    let part = PartialFile(beside(backup, PART));
    // The last connection to a store deletes its write-ahead log, which a read-only one may not.
    duplicate(&connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?, &part.0)?;
    merge_inbox(&part.0)?;
    check(&open(&part.0)?)?;
    publish(&part.0, backup)
}

/// Replaces the store at `path`, if there is one, with a backup, with mode 0600. The backup is checked first, and
/// stays. Blocks.
///
/// Fails if the store is in use, or if the backup is damaged or of a later version of this program.
pub fn restore(backup: &Path, path: &Path) -> Result<(), BackupError> {
    let of_store = |cause| BackupError { path: path.to_owned(), cause };
    file::check(path).map_err(|error| of_store(error.into()))?;
    let lock = Lock::exclusive(path).map_err(|error| match error {
        LockError::Used => BackupCause::InUse,
        LockError::File(error) => error.into(),
    });
    let _lock = lock.map_err(of_store)?;
    require(backup)
        .and_then(|()| check(&open(backup)?))
        .map_err(|cause| BackupError { path: backup.to_owned(), cause })?;
    mark_public_weeks(backup, path).and_then(|()| replace(backup, path)).map_err(of_store)
}

/// Marks the weeks up to the last one as published, if the backup has published weeks and nothing beside the store says which
/// was the last: the file is lost with the volume, and no week may have two editions.
fn mark_public_weeks(backup: &Path, path: &Path) -> Result<(), BackupCause> {
    let file = PublishedWeekFile::of(path);
    let published: Option<i32> = open(backup)?.query_row("SELECT max(week) FROM public_weeks", [], |row| row.get(0))?;
    if published.is_some() && !file.exists()? {
        file.write(Hour::of(Timestamp::now()).day().week_before())?;
    }
    Ok(())
}

fn replace(backup: &Path, path: &Path) -> Result<(), BackupCause> {
    let part = PartialFile(beside(path, PART));
    duplicate(&open(backup)?, &part.0)?;
    // SQLite would apply the old write-ahead log to the new file.
    for left in ["-wal", "-shm"] {
        remove(&beside(path, left))?;
    }
    publish(&part.0, path)
}

impl Drop for PartialFile {
    /// Deletes what is left if it was not renamed: the store may need the space.
    fn drop(&mut self) {
        for suffix in ["", JOURNAL] {
            let left = beside(&self.0, suffix);
            if let Err(error) = remove(&left) {
                tracing::warn!(%error, path = %left.display(), "failed to delete an incomplete file; delete it by hand");
            }
        }
    }
}

/// Fails if there is no file, or if it is no store, or if there is nothing in it.
fn require(path: &Path) -> Result<(), BackupCause> {
    if !path.try_exists()? {
        return Err(BackupCause::Missing);
    }
    file::check(path)?;
    if path.metadata()?.len() == 0 { Err(BackupCause::NoStore) } else { Ok(()) }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// Copies `from` into `to`, and replaces a file that an earlier attempt left there.
fn duplicate(from: &Connection, to: &Path) -> Result<(), BackupCause> {
    remove(to)?;
    // `SQLite` would create the file with the process's umask. It accepts an empty one.
    OpenOptions::new().write(true).create_new(true).mode(MODE).open(to)?;
    let to = to.to_str().ok_or_else(|| io::Error::new(ErrorKind::InvalidFilename, "expected a name in UTF-8"))?;
    from.execute("VACUUM INTO ?1", params![to])?;
    Ok(())
}

/// Merges the inbox of a copy, so that no backup shows in which order its events came.
fn merge_inbox(path: &Path) -> Result<(), BackupCause> {
    let mut copy = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    copy.pragma_update(None, "secure_delete", "ON")?;
    if migrate::version(&copy)? == Some(SCHEMA.version()) {
        inbox::merge(&mut copy, &mut Words::default())?;
    }
    Ok(())
}

/// Makes `part` durable, and renames it.
fn publish(part: &Path, name: &Path) -> Result<(), BackupCause> {
    File::open(part)?.sync_all()?;
    fs::rename(part, name)?;
    let directory = name.parent().filter(|directory| !directory.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(())
}

impl From<FileError> for BackupCause {
    fn from(error: FileError) -> Self {
        match error {
            FileError::File(error) => Self::File(error),
            FileError::Memory | FileError::NotRegular | FileError::Foreign => Self::NoStore,
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Checks that a backup is of this version or an earlier one, and that all of its pages are sound.
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
