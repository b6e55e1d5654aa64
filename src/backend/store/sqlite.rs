//! A store in one `SQLite` file: a write-ahead log, full synchronization, one writer, and group commits.

mod age;
mod auth;
pub mod backup;
mod checkpoint;
mod columns;
mod erase;
mod facts;
pub mod file;
mod first_seen;
mod future;
mod group;
mod inbox;
mod inbox_record;
mod lock;
mod matching;
mod migrate;
mod operations;
mod paced_merge;
mod prune;
mod public_weeks;
mod published_week;
mod reader;
mod removal;
mod rollups;
mod rows;
pub(super) mod transfer;
mod uids;
mod words;
mod writer;

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::purpose::Purpose;
use super::transfer::{SERVE_TARGET, UNSERVED_TARGET};
use super::{
    Allowance, Batch, Cutoffs, Day, Erased, EventFilter, EventRow, Facts, FactsQuery, Hour, InstallationFilter, Intake,
    MatchedInstallations, MatchedRows, Operations, Pruned, PseudonymKey, PublicKey, RandomError, ReadError, StaleRows,
    Store, StoreSize, WriteError,
};
use file::{APPLICATION_ID, FileError, StoreFile, beside, connect};
use lock::{Lock, LockError};
use migrate::{SCHEMA, Schema, SchemaError};
use reader::{DEADLINE, SCAN_DEADLINE, SqliteReader};
use words::Words;
use writer::{RowWriter, SqliteWriter};

/// The page cache of the writing connection, in kB. The uids of events are random, so that each event is on another
/// page. This holds the uids of 100,000 events.
const CACHE_KB: i64 = 16_000;

/// The most events of the inbox that are merged before a question, which lacks the newest under load. In a large table each is on a
/// page of its own, and they take 12 ms.
const MAX_MERGED_FOR_QUESTION: usize = 1_024;

/// The error of a store whose file is no longer at its path.
const LOST: &str = "its file was moved, deleted or replaced";

/// A store in one file. Dropping it writes what is queued, and closes the file.
#[derive(Debug)]
pub struct SqliteStore {
    /// Dropped before the writer: the last connection deletes the write-ahead log, which a read-only one may not.
    reader: SqliteReader,
    /// A connection of its own for questions about all rows, so that sessions, tokens and probes don't wait for them.
    insights: SqliteReader,
    /// A connection of its own for admins who look at all rows, which may take minutes.
    scans: SqliteReader,
    writer: SqliteWriter,
    pseudonym_key: PseudonymKey,
    public_key: PublicKey,
    path: PathBuf,
    /// Dropped after the connections, as the locks are.
    file: Arc<StoreFile>,
    locks: StoreLocks,
}

/// The locks of an open store.
#[derive(Debug)]
struct StoreLocks {
    _used: Lock,
    /// `None` for a command beside the backend that serves the store.
    served: Option<Lock>,
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
    #[error("another process serves it")]
    Served,
    #[error("its file was replaced meanwhile; try again")]
    Moved,
    #[error("there is no such file")]
    Missing,
    #[error(transparent)]
    NoStore(FileError),
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error(transparent)]
    File(#[from] io::Error),
    #[error("rows are being moved into it, and the move is not complete")]
    Moving,
    #[error("{UNSERVED_TARGET}")]
    UnservedTarget,
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
            Self::Served => "one backend for a store",
            Self::Moving => {
                "`kamaji-telemetry backend migrate`, with the same --from and --to, after the backend of --from was stopped"
            }
            Self::UnservedTarget => SERVE_TARGET,
            _ => "a file that this program made, or none yet, in an existing directory where this user may write",
        }
    }
}

