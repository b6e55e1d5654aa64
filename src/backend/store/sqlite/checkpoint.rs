//! Checkpoints, which copy pages from the write-ahead log into the file: by a thread of their own, so that commits go on meanwhile.

use std::ffi::c_int;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::hooks::Wal;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, MAIN_DB};

use super::file::BUSY_TIMEOUT;

/// The pages of 4 kB in the log with which each commit asks for a checkpoint: a page that many commits change is copied once then.
const REQUEST_PAGES: c_int = 2_000;

/// The pages with which a commit copies the rest itself. The log begins anew only once all of it is copied, and commits that follow
/// each other without a pause leave the thread no time for the end of it. A killed backend reads 32 MB within 200 ms at its next start.
const MAX_PAGES: c_int = 8_000;

/// Held during a checkpoint: `SQLite` makes one at a time, and does not wait for the end of another.
#[derive(Debug, Clone, Default)]
pub(super) struct CheckpointLock(Arc<Mutex<()>>);

impl CheckpointLock {
    /// Runs `task` after the checkpoint that is under way.
    pub(super) fn hold<T>(&self, task: impl FnOnce() -> T) -> T {
        let Self(lock) = self;
        let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        task()
    }
}

/// Starts the thread, which makes checkpoints of what is committed by `writing`, with the connection `copying`. It ends once `writing`
/// is closed, and returns its connection: of two that are closed at once, none may be the last, which deletes the log.
pub(super) fn start(
    writing: &mut Connection,
    copying: Connection,
    lock: CheckpointLock,
) -> io::Result<JoinHandle<Connection>> {
    let (request, requests) = sync_channel(1);
    let after_commit = move |wal: &mut Wal, pages| {
        continue_checkpoint(wal, pages, &request);
        Ok(())
    };
    writing.wal_hook(Some(after_commit)).map_err(io::Error::other)?;
    std::thread::Builder::new().name("store-checkpoint".into()).spawn(move || {
        run(&copying, &requests, &lock);
        copying
    })
}

/// Sees to a log that has grown. The commit is made by then: whatever fails here is done after the next one.
fn continue_checkpoint(wal: &mut Wal, pages: c_int, request: &SyncSender<()>) {
    if pages >= MAX_PAGES {
        if let Err(error) = wal.checkpoint() {
            tracing::debug!(%error, "failed to copy the end of the write-ahead log");
        }
    } else if pages >= REQUEST_PAGES {
        // One request that waits is enough.
        let _ = request.try_send(());
    }
}

fn run(copying: &Connection, requests: &Receiver<()>, lock: &CheckpointLock) {
    while requests.recv().is_ok() {
        if let Err(error) = lock.hold(|| copying.wal_checkpoint_v2(Some(MAIN_DB), CheckpointMode::PASSIVE)) {
            tracing::debug!(%error, "failed to copy the write-ahead log");
        }
    }
}

/// Truncates the write-ahead log, which still holds deleted rows and reveals the order of commits. The log stays while
/// a reader, such as a backup, uses an older state. This does not wait for readers, since writes would wait too.
pub(super) fn truncate_wal(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::ZERO)?;
    let truncated = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    connection.busy_timeout(BUSY_TIMEOUT)?;
    truncated
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use super::*;

    fn open(path: &Path) -> Connection {
        let connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection
    }

    /// Commits so many pages.
    fn commit(connection: &Connection, pages: c_int) {
        let insert =
            "WITH RECURSIVE page (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM page WHERE number < ?1)
                      INSERT INTO pages SELECT randomblob(4000) FROM page";
        connection.execute(insert, [pages]).unwrap();
    }

    /// Returns the pages of the log, and how many of them are copied.
    fn log(connection: &Connection) -> (c_int, c_int) {
        connection.wal_checkpoint_v2(Some(MAIN_DB), CheckpointMode::NOOP).unwrap()
    }

    fn start_with_table(path: &Path, lock: &CheckpointLock) -> (Connection, JoinHandle<Connection>) {
        let mut writing = open(path);
        let thread = start(&mut writing, open(path), lock.clone()).unwrap();
        writing.execute_batch("CREATE TABLE pages (content BLOB)").unwrap();
        (writing, thread)
    }

    #[test]
    fn a_log_that_has_grown_is_copied_without_a_commit() {
        let folder = tempfile::tempdir().unwrap();
        let (writing, thread) = start_with_table(&folder.path().join("pages.db"), &CheckpointLock::default());
        commit(&writing, 100);
        assert_eq!(log(&writing).1, 0);
        commit(&writing, REQUEST_PAGES);
        let end = Instant::now() + Duration::from_mins(1);
        while log(&writing).1 < REQUEST_PAGES {
            assert!(Instant::now() < end, "no checkpoint within a minute");
            std::thread::yield_now();
        }
        drop(writing);
        drop(thread.join().unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a closed store is one file");
    }

    #[test]
    fn the_log_has_a_bound_while_the_thread_comes_to_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let lock = CheckpointLock::default();
        let (writing, thread) = start_with_table(&folder.path().join("pages.db"), &lock);
        lock.hold(|| {
            for _ in 0..30 {
                commit(&writing, 1_000);
                let (pages, _) = log(&writing);
                assert!(pages < MAX_PAGES + 1_100, "{pages} pages");
            }
        });
        drop(writing);
        drop(thread.join().unwrap());
    }
}
