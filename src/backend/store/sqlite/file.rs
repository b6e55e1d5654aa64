//! The file of a store: its identity, its mode, its neighbours, and connections to it.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

/// The `application_id` in the header of a store's file, which tells it from another program's: `KmjT`.
pub const APPLICATION_ID: i32 = 0x4b6d_6a54;

/// The time that a connection waits for another process that locks the file, such as a backup: less than the 5 s that a
/// relay waits for its answer.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(4);

/// The mode of every file that is created: only the owner reads and writes it.
pub(super) const MODE: u32 = 0o600;

/// The beginning of every `SQLite` file, and the position of the application id in it.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const APPLICATION_ID_OFFSET: usize = 68;

/// The bits of a mode by which users other than the owner and the group may read.
const OTHERS_READ: u32 = 0o004;

/// The name by which `SQLite` opens a store in memory.
const MEMORY: &str = ":memory:";

/// The file of an open store.
///
/// Closing any handle of a file releases the locks that `SQLite` has on it in this process, so this outlives the connections.
#[derive(Debug)]
pub(super) struct StoreFile {
    path: PathBuf,
    handle: File,
    is_new: bool,
    /// True once the path leads elsewhere.
    is_lost: AtomicBool,
}

/// An error of a file that is not to be opened as a store.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("a store in memory would lose all that it acknowledged")]
    Memory,
    #[error("it is no regular file")]
    NotRegular,
    #[error("it is no store of this program, and was left as it is")]
    Foreign,
    #[error(transparent)]
    File(#[from] io::Error),
}

/// Checks that a file is a store, is empty, or is not there, without changing anything.
pub(super) fn check(path: &Path) -> Result<(), FileError> {
    if path == Path::new(MEMORY) {
        return Err(FileError::Memory);
    }
    match OpenOptions::new().read(true).open(path) {
        Ok(file) => is_store(&file).map(drop),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Returns whether a file holds a store; false if it is empty. Fails if it holds anything else.
fn is_store(file: &File) -> Result<bool, FileError> {
    const END: usize = APPLICATION_ID_OFFSET + size_of::<i32>();
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(FileError::NotRegular);
    }
    if metadata.len() == 0 {
        return Ok(false);
    }
    let mut header = [0; END];
    match file.read_exact_at(&mut header, 0) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(FileError::Foreign),
        result => result?,
    }
    let is_store = header.starts_with(MAGIC) && header.ends_with(&APPLICATION_ID.to_be_bytes());
    if is_store { Ok(true) } else { Err(FileError::Foreign) }
}

impl StoreFile {
    /// Opens a file that [`check`] passed. Creates it with [`MODE`] if there is none: `SQLite` would create it with the
    /// process's umask. It gives the files beside it the same mode.
    ///
    /// The mode and the owner of a file that is there already stay as they are. Who else may read it is logged.
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        // A link to a file that is not there is neither followed nor replaced.
        let handle = match options.clone().create_new(true).mode(MODE).open(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let handle = options.open(path)?;
                warn_of_access(path, &handle.metadata()?);
                handle
            }
            result => result?,
        };
        let is_new = !is_store(&handle)?;
        Ok(Self { path: path.to_owned(), handle, is_new, is_lost: AtomicBool::new(false) })
    }

    /// Returns whether the file was empty.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Compares the file at the path with the one that is open, and logs when they become different or the same. Blocks.
    pub(super) fn compare(&self) -> bool {
        let is_same = self.is_same().unwrap_or(false);
        let (path, was_lost) = (self.path.display(), self.is_lost.swap(!is_same, Ordering::Relaxed));
        if was_lost && is_same {
            tracing::info!(%path, "the store's file is back in its place; what is sent is stored again");
        } else if !was_lost && !is_same {
            tracing::error!(
                %path,
                "the store's file was moved, deleted or replaced; nothing is stored any more: put it back, or restart the \
                 backend on the file that is there now"
            );
        }
        is_same
    }

    /// Returns whether the last comparison found another file at the path, or none.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    fn is_same(&self) -> io::Result<bool> {
        let identity = |file: Metadata| (file.dev(), file.ino());
        Ok(identity(fs::metadata(&self.path)?) == identity(self.handle.metadata()?))
    }
}

/// Logs a warning about a file that this process did not create as it would.
fn warn_of_access(path: &Path, file: &Metadata) {
    let (path, mode) = (path.display(), format!("{:03o}", file.mode() & 0o777));
    if file.uid() != rustix::process::geteuid().as_raw() {
        tracing::warn!(%path, owner = file.uid(), mode, "the store's file belongs to another user; its owner and its mode stay as they are");
    } else if file.mode() & OTHERS_READ != 0 {
        tracing::warn!(%path, mode, "any user of this system may read the store's file; run `chmod o-rw` on it");
    }
}

/// Returns `path` with `suffix` appended to the file's name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The statements that a connection keeps prepared: all that its writes run, which are two for each of 13 rollups and some 15
/// more.
const CACHED_STATEMENTS: usize = 64;

pub(super) fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(connection)
}
