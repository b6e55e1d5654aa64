//! The writing connection, owned by one thread that commits queued batches together.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use super::checkpoint::{self, CheckpointLock};
use super::paced_merge::PacedMerge;
use super::uids::KnownUids;
use super::words::Words;
use super::{group, inbox};
use crate::backend::store::group::{
    CommitMeasure, GroupResult, GroupState, Write, WriteQueue, WriterQueue, closed, log_result, queues, reply,
};
use crate::backend::store::{Allowance, Batch, WriteError};
use crate::process::log_throttle::LogThrottle;

/// The writing connection, and what it holds in memory. Nobody else may write rows while it is open; other processes
/// delete some.
pub(super) struct RowWriter {
    connection: Connection,
    words: Words,
    state: GroupState,
    /// True after a commit that failed, which may have stored its events all the same.
    is_uncertain: bool,
    /// Read before the first commit: processes that only delete rows need none.
    uids: Option<KnownUids>,
    merge: Option<PacedMerge>,
    checkpoint_lock: CheckpointLock,
}

/// A handle of the thread, and of that of the checkpoints. Dropping it waits until the queue is written.
#[derive(Debug)]
pub(super) struct SqliteWriter {
    queue: Option<WriteQueue<Task>>,
    /// The number of events in the inbox after the last commit or task.
    in_inbox: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
    checkpoints: Option<JoinHandle<Connection>>,
}

/// A task of the thread that is no write.
struct Task(Box<dyn FnOnce(&mut RowWriter) + Send>);

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Task")
    }
}

impl SqliteWriter {
    pub(super) fn start(mut rows: RowWriter, copying: Connection) -> io::Result<Self> {
        let (queue, [jobs]) = queues();
        let checkpoints = checkpoint::start(&mut rows.connection, copying, rows.checkpoint_lock.clone())?;
        let in_inbox = Arc::new(AtomicUsize::new(rows.in_inbox()));
        let counted = Arc::clone(&in_inbox);
        let thread = std::thread::Builder::new().name("store-writer".into());
        let thread = thread.spawn(move || run_jobs(rows, jobs, &counted))?;
        Ok(Self { queue: Some(queue), in_inbox, thread: Some(thread), checkpoints: Some(checkpoints) })
    }

    pub(super) async fn write(&self, batch: Batch, allowance: Arc<dyn Allowance>) -> Result<(), WriteError> {
        self.queue()?.write(batch, allowance).await
    }

    /// Runs `task` on the writing connection, between two commits.
    pub(super) async fn run<T, F>(&self, task: F) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.run_on_rows(|rows| task(&mut rows.connection)).await
    }

    /// Runs `task`, which changes rows, between two commits.
    pub(super) async fn run_on_rows<T, F>(&self, task: F) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: FnOnce(&mut RowWriter) -> rusqlite::Result<T> + Send + 'static,
    {
        let (done, answer) = oneshot::channel();
        self.queue()?.run(Task(Box::new(move |rows| {
            // A caller that was dropped needs no answer.
            let _ = done.send(rows.or_forget(task));
        })))?;
        answer.await.map_err(|_| closed())?.map_err(|error| unavailable(&error))
    }

    /// Returns the number of events in the inbox, without waiting for the thread.
    pub(super) fn in_inbox(&self) -> usize {
        self.in_inbox.load(Ordering::Relaxed)
    }

    fn queue(&self) -> Result<&WriteQueue<Task>, WriteError> {
        self.queue.as_ref().ok_or_else(closed)
    }
}

fn unavailable(error: &rusqlite::Error) -> WriteError {
    WriteError::Unavailable(error.to_string().into())
}

impl Drop for SqliteWriter {
    fn drop(&mut self) {
        drop(self.queue.take());
        // If a thread panicked, the panic hook has reported it.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(checkpoints) = self.checkpoints.take() {
            drop(checkpoints.join());
        }
    }
}

/// Runs jobs until every handle is dropped and the queue is empty.
fn run_jobs(mut rows: RowWriter, mut jobs: WriterQueue<Task>, in_inbox: &AtomicUsize) {
    let throttle = LogThrottle::per_minute();
    while let Some((writes, task)) = jobs.blocking_next() {
        if !writes.is_empty() {
            let result = commit_measured(&mut rows, &writes);
            log_result(&result, writes.len(), &throttle);
            in_inbox.store(rows.in_inbox(), Ordering::Relaxed);
            reply(writes, &result);
        }
        if let Some(Task(task)) = task {
            task(&mut rows);
            in_inbox.store(rows.in_inbox(), Ordering::Relaxed);
        }
    }
}

