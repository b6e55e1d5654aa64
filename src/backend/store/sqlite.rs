//! A store in one `SQLite` file: a write-ahead log, full synchronization, one writer, and group commits.

mod auth;
pub mod backup;
mod columns;
mod events;
mod file;
mod inbox;
mod lock;
mod migrate;
mod prune;
mod reader;
mod rollups;
mod rows;
mod uids;
mod words;
mod writer;

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use futures::FutureExt;
use futures::future::BoxFuture;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Batch, Cutoffs, Erased, OverviewData, OverviewQuery, Pruned, PseudonymKey, RandomError, ReadError, Store,
    WriteError,
};
use file::{beside, connect, create_private};
use lock::{Lock, LockError};
use migrate::{SCHEMA, Schema, SchemaError};
use reader::SqliteReader;
use writer::{RowWriter, SqliteWriter};

/// The pages of 4 kB in the write-ahead log after which they are copied into the file: a page that many commits change
/// is copied once then. A killed backend reads 16 MB within 100 ms at its next start.
const CHECKPOINT_PAGES: u32 = 4_000;

/// The page cache of the writing connection, in kB. The uids of events are random, so that each event is on another
/// page. This holds the uids of 100,000 events.
const CACHE_KB: i64 = 16_000;

/// A store in one file. Dropping it writes what is queued, and closes the file.
#[derive(Debug)]
pub struct SqliteStore {
    /// Dropped before the writer: the last connection deletes the write-ahead log, which a read-only one may not.
    reader: SqliteReader,
    /// A connection of its own for questions about all rows, so that sessions, tokens and probes don't wait for them.
    insights: SqliteReader,
    writer: SqliteWriter,
    pseudonym_key: PseudonymKey,
    path: PathBuf,
    /// Dropped last, so that it outlives the connections.
    _lock: Lock,
}

/// An error that kept a file from being opened as a store.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the store {}: {cause}; expected {}", path.display(), cause.expected())]
pub struct OpenError {
    path: PathBuf,
    cause: OpenCause,
}

impl OpenError {
    /// Returns whether [`SqliteStore::open_cancellable`] was cancelled.
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
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error(transparent)]
    File(#[from] io::Error),
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl OpenCause {
    const fn expected(&self) -> &'static str {
        match self {
            Self::Missing | Self::Schema(SchemaError::NoStore) => {
                "the --store of a backend, which makes it when it serves for the first time"
            }
            Self::Schema(SchemaError::TooNew { .. }) => "a program as new as the one that wrote it",
            Self::Schema(SchemaError::TooOld { .. }) => {
                "the program that serves it, or one to serve it that is as new as this"
            }
            _ => "a file that this program made, or none yet, in an existing directory where this user may write",
        }
    }
}

impl SqliteStore {
    /// Opens the store at `path`, and migrates its schema. Creates it with mode 0600 if there is none. Blocks.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_cancellable(path, CancellationToken::new())
    }

    /// Opens the store as [`SqliteStore::open`] does. Fails once `cancelled` is, and then leaves the schema as it was.
    /// Blocks.
    pub fn open_cancellable(path: &Path, cancelled: CancellationToken) -> Result<Self, OpenError> {
        Self::open_with(path, SCHEMA, cancelled)
    }

    /// Opens the store at `path` beside the backend that serves it. Neither creates it nor migrates its schema, with
    /// which that backend could not start again. Blocks.
    pub fn open_existing(path: &Path) -> Result<Self, OpenError> {
        Self::open_existing_with(path, SCHEMA)
    }

    fn open_with(path: &Path, schema: Schema, cancelled: CancellationToken) -> Result<Self, OpenError> {
        let migrate = |connection: &mut Connection| schema.migrate(connection, cancelled);
        Self::try_open(path, migrate, RowWriter::load_uids).map_err(|cause| OpenError { path: path.to_owned(), cause })
    }

    fn open_existing_with(path: &Path, schema: Schema) -> Result<Self, OpenError> {
        let open = |exists: bool| {
            if !exists {
                return Err(OpenCause::Missing);
            }
            Self::try_open(path, |connection| schema.require(connection), |_| Ok(()))
        };
        let opened = path.try_exists().map_err(OpenCause::from).and_then(open);
        opened.map_err(|cause| OpenError { path: path.to_owned(), cause })
    }

    fn try_open(
        path: &Path,
        check_schema: impl FnOnce(&mut Connection) -> Result<(), SchemaError>,
        prepare: impl FnOnce(&mut RowWriter) -> rusqlite::Result<()>,
    ) -> Result<Self, OpenCause> {
        let lock = Lock::shared(path)?;
        create_private(path)?;
        let mut writing = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // The file records the journal mode; the reader finds it there.
        writing.pragma_update(None, "journal_mode", "WAL")?;
        writing.pragma_update(None, "synchronous", "FULL")?;
        // Deleted rows are overwritten, so that an erased installation is not in the file's free pages either.
        writing.pragma_update(None, "secure_delete", "ON")?;
        writing.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        // A negative size is in kB rather than in pages.
        writing.pragma_update(None, "cache_size", -CACHE_KB)?;
        check_schema(&mut writing)?;
        let pseudonym_key = pseudonym_key(&writing)?;
        let mut rows = RowWriter::new(writing);
        prepare(&mut rows)?;
        let reader = || Ok::<_, OpenCause>(SqliteReader::new(connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?));
        Ok(Self {
            reader: reader()?,
            insights: reader()?,
            writer: SqliteWriter::start(rows)?,
            pseudonym_key,
            path: path.to_owned(),
            _lock: lock,
        })
    }
}

