//! The store in one `SQLite` file: WAL, synchronous FULL, one writer, group commit.

mod columns;
mod reader;
mod writer;

use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use rusqlite::{Connection, OpenFlags, params};

use super::{Batch, NoRandomNumbers, OverviewFacts, OverviewQuery, PseudonymKey, ReadError, Store, WriteError};
use reader::Reader;
use writer::Writer;

#[allow(missing_docs, unreachable_pub, clippy::pedantic, clippy::unwrap_used, reason = "made by refinery")]
mod embedded {
    refinery::embed_migrations!("src/backend/store/sqlite/migrations");
}

/// How long a connection waits for another process that holds the file, such as a backup: less than the 5 s that a
/// relay waits for its answer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(4);

/// Read and written by the owner alone.
const MODE: u32 = 0o600;

/// A store in one file. Dropping it writes what was taken on, and closes the file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Writer,
    reader: Reader,
    pseudonym_key: PseudonymKey,
}

/// Why a file could not be opened as a store.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the store {}: {cause}; expected a file that this program made, or none yet, in an existing folder where this user may write", path.display())]
pub struct OpenError {
    path: PathBuf,
    cause: OpenCause,
}

#[derive(Debug, thiserror::Error)]
enum OpenCause {
    #[error(transparent)]
    File(#[from] io::Error),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("its schema cannot be brought up to date: {0}")]
    Migration(#[from] Box<refinery::Error>),
    #[error(transparent)]
    Random(#[from] NoRandomNumbers),
}

impl SqliteStore {
    /// Opens the store at `path`, made with mode 0600 where there is none, and brings its schema up to date. Blocks.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::try_open(path).map_err(|cause| OpenError { path: path.to_owned(), cause })
    }

    fn try_open(path: &Path) -> Result<Self, OpenCause> {
        restrict(path)?;
        let mut writing = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // The mode is kept in the file; the reader finds it there.
        writing.pragma_update(None, "journal_mode", "WAL")?;
        writing.pragma_update(None, "synchronous", "FULL")?;
        embedded::migrations::runner().run(&mut writing).map_err(Box::new)?;
        let pseudonym_key = pseudonym_key(&writing)?;
        let reading = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        Ok(Self { writer: Writer::start(writing)?, reader: Reader::new(reading), pseudonym_key })
    }
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

fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

impl Store for SqliteStore {
    fn write(&self, batch: Batch) -> BoxFuture<'_, Result<(), WriteError>> {
        self.writer.write(batch).boxed()
    }

    fn overview(&self, query: OverviewQuery) -> BoxFuture<'_, Result<OverviewFacts, ReadError>> {
        self.reader.run(move |connection| reader::overview(connection, query)).boxed()
    }

    fn pseudonym_key(&self) -> BoxFuture<'_, Result<PseudonymKey, ReadError>> {
        futures::future::ready(Ok(self.pseudonym_key.clone())).boxed()
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), ReadError>> {
        self.reader
            .run(|connection| connection.query_row("SELECT EXISTS (SELECT 1 FROM latest)", [], |_| Ok(())))
            .boxed()
    }
}