/// Commits the batches of `writes`. Returns the result of each.
fn commit_measured(rows: &mut RowWriter, writes: &[Write]) -> GroupResult {
    let measure = CommitMeasure::start(writes);
    let commit = || rows.or_forget(|rows| rows.commit(writes)).map_err(|error| unavailable(&error));
    let result = measure.span.in_scope(commit);
    measure.end(result.is_ok());
    result
}

impl RowWriter {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            words: Words::default(),
            state: GroupState::default(),
            is_uncertain: false,
            uids: None,
            merge: None,
            checkpoint_lock: CheckpointLock::default(),
        }
    }

    /// Merges the inbox.
    pub(super) fn merge(&mut self) -> rusqlite::Result<()> {
        self.merge = None;
        inbox::merge(&mut self.connection, &mut self.words)?;
        if let Some(uids) = &mut self.uids {
            uids.begin_merge();
            uids.end_merge();
        }
        Ok(())
    }

    /// Returns the number of events in the inbox that this process has received.
    fn in_inbox(&self) -> usize {
        self.uids.as_ref().map_or(0, KnownUids::in_inbox)
    }

    /// Merges a part of the inbox, and goes on with a merge that is under way. Returns whether it has more.
    pub(super) fn merge_part(&mut self) -> rusqlite::Result<bool> {
        let Self { connection, words, is_uncertain: false, uids: Some(uids), merge, .. } = self else {
            return self.merge().map(|()| false);
        };
        if merge.is_none() && uids.waiting() == 0 {
            return Ok(false);
        }
        *merge = PacedMerge::run_part(merge.take(), connection, words, uids)?;
        Ok(merge.is_some())
    }

    /// Truncates the write-ahead log, once no checkpoint is under way.
    pub(super) fn truncate_wal(&mut self) -> rusqlite::Result<()> {
        let Self { connection, checkpoint_lock, .. } = self;
        checkpoint_lock.hold(|| checkpoint::truncate_wal(connection))
    }

    /// Merges what an earlier process left in the inbox, and reads the uids of recent events. Does nothing later.
    pub(super) fn load_uids(&mut self) -> rusqlite::Result<()> {
        if self.uids.is_none() {
            self.merge()?;
            self.uids = Some(KnownUids::load(&self.connection)?);
            self.state = group::load_state(&self.connection, &mut self.words)?;
        }
        Ok(())
    }

    /// Forgets all uids, which are read again before the next commit: the newest event is another one now.
    pub(super) fn forget_uids(&mut self) {
        self.uids = None;
    }

    /// Forgets the uids that are older than any event that is accepted.
    pub(super) fn forget_old_uids(&mut self) {
        if let Some(uids) = &mut self.uids {
            uids.forget_old(self.state.newest());
        }
    }

    /// Forgets the words of a process that changes rows beside the one that serves the store, which may delete words.
    pub(super) fn forget_words(&mut self) {
        self.words.clear();
    }

    /// Returns the connection and the words, for changes of rows that are no batch.
    pub(super) fn parts(&mut self) -> (&mut Connection, &mut Words) {
        (&mut self.connection, &mut self.words)
    }

    /// Commits batches: none of them if that fails. Without anything new there is no commit. Returns the result of each
    /// batch, of which some may not be stored now.
    fn commit(&mut self, writes: &[Write]) -> rusqlite::Result<Vec<Result<(), WriteError>>> {
        self.load_uids()?;
        if self.is_uncertain {
            self.merge()?;
            self.is_uncertain = false;
        }
        let Self { connection, words, state, is_uncertain, uids: Some(uids), merge, .. } = self else {
            return Ok(Vec::new());
        };
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let batches = writes.iter().map(|write| (&write.batch, write.allowance.as_ref())).collect();
        let mut group = group::read(&transaction, words, batches)?;
        let written = group::write(&mut group, &transaction, words, state, uids)?;
        if written.is_empty() {
            return Ok(group.settle());
        }
        // What is left of the merge is not known if this fails.
        let step = PacedMerge::step(merge.take(), &transaction, words, uids, written.events.len())?;
        if let Err(error) = transaction.commit() {
            // If they were stored, they are in the table after the next merge, where the index has them looked up.
            uids.suspect(&written.events);
            *is_uncertain = true;
            return Err(error);
        }
        uids.add(&written.events);
        *merge = step.and_then(|merge| merge.committed(uids));
        Ok(group.settle())
    }

    /// Runs `task`. If it fails, the words that it may have stored and rolled back are forgotten.
    fn or_forget<T>(&mut self, task: impl FnOnce(&mut Self) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let result = task(self);
        if result.is_err() {
            self.words.clear();
        }
        result
    }
}
