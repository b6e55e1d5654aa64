//! The store in one `SQLite` file: WAL, synchronous FULL, one writer, group commit.

mod auth;
pub mod backup;
mod columns;
mod lock;
mod reader;
mod rows;
mod prune;
mod writer;

use std::error::Error;
use std::ffi::OsString;
use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Batch, Cutoffs, Erased, NoRandomNumbers, OverviewData, OverviewQuery, Pruned, PseudonymKey, ReadError, Store,
    WriteError,
};
use lock::{Lock, LockError};
use reader::SqliteReader;
use writer::SqliteWriter;

#[allow(missing_docs, unreachable_pub, clippy::pedantic, clippy::unwrap_used, reason = "made by refinery")]
mod embedded {
    refinery::embed_migrations!("src/backend/store/sqlite/migrations");
}

/// How long a connection waits for another process that holds the file, such as a backup: less than the 5 s that a
/// relay waits for its answer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(4);

/// Pages of the log, of 4 kB, after which they are copied into the file: a page that many commits change is then copied
/// once. 16 MB are read within 100 ms where a killed backend starts again.
const CHECKPOINT: u32 = 4_000;

/// Memory of the connection that writes, in kB: the uids of events are random, so each is on another page. These hold
/// those of 100,000 events.
const CACHE: i64 = 16_000;

/// Steps of `SQLite`'s between two looks at whether to go on; it makes millions a second.
const STEPS: i32 = 10_000;

/// Read and written by the owner alone.
const MODE: u32 = 0o600;

/// A store in one file. Dropping it writes what was taken on, and closes the file.
#[derive(Debug)]
pub struct SqliteStore {
    /// Before the writer: whoever closes the file last clears its log away, which a connection that only reads may not.
    reader: SqliteReader,
    writer: SqliteWriter,
    pseudonym_key: PseudonymKey,
    path: PathBuf,
    /// Last, so that it outlives the connections.
    _lock: Lock,
}

/// Why a file could not be opened as a store.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the store {}: {cause}; expected {}", path.display(), cause.expected())]
pub struct OpenError {
    path: PathBuf,
    cause: OpenCause,
}

impl OpenError {
    /// Whether it was given up, as [`SqliteStore::open_unless`] was told to.
    pub fn is_interrupt(&self) -> bool {
        let is_interrupt = |error: &rusqlite::Error| error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted);
        let mut next: Option<&(dyn Error + 'static)> = Some(&self.cause);
        while let Some(error) = next {
            if error.downcast_ref().is_some_and(is_interrupt) {
                return true;
            }
            next = error.source();
        }
        false
    }
}

#[derive(Debug, thiserror::Error)]
enum OpenCause {
    #[error("it is being replaced by a backup; try again when that has ended")]
    Replaced,
    #[error("there is no such file")]
    Missing,
    #[error("it holds no store")]
    NoStore,
    #[error("its schema has version {found}, and this program knows up to {known}")]
    TooNew { found: i64, known: i64 },
    #[error("its schema has version {found}, and this program's is {known}")]
    TooOld { found: i64, known: i64 },
    #[error(transparent)]
    File(#[from] io::Error),
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("its schema cannot be brought up to date: {0}")]
    Migration(#[from] Box<refinery::Error>),
    #[error(transparent)]
    Random(#[from] NoRandomNumbers),
}

impl OpenCause {
    const fn expected(&self) -> &'static str {
        match self {
            Self::Missing | Self::NoStore => {
                "the --store of a backend, which makes it when it serves for the first time"
            }
            Self::TooNew { .. } => "a program as new as the one that wrote it",
            Self::TooOld { .. } => "the program that serves it, or one to serve it that is as new as this",
            _ => "a file that this program made, or none yet, in an existing folder where this user may write",
        }
    }
}

impl SqliteStore {
    /// Opens the store at `path`, made with mode 0600 where there is none, and brings its schema up to date. Blocks.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_unless(path, CancellationToken::new())
    }

    /// The same, given up as soon as `cancelled` is: then it fails, and the schema is as it was. Blocks.
    pub fn open_unless(path: &Path, cancelled: CancellationToken) -> Result<Self, OpenError> {
        let prepare = |connection: &mut Connection| bring_up_to_date(connection, cancelled);
        Self::try_open(path, prepare).map_err(|cause| OpenError { path: path.to_owned(), cause })
    }

    /// Opens the store at `path` beside the backend that serves it: makes none, and changes no schema, with which that
    /// backend could not start again. Blocks.
    pub fn open_existing(path: &Path) -> Result<Self, OpenError> {
        let exists = path.try_exists().map_err(OpenCause::from);
        let opened = exists
            .and_then(|exists| if exists { Self::try_open(path, is_up_to_date) } else { Err(OpenCause::Missing) });
        opened.map_err(|cause| OpenError { path: path.to_owned(), cause })
    }

