//! One thread that owns the writing connection, and commits what waits together.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use rusqlite::{Connection, TransactionBehavior};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::rows::{write_event, write_snapshot};
use crate::backend::metrics;
use crate::backend::store::{Batch, WriteError};

/// The most rows that may wait. In groups, a machine of two cores writes 8,000 to 18,000 rows a second: this is two
/// seconds of work at worst, so that what is taken on is answered well within the 5 s that a relay waits. A row takes
/// about 200 bytes, so the queue stays under 4 MB.
const MAX_WAITING: usize = 16_384;

/// The most rows that one commit takes from the queue: half a second of work, so that the first to wait does not wait
/// for a whole queue.
const MAX_COMMIT: usize = 4_096;

/// A handle of the thread. Dropping it lets the thread finish what waits, and waits for it.
#[derive(Debug)]
pub(super) struct SqliteWriter {
    /// Not bounded by itself: each job holds its share of `room`.
    jobs: Option<mpsc::UnboundedSender<Job>>,
    room: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is to do.
enum Job {
    Write(Write),
    /// Anything else, which begins and ends its own transactions.
    Task(Task),
}

type Task = Box<dyn FnOnce(&mut Connection) + Send>;

#[derive(Debug)]
struct Write {
    batch: Batch,
    done: oneshot::Sender<Result<(), WriteError>>,
    room: OwnedSemaphorePermit,
    /// Of whoever waits.
    runtime: Option<Handle>,
}

/// What a group is told when this is dropped.
struct WriteReply {
    result: Result<(), WriteError>,
    waiting: Vec<oneshot::Sender<Result<(), WriteError>>>,
}

impl SqliteWriter {
    pub(super) fn start(connection: Connection) -> io::Result<Self> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(|| work(connection, receiver))?;
        Ok(Self { jobs: Some(sender), room: Arc::new(Semaphore::new(MAX_WAITING)), thread: Some(thread) })
    }

    pub(super) async fn write(&self, batch: Batch) -> Result<(), WriteError> {
        if batch.is_empty() {
            return Ok(());
        }
        let room = self.reserve(batch.len())?;
        let (done, answer) = oneshot::channel();
        metrics::begin_to_wait(batch.len());
        self.send(Job::Write(Write { batch, done, room, runtime: Handle::try_current().ok() }))?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Runs `task` on the writing connection, between two commits.
    pub(super) async fn run<T, F>(&self, task: F) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (done, answer) = oneshot::channel();
        self.send(Job::Task(Box::new(move |connection| {
            // Whoever no longer waits for the answer has given up on it.
            let _ = done.send(task(connection));
        })))?;
        answer.await.map_err(|_| closed())?.map_err(|error| unavailable(&error))
    }

    fn send(&self, job: Job) -> Result<(), WriteError> {
        self.jobs.as_ref().ok_or_else(closed)?.send(job).map_err(|_| closed())
    }

    /// A batch of more rows than may ever wait takes the whole queue.
    fn reserve(&self, rows: usize) -> Result<OwnedSemaphorePermit, WriteError> {
        let share = u32::try_from(rows.min(MAX_WAITING)).unwrap_or(u32::MAX);
        Arc::clone(&self.room).try_acquire_many_owned(share).map_err(|_| WriteError::Overloaded {
            waiting: MAX_WAITING - self.room.available_permits(),
            bound: MAX_WAITING,
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
            // It ends by panicking at worst, which its own hook has reported.
            let _ = thread.join();
        }
    }
}

/// Commits until every handle is gone and the queue empty.
fn work(mut connection: Connection, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let mut failing = false;
    while let Some(first) = jobs.blocking_recv() {
        let (group, task) = gather(first, &mut jobs);
        if !group.is_empty() {
            let began = Instant::now();
            let result = commit(&mut connection, &group).map_err(|error| unavailable(&error));
            metrics::committed(result.is_ok(), began.elapsed());
            report(&result, &mut failing);
            answer(group, result);
        }
        if let Some(task) = task {
            task(&mut connection);
        }
    }
}

/// The first job, and the writes that wait behind it up to a task.
fn gather(first: Job, jobs: &mut mpsc::UnboundedReceiver<Job>) -> (Vec<Write>, Option<Task>) {
    let (mut group, mut rows) = (Vec::new(), 0);
    let mut next = Some(first);
    while let Some(job) = next {
        match job {
            Job::Write(write) => {
                rows += write.batch.len();
                group.push(write);
            }
            Job::Task(task) => return (group, Some(task)),
        }
        next = if rows < MAX_COMMIT { jobs.try_recv().ok() } else { None };
    }
    (group, None)
}

/// Tells a group on a thread of its runtime, where waking is cheaper than from outside, while the writer goes on.
fn answer(group: Vec<Write>, result: Result<(), WriteError>) {
    let runtime = group.iter().find_map(|write| write.runtime.clone());
    let give_up_room = |Write { batch, done, room, .. }| {
        metrics::end_to_wait(batch.len());
        drop(room);
        done
    };
    // First the room, so that whoever is answered finds it free.
    let answer = WriteReply { result, waiting: group.into_iter().map(give_up_room).collect() };
    match runtime {
        // One that has ended drops it here.
        Some(runtime) => drop(runtime.spawn(async { drop(answer) })),
        None => drop(answer),
    }
}

impl Drop for WriteReply {
    fn drop(&mut self) {
        for done in self.waiting.drain(..) {
            // A sender that no longer waits will send again, which changes nothing.
            let _ = done.send(self.result.clone());
        }
    }
}

/// One line when writing starts to fail, and one when it works again.
fn report(result: &Result<(), WriteError>, failing: &mut bool) {
    match result {
        Err(error) if !*failing => tracing::error!(%error, "nothing can be stored; senders are told to try again"),
        Ok(()) if *failing => tracing::info!("the store can write again"),
        _ => {}
    }
    *failing = result.is_err();
}

fn commit(connection: &mut Connection, group: &[Write]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for Write { batch: Batch { snapshots, events }, .. } in group {
        snapshots.iter().try_for_each(|snapshot| write_snapshot(&transaction, snapshot))?;
        events.iter().try_for_each(|event| write_event(&transaction, event))?;
    }
    transaction.commit()
}
