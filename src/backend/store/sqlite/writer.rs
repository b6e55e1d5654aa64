//! The writing connection, owned by one thread that commits queued batches together.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use rusqlite::{Connection, TransactionBehavior};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tracing::field;

use super::group::{Group, GroupState};
use super::inbox;
use super::uids::KnownUids;
use super::words::Words;
use crate::backend::metrics;
use crate::backend::store::{Allowance, Batch, WriteError};
use crate::process::log_throttle::LogThrottle;

/// The maximum number of queued rows, which the metric of the queue calls records. In groups, a machine of two cores
/// writes 8,000 to 18,000 rows a second: this is two seconds of work at worst, so that a queued batch is answered well
/// within the 5 s that a relay waits. A row takes about 200 bytes, so the queue stays under 4 MB.
const MAX_QUEUED_ROWS: usize = 16_384;

/// The number of rows after which a commit takes no further batch from the queue: half a second of work, so that the
/// first batch does not wait for the whole queue.
const MAX_COMMIT_ROWS: usize = 4_096;

/// The maximum number of events in the inbox. Merging as many takes about 50 ms, and a crash leaves no more for the next
/// start.
const MAX_WAITING: usize = 4_096;

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
}

/// A handle of the thread. Dropping it waits until the thread has written the queue.
#[derive(Debug)]
pub(super) struct SqliteWriter {
    /// Unbounded: each write holds a permit of `capacity` for each of its rows.
    jobs: Option<mpsc::UnboundedSender<Job>>,
    capacity: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

/// A job of the thread.
enum Job {
    Write(Write),
    /// Any other job, which begins and ends its own transactions.
    Task(Task),
}

type Task = Box<dyn FnOnce(&mut RowWriter) + Send>;

#[derive(Debug)]
struct Write {
    batch: Batch,
    allowance: Arc<dyn Allowance>,
    done: oneshot::Sender<Result<(), WriteError>>,
    permit: OwnedSemaphorePermit,
    /// The runtime of the caller.
    runtime: Option<Handle>,
}

/// The result of a write, and its caller.
type WriteAnswer = (Result<(), WriteError>, oneshot::Sender<Result<(), WriteError>>);

/// The answers to the writes of a commit, which are sent when this is dropped.
struct WriteReply(Vec<WriteAnswer>);

impl SqliteWriter {
    pub(super) fn start(rows: RowWriter) -> io::Result<Self> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(|| run_jobs(rows, receiver))?;
        Ok(Self { jobs: Some(sender), capacity: Arc::new(Semaphore::new(MAX_QUEUED_ROWS)), thread: Some(thread) })
    }

    pub(super) async fn write(&self, batch: Batch, allowance: Arc<dyn Allowance>) -> Result<(), WriteError> {
        if batch.is_empty() {
            return Ok(());
        }
        let permit = self.reserve(batch.len())?;
        let (done, answer) = oneshot::channel();
        metrics::write_queue_pushed(batch.len());
        let runtime = Handle::try_current().ok();
        self.send(Job::Write(Write { batch, allowance, done, permit, runtime }))?;
        answer.await.unwrap_or_else(|_| Err(closed()))
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
        self.send(Job::Task(Box::new(move |rows| {
            // A caller that was dropped needs no answer.
            let _ = done.send(rows.or_forget(task));
        })))?;
        answer.await.map_err(|_| closed())?.map_err(|error| unavailable(&error))
    }

    fn send(&self, job: Job) -> Result<(), WriteError> {
        self.jobs.as_ref().ok_or_else(closed)?.send(job).map_err(|_| closed())
    }

    /// Reserves a part of the queue. A batch that is larger than the queue takes all of it.
    fn reserve(&self, rows: usize) -> Result<OwnedSemaphorePermit, WriteError> {
        let permits = u32::try_from(rows.min(MAX_QUEUED_ROWS)).unwrap_or(u32::MAX);
        Arc::clone(&self.capacity).try_acquire_many_owned(permits).map_err(|_| WriteError::Overloaded {
            waiting: MAX_QUEUED_ROWS - self.capacity.available_permits(),
            bound: MAX_QUEUED_ROWS,
        })
    }
}

fn closed() -> WriteError {
    WriteError::Unavailable("its writer has ended".into())
}

fn unavailable(error: &rusqlite::Error) -> WriteError {
    WriteError::Unavailable(error.to_string().into())
}

impl Drop for SqliteWriter {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // If the thread panicked, the panic hook has reported it.
            let _ = thread.join();
        }
    }
}

/// Runs jobs until every handle is dropped and the queue is empty.
fn run_jobs(mut rows: RowWriter, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let throttle = LogThrottle::per_minute();
    while let Some(first) = jobs.blocking_recv() {
        let (writes, task) = next_group(first, &mut jobs);
        if !writes.is_empty() {
            let result = commit_measured(&mut rows, &writes);
            log_result(&result, writes.len(), &throttle);
            reply(writes, &result);
        }
        if let Some(task) = task {
            task(&mut rows);
        }
    }
}