    fn try_open(
        path: &Path,
        prepare: impl FnOnce(&mut Connection) -> Result<(), OpenCause>,
    ) -> Result<Self, OpenCause> {
        let lock = Lock::shared(path)?;
        restrict(path)?;
        let mut writing = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // The mode is kept in the file; the reader finds it there.
        writing.pragma_update(None, "journal_mode", "WAL")?;
        writing.pragma_update(None, "synchronous", "FULL")?;
        // What is deleted is overwritten, so that an erased installation is not in the file's free pages either.
        writing.pragma_update(None, "secure_delete", "ON")?;
        writing.pragma_update(None, "wal_autocheckpoint", CHECKPOINT)?;
        // Negative: kB rather than pages.
        writing.pragma_update(None, "cache_size", -CACHE)?;
        prepare(&mut writing)?;
        let pseudonym_key = pseudonym_key(&writing)?;
        let reading = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        Ok(Self {
            reader: SqliteReader::new(reading),
            writer: SqliteWriter::start(writing)?,
            pseudonym_key,
            path: path.to_owned(),
            _lock: lock,
        })
    }
}

/// All migrations and what the file says of them are one transaction: whatever ends it, the file is of a version that
/// it says it is of.
fn bring_up_to_date(connection: &mut Connection, cancelled: CancellationToken) -> Result<(), OpenCause> {
    connection.progress_handler(STEPS, Some(move || cancelled.is_cancelled()))?;
    let (found, known) = (version(connection)?.unwrap_or_default(), known());
    if found > known {
        return Err(OpenCause::TooNew { found, known });
    }
    if 0 < found && found < known {
        tracing::info!(from = found, to = known, "the store's schema is brought up to date, which can take minutes");
    }
    embedded::migrations::runner().set_grouped(true).run(connection).map_err(Box::new)?;
    connection.progress_handler(0, None::<fn() -> bool>)?;
    Ok(())
}

fn is_up_to_date(connection: &mut Connection) -> Result<(), OpenCause> {
    match (version(connection)?, known()) {
        (Some(found), known) if found == known => Ok(()),
        (Some(found), known) if found > known => Err(OpenCause::TooNew { found, known }),
        (Some(found), known) => Err(OpenCause::TooOld { found, known }),
        (None, _) => Err(OpenCause::NoStore),
    }
}

/// The version of a store's schema; `None` where it is no store.
fn version(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let table = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'refinery_schema_history')";
    if !connection.query_row(table, [], |row| row.get(0))? {
        return Ok(None);
    }
    connection.query_row("SELECT max(version) FROM refinery_schema_history", [], |row| row.get(0))
}

/// The version that this program's schema has.
fn known() -> i64 {
    let runner = embedded::migrations::runner();
    runner.get_migrations().iter().map(refinery::Migration::version).max().map_or(0, i64::from)
}

/// The key that is there, or a new one. Of two processes that make one at once, both take that of the first.
fn pseudonym_key(connection: &Connection) -> Result<PseudonymKey, OpenCause> {
    const NAME: &str = "pseudonym";
    let new = PseudonymKey::random()?;
    connection.execute("INSERT INTO keys (name, key) VALUES (?1, ?2) ON CONFLICT DO NOTHING", params![NAME, new])?;
    let kept: [u8; PseudonymKey::LENGTH] =
        connection.query_row("SELECT key FROM keys WHERE name = ?1", params![NAME], |row| row.get("key"))?;
    Ok(kept.into())
}

/// Makes the file, if there is none, before `SQLite` would with the process's umask. `SQLite` gives the files beside it
/// the same mode.
fn restrict(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(MODE).open(path)?;
    file.set_permissions(Permissions::from_mode(MODE))
}

/// The file whose name is that of `path` with `suffix` after it.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

impl Store for SqliteStore {
    fn write(&self, batch: Batch) -> BoxFuture<'_, Result<(), WriteError>> {
        self.writer.write(batch).boxed()
    }

    fn prune(&self, cutoffs: Cutoffs) -> BoxFuture<'_, Result<Pruned, WriteError>> {
        async move {
            let mut all = Pruned::default();
            loop {
                let step = move |connection: &mut Connection| prune::step(connection, cutoffs, all);
                let (trimmed, more) = self.writer.run(step).await?;
                all = trimmed;
                if !more {
                    return Ok(all);
                }
            }
        }
        .boxed()
    }

    fn erase(&self, installation: Uuid) -> BoxFuture<'_, Result<Erased, WriteError>> {
        self.writer.run(move |connection| prune::erase(connection, installation)).boxed()
    }

    fn checkpoint(&self) -> BoxFuture<'_, Result<(), WriteError>> {
        self.writer.run(prune::empty_log).boxed()
    }

    fn overview(&self, query: OverviewQuery) -> BoxFuture<'_, Result<OverviewData, ReadError>> {
        self.reader.run(move |connection| reader::overview(connection, query)).boxed()
    }

    fn pseudonym_key(&self) -> BoxFuture<'_, Result<PseudonymKey, ReadError>> {
        futures::future::ready(Ok(self.pseudonym_key.clone())).boxed()
    }

    fn size(&self) -> BoxFuture<'_, Result<u64, ReadError>> {
        let bytes = |path: &Path| path.metadata().map(|file| file.len());
        // Without a write since it was opened there is no log.
        let log = bytes(&beside(&self.path, "-wal")).unwrap_or_default();
        let size = bytes(&self.path).map(|file| file + log).map_err(|error| ReadError(error.to_string().into()));
        futures::future::ready(size).boxed()
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), ReadError>> {
        self.reader
            .run(|connection| connection.query_row("SELECT EXISTS (SELECT 1 FROM latest)", [], |_| Ok(())))
            .boxed()
    }
}

impl From<LockError> for OpenCause {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Used => Self::Replaced,
            LockError::File(error) => Self::File(error),
        }
    }
}
