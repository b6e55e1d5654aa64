//! The writing connection, owned by one thread that commits queued batches together.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

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
}

/// A handle of the thread. Dropping it waits until the thread has written the queue.
#[derive(Debug)]
pub(super) struct SqliteWriter {
    queue: Option<WriteQueue<Task>>,
    thread: Option<JoinHandle<()>>,
}

/// A task of the thread that is no write.
struct Task(Box<dyn FnOnce(&mut RowWriter) + Send>);

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Task")
    }
}

impl SqliteWriter {
    pub(super) fn start(rows: RowWriter) -> io::Result<Self> {
        let (queue, [jobs]) = queues();
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(|| run_jobs(rows, jobs))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
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
        if let Some(thread) = self.thread.take() {
            // If the thread panicked, the panic hook has reported it.
            let _ = thread.join();
        }
    }
}

/// Runs jobs until every handle is dropped and the queue is empty.
fn run_jobs(mut rows: RowWriter, mut jobs: WriterQueue<Task>) {
    let throttle = LogThrottle::per_minute();
    while let Some((writes, task)) = jobs.blocking_next() {
        if !writes.is_empty() {
            let result = commit_measured(&mut rows, &writes);
            log_result(&result, writes.len(), &throttle);
            reply(writes, &result);
        }
        if let Some(Task(task)) = task {
            task(&mut rows);
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
        let Self { connection, words, state, is_uncertain, uids: Some(uids), merge } = self else {
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
        let mut step = PacedMerge::step(merge.take(), &transaction, words, uids, written.events.len())?;
        if let Err(error) = transaction.commit() {
            // If they were stored, they are in the table after the next merge, where the index has them looked up.
            uids.suspect(&written.events);
            *is_uncertain = true;
            return Err(error);
        }
        uids.add(&written.events);
        if step.as_mut().is_some_and(|merge| merge.committed(uids)) {
            *merge = step;
        }
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