/// Returns the stored key, or stores a new one. If two processes do so at once, both use the key of the first.
fn pseudonym_key(connection: &Connection) -> Result<PseudonymKey, OpenCause> {
    const NAME: &str = "pseudonym";
    let new = PseudonymKey::random()?;
    connection.execute("INSERT INTO keys (name, key) VALUES (?1, ?2) ON CONFLICT DO NOTHING", params![NAME, new])?;
    let key: [u8; PseudonymKey::LENGTH] =
        connection.query_row("SELECT key FROM keys WHERE name = ?1", params![NAME], |row| row.get("key"))?;
    Ok(key.into())
}

impl Store for SqliteStore {
    fn write(&self, batch: Batch) -> BoxFuture<'_, Result<(), WriteError>> {
        self.writer.write(batch).boxed()
    }

    fn prune(&self, cutoffs: Cutoffs) -> BoxFuture<'_, Result<Pruned, WriteError>> {
        async move {
            let mut all = Pruned::default();
            loop {
                let step = move |rows: &mut RowWriter| prune::step(rows, cutoffs, all);
                let (pruned, has_more) = self.writer.run_on_rows(step).await?;
                all = pruned;
                if !has_more {
                    return Ok(all);
                }
            }
        }
        .boxed()
    }

    fn erase(&self, installation: Uuid) -> BoxFuture<'_, Result<Erased, WriteError>> {
        self.writer.run_on_rows(move |rows| prune::erase(rows, installation)).boxed()
    }

    fn checkpoint(&self) -> BoxFuture<'_, Result<(), WriteError>> {
        let tidy = |rows: &mut RowWriter| {
            rows.merge()?;
            prune::truncate_wal(rows.parts().0)
        };
        self.writer.run_on_rows(tidy).boxed()
    }

    fn overview(&self, query: OverviewQuery) -> BoxFuture<'_, Result<OverviewData, ReadError>> {
        async move {
            // A store that can't write is read all the same: the events of the last minute are missing then.
            if let Err(error) = self.writer.run_on_rows(RowWriter::merge).await {
                tracing::debug!(%error, "failed to merge the newest events before a question");
            }
            self.insights.run_with_words(move |connection, words| reader::overview(connection, words, query)).await
        }
        .boxed()
    }

    fn pseudonym_key(&self) -> BoxFuture<'_, Result<PseudonymKey, ReadError>> {
        futures::future::ready(Ok(self.pseudonym_key.clone())).boxed()
    }

    fn size(&self) -> BoxFuture<'_, Result<u64, ReadError>> {
        let bytes = |path: &Path| path.metadata().map(|file| file.len());
        // There is no write-ahead log before the first write.
        let wal = bytes(&beside(&self.path, "-wal")).unwrap_or_default();
        let size = bytes(&self.path).map(|file| file + wal).map_err(|error| ReadError(error.to_string().into()));
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