/// Opens the connection of a file that writes.
fn connect_to_write(path: &Path, file: &StoreFile) -> rusqlite::Result<Connection> {
    let writing = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    if file.is_new() {
        // Before the write-ahead log, so that it is in the file's header from its first page on.
        writing.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    // The file records the journal mode; the reader finds it there.
    writing.pragma_update(None, "journal_mode", "WAL")?;
    writing.pragma_update(None, "synchronous", "FULL")?;
    // Deleted rows are overwritten, so that an erased installation is not in the file's free pages either.
    writing.pragma_update(None, "secure_delete", "ON")?;
    // A negative size is in kB rather than in pages.
    writing.pragma_update(None, "cache_size", -CACHE_KB)?;
    Ok(writing)
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

    /// Opens the store at `path` beside the backend that serves it, for a command that changes nothing. Neither creates it nor
    /// migrates its schema, with which that backend could not start again. Blocks.
    pub fn open_existing(path: &Path) -> Result<Self, OpenError> {
        Self::open_existing_with(path, Purpose::Read, SCHEMA)
    }

    /// Opens the store as [`SqliteStore::open_existing`] does, for a command that changes rows. Fails if rows were moved into it and
    /// no backend has served it since: another run of the move would undo the change. Blocks.
    pub fn open_to_change(path: &Path) -> Result<Self, OpenError> {
        Self::open_existing_with(path, Purpose::Change, SCHEMA)
    }

    fn open_with(path: &Path, schema: Schema, cancelled: CancellationToken) -> Result<Self, OpenError> {
        let migrate = |connection: &mut Connection| schema.migrate(connection, cancelled);
        Self::try_open(path, Purpose::Serve, migrate).map_err(|cause| OpenError { path: path.to_owned(), cause })
    }

    fn open_existing_with(path: &Path, purpose: Purpose, schema: Schema) -> Result<Self, OpenError> {
        let open = |exists: bool| {
            if !exists {
                return Err(OpenCause::Missing);
            }
            Self::try_open(path, purpose, |connection| schema.require(connection))
        };
        let opened = path.try_exists().map_err(OpenCause::from).and_then(open);
        opened.map_err(|cause| OpenError { path: path.to_owned(), cause })
    }

    fn try_open(
        path: &Path,
        purpose: Purpose,
        check_schema: impl FnOnce(&mut Connection) -> Result<(), SchemaError>,
    ) -> Result<Self, OpenCause> {
        // Before anything is written, so that nothing is left beside a file of another program.
        file::check(path)?;
        let locks = StoreLocks::take(path, purpose)?;
        let file = Arc::new(StoreFile::open(path)?);
        let mut writing = connect_to_write(path, &file)?;
        check_schema(&mut writing)?;
        match purpose {
            Purpose::Serve => transfer::end_move(&writing)?.map_err(|_| OpenCause::Moving)?,
            Purpose::Change if transfer::is_unserved_target(&writing)? => return Err(OpenCause::UnservedTarget),
            Purpose::Read | Purpose::Change => (),
        }
        let pseudonym_key = key(&writing, "pseudonym")?.into();
        let public_key = key(&writing, "public")?.into();
        let mut rows = RowWriter::new(writing);
        if purpose == Purpose::Serve {
            rows.load_uids()?;
        }
        let reader = |deadline| {
            Ok::<_, OpenCause>(SqliteReader::new(connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?, deadline))
        };
        let (reader, insights, scans) = (reader(DEADLINE)?, reader(DEADLINE)?, reader(SCAN_DEADLINE)?);
        if !file.compare() {
            return Err(OpenCause::Moved);
        }
        if file.is_new() {
            tracing::info!(path = %path.display(), "created the store");
        }
        Ok(Self {
            reader,
            insights,
            scans,
            writer: SqliteWriter::start(rows, connect_to_write(path, &file)?)?,
            pseudonym_key,
            public_key,
            path: path.to_owned(),
            file,
            locks,
        })
    }

    /// Runs the steps of an erasure, each of which begins after the key that the one before has returned.
    ///
    /// Beside the backend that serves the store, each step waits a while first: the backend asks for the lock of the file 10
    /// to 40 times a second, and would hardly find it free.
    async fn erase_in_steps<K, F>(&self, first: K, step: F) -> Result<MatchedRows, WriteError>
    where
        K: Send + 'static,
        F: Fn(&mut RowWriter, K, &mut MatchedRows) -> rusqlite::Result<Option<K>> + Clone + Send + 'static,
    {
        const PAUSE: Duration = Duration::from_millis(200);
        let is_served_elsewhere = self.locks.served.is_none();
        let (mut erased, mut after) = (MatchedRows::default(), Some(first));
        while let Some(from) = after {
            if is_served_elsewhere {
                tokio::time::sleep(PAUSE).await;
            }
            let (step, mut sum) = (step.clone(), erased);
            let run = move |rows: &mut RowWriter| {
                if is_served_elsewhere {
                    rows.forget_words();
                }
                let next = step(rows, from, &mut sum)?;
                Ok((sum, next))
            };
            (erased, after) = self.run_on_rows(run).await?;
        }
        Ok(erased)
    }

    /// Runs `task` on the writing connection, unless the file is no longer the one that is open.
    async fn run<T, F>(&self, task: F) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.check_file()?;
        self.writer.run(task).await
    }

    /// Runs `task`, which changes rows, as [`SqliteStore::run`] does.
    async fn run_on_rows<T, F>(&self, task: F) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: FnOnce(&mut RowWriter) -> rusqlite::Result<T> + Send + 'static,
    {
        self.check_file()?;
        self.writer.run_on_rows(task).await
    }

    /// Merges the inbox before it is read. A store that can't write is read all the same: the events of the last minute are
    /// missing then.
    async fn merge(&self) {
        if let Err(error) = self.writer.run_on_rows(RowWriter::merge).await {
            tracing::debug!(%error, "failed to merge the newest events before a read");
        }
    }

    fn check_file(&self) -> Result<(), WriteError> {
        if self.file.is_lost() { Err(WriteError::Unavailable(LOST.into())) } else { Ok(()) }
    }
}