/// Commits the batches of `writes`, in a span with the number of records and the duration. Returns the result of each.
fn commit_measured(rows: &mut RowWriter, writes: &[Write]) -> Result<Vec<Result<(), WriteError>>, WriteError> {
    let records: usize = writes.iter().map(|write| write.batch.len()).sum();
    let span = tracing::debug_span!("commit", batches = writes.len(), records, duration = field::Empty).entered();
    let start = Instant::now();
    let result = rows.or_forget(|rows| rows.commit(writes)).map_err(|error| unavailable(&error));
    let duration = start.elapsed();
    span.record("duration", field::debug(duration));
    metrics::commits(result.is_ok(), duration);
    tracing::debug!(is_success = result.is_ok(), "committed");
    result
}

/// Returns the first job with the writes that are queued behind it, up to a task.
fn next_group(first: Job, jobs: &mut mpsc::UnboundedReceiver<Job>) -> (Vec<Write>, Option<Task>) {
    let (mut writes, mut rows) = (Vec::new(), 0);
    let mut next = Some(first);
    while let Some(job) = next {
        match job {
            Job::Write(write) => {
                rows += write.batch.len();
                writes.push(write);
            }
            Job::Task(task) => return (writes, Some(task)),
        }
        next = if rows < MAX_COMMIT_ROWS { jobs.try_recv().ok() } else { None };
    }
    (writes, None)
}

/// Answers writes on a thread of their runtime, where waking a task is cheaper than from outside, while the writer goes
/// on.
fn reply(writes: Vec<Write>, result: &Result<Vec<Result<(), WriteError>>, WriteError>) {
    let runtime = writes.iter().find_map(|write| write.runtime.clone());
    let result_of = |position: usize| match result {
        Ok(results) => results.get(position).cloned().unwrap_or_else(|| Err(closed())),
        Err(error) => Err(error.clone()),
    };
    let release = |(position, Write { batch, done, permit, .. })| {
        metrics::write_queue_popped(batch.len());
        drop(permit);
        (result_of(position), done)
    };
    // The permits are released first, so that a caller that is answered finds room in the queue.
    let reply = WriteReply(writes.into_iter().enumerate().map(release).collect());
    match runtime {
        // A runtime that has ended drops the reply at once.
        Some(runtime) => drop(runtime.spawn(async { drop(reply) })),
        None => drop(reply),
    }
}

impl Drop for WriteReply {
    fn drop(&mut self) {
        for (result, caller) in self.0.drain(..) {
            // A caller that was dropped will write again, which changes nothing.
            let _ = caller.send(result);
        }
    }
}

/// Logs that commits fail, at most once a minute, and that they succeed again.
fn log_result<T>(result: &Result<T, WriteError>, batches: usize, throttle: &LogThrottle) {
    match result {
        Ok(_) => throttle.recovered(|| tracing::info!(batches, "the store can write again")),
        Err(error) => throttle.failed(|count| {
            tracing::error!(%error, count, batches, "failed to write to the store; senders are told to try again");
        }),
    }
}

impl RowWriter {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, words: Words::default(), state: GroupState::default(), is_uncertain: false, uids: None }
    }

    /// Merges the inbox.
    pub(super) fn merge(&mut self) -> rusqlite::Result<()> {
        inbox::merge(&mut self.connection, &mut self.words)?;
        if let Some(uids) = &mut self.uids {
            uids.merged();
        }
        Ok(())
    }

    /// Merges what an earlier process left in the inbox, and reads the uids of recent events. Does nothing later.
    pub(super) fn load_uids(&mut self) -> rusqlite::Result<()> {
        if self.uids.is_none() {
            self.merge()?;
            self.uids = Some(KnownUids::load(&self.connection)?);
            self.state = GroupState::load(&self.connection, &mut self.words)?;
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
        let events: usize = writes.iter().map(|write| write.batch.events.len()).sum();
        if self.is_uncertain || self.uids.as_ref().is_some_and(|uids| uids.waiting() + events > MAX_WAITING) {
            self.merge()?;
            self.is_uncertain = false;
        }
        let Self { connection, words, state, is_uncertain, uids: Some(uids) } = self else { return Ok(Vec::new()) };
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let batches = writes.iter().map(|write| (&write.batch, write.allowance.as_ref())).collect();
        let mut group = Group::read(&transaction, words, batches)?;
        let written = group.write(&transaction, words, state, uids)?;
        if written.has_changed
            && let Err(error) = transaction.commit()
        {
            // If they were stored, they are in the table after the next merge, where the index has them looked up.
            uids.suspect(&written.events);
            *is_uncertain = true;
            return Err(error);
        }
        uids.add(&written.events);
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