impl StoreLocks {
    fn take(path: &Path, purpose: Purpose) -> Result<Self, OpenCause> {
        let used = Lock::shared(path)?;
        let served = (purpose == Purpose::Serve).then(|| Lock::serving(path)).transpose();
        let served = served.map_err(|error| match error {
            LockError::Used => OpenCause::Served,
            LockError::File(error) => OpenCause::File(error),
        })?;
        Ok(Self { _used: used, served })
    }
}

/// Returns the stored key of this name, or stores a new one. If two processes do so at once, both use the key of the first.
fn key(connection: &Connection, name: &str) -> Result<[u8; PseudonymKey::LENGTH], OpenCause> {
    let new = PseudonymKey::random()?;
    connection.execute("INSERT INTO keys (name, key) VALUES (?1, ?2) ON CONFLICT DO NOTHING", params![name, new])?;
    Ok(connection.query_row("SELECT key FROM keys WHERE name = ?1", params![name], |row| row.get("key"))?)
}

impl Store for SqliteStore {
    fn write_within(&self, batch: Batch, allowance: Arc<dyn Allowance>) -> BoxFuture<'_, Result<(), WriteError>> {
        async move {
            self.check_file()?;
            self.writer.write(batch, allowance).await?;
            // Nothing is acknowledged that is in a file which nobody will find.
            self.check_file()
        }
        .boxed()
    }

    fn prune(&self, cutoffs: Cutoffs) -> BoxFuture<'_, Result<Pruned, WriteError>> {
        async move {
            let mut all = Pruned::default();
            loop {
                let step = move |rows: &mut RowWriter| prune::step(rows, cutoffs, all);
                let (pruned, has_more) = self.run_on_rows(step).await?;
                all = pruned;
                if !has_more {
                    return Ok(all);
                }
            }
        }
        .boxed()
    }

    fn erase(&self, installation: Uuid) -> BoxFuture<'_, Result<Erased, WriteError>> {
        self.run_on_rows(move |rows| erase::erase(rows, installation)).boxed()
    }

    fn erase_installations(&self, filter: InstallationFilter) -> BoxFuture<'_, Result<MatchedRows, WriteError>> {
        let key = self.pseudonym_key.clone();
        let step = move |rows: &mut RowWriter, after, erased: &mut MatchedRows| {
            erase::erase_installations(rows, &filter, &key, after, erased)
        };
        self.erase_in_steps(Uuid::nil(), step).boxed()
    }

    fn erase_events(&self, filter: EventFilter) -> BoxFuture<'_, Result<MatchedRows, WriteError>> {
        let step = move |rows: &mut RowWriter, after, erased: &mut MatchedRows| {
            erase::erase_events(rows, &filter, after, erased)
        };
        self.erase_in_steps(erase::FIRST_EVENT, step).boxed()
    }

    fn installations(
        &self,
        filter: InstallationFilter,
        limit: usize,
    ) -> BoxFuture<'_, Result<MatchedInstallations, ReadError>> {
        let key = self.pseudonym_key.clone();
        let read = move |connection: &mut Connection, words: &mut Words| {
            matching::installations(connection, words, &filter, &key, limit)
        };
        self.scans.run_with_words(read).boxed()
    }

    fn events(&self, filter: EventFilter, limit: usize) -> BoxFuture<'_, Result<Vec<EventRow>, ReadError>> {
        async move {
            self.merge().await;
            let read = move |connection: &mut Connection, words: &mut Words| {
                matching::events(connection, words, &filter, limit)
            };
            self.scans.run_with_words(read).await
        }
        .boxed()
    }

    fn count_events(&self, filter: EventFilter) -> BoxFuture<'_, Result<MatchedRows, ReadError>> {
        async move {
            self.merge().await;
            let read = move |connection: &mut Connection, words: &mut Words| {
                matching::count_events(connection, words, &filter)
            };
            self.scans.run_with_words(read).await
        }
        .boxed()
    }

    fn intake(&self, today: Day) -> BoxFuture<'_, Result<Intake, ReadError>> {
        self.reader.run(move |connection| age::intake(connection, today)).boxed()
    }

    fn record_operations(&self, operations: Operations) -> BoxFuture<'_, Result<(), WriteError>> {
        self.run(move |connection| operations::record(connection, &operations)).boxed()
    }

    fn newest_record(&self) -> BoxFuture<'_, Result<Option<Timestamp>, ReadError>> {
        self.reader.run(|connection| age::newest_record(connection)).boxed()
    }

    fn stale_rows(&self, cutoffs: Cutoffs) -> BoxFuture<'_, Result<StaleRows, ReadError>> {
        self.reader.run(move |connection| age::stale_rows(connection, cutoffs)).boxed()
    }

    fn delete_after(&self, time: Timestamp) -> BoxFuture<'_, Result<Pruned, WriteError>> {
        self.run_on_rows(move |rows| future::delete_after(rows, Hour::of(time))).boxed()
    }

    fn checkpoint(&self) -> BoxFuture<'_, Result<(), WriteError>> {
        async move {
            // What is waiting now is part of the merge that is under way, or of the next.
            for _ in 0..2 {
                while self.writer.run_on_rows(RowWriter::merge_part).await? {}
            }
            self.writer.run_on_rows(RowWriter::truncate_wal).await
        }
        .boxed()
    }

    fn facts(&self, queries: Vec<FactsQuery>) -> BoxFuture<'_, Result<Vec<Facts>, ReadError>> {
        async move {
            if self.writer.in_inbox() <= MAX_MERGED_FOR_QUESTION {
                self.merge().await;
            }
            self.insights.run_with_words(move |connection, words| facts::facts(connection, words, &queries)).await
        }
        .boxed()
    }

    fn move_first_seen(&self, first_seen: BTreeMap<Uuid, Hour>) -> BoxFuture<'_, Result<u64, WriteError>> {
        async move {
            let (mut moved, mut rest) = (0, first_seen);
            while !rest.is_empty() {
                let step = first_seen::take_step(&mut rest);
                moved += self.run_on_rows(move |rows| first_seen::move_first_seen(rows, &step)).await?;
            }
            Ok(moved)
        }
        .boxed()
    }

    fn pseudonym_key(&self) -> BoxFuture<'_, Result<PseudonymKey, ReadError>> {
        futures::future::ready(Ok(self.pseudonym_key.clone())).boxed()
    }

    fn size(&self) -> BoxFuture<'_, Result<StoreSize, ReadError>> {
        async move {
            let bytes = |path: &Path| path.metadata().map(|file| file.len());
            // There is no write-ahead log before the first write.
            let wal = bytes(&beside(&self.path, "-wal")).unwrap_or_default();
            let file = bytes(&self.path).map_err(|error| ReadError(error.to_string().into()))?;
            let used = self.reader.run(|connection| age::used_bytes(connection)).await?;
            Ok(StoreSize { on_disk: file + wal, used })
        }
        .boxed()
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), ReadError>> {
        async move {
            let file = Arc::clone(&self.file);
            let is_same = self.reader.run(move |connection| {
                connection.query_row("SELECT EXISTS (SELECT 1 FROM latest)", [], |_| Ok(()))?;
                Ok(file.compare())
            });
            if is_same.await? { Ok(()) } else { Err(ReadError(LOST.into())) }
        }
        .boxed()
    }
}

impl From<FileError> for OpenCause {
    fn from(error: FileError) -> Self {
        match error {
            FileError::File(error) => Self::File(error),
            error => Self::NoStore(error),
        }
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
