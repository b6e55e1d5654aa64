//! Group commit: batches wait in a bounded queue, and a writer commits those that wait together.
//!
//! ```text
//! write ─▶ queue ─▶ group of batches ─▶ fold ─▶ one transaction ─▶ the answer to each caller
//! ```

mod batches;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tracing::field;

pub(super) use batches::{Group, GroupChanges, GroupState, Sent, installations};

use super::{Allowance, Batch, WriteError};
use crate::backend::metrics;
use crate::process::log_throttle::LogThrottle;

/// The maximum number of queued rows, which the metric of the queue calls records. In groups, a machine of two cores
/// writes 8,000 to 18,000 rows a second: this is two seconds of work at worst, so that a queued batch is answered well
/// within the 5 s that a relay waits. A row takes about 200 bytes, so the queue stays under 4 MB.
const MAX_QUEUED_ROWS: usize = 16_384;

/// The number of rows after which a commit takes no further batch from the queue: half a second of work, so that the
/// first batch does not wait for the whole queue.
const MAX_COMMIT_ROWS: usize = 4_096;

/// The time for which a group waits for further batches where many senders send little. A commit costs as much of the processor as
/// some twenty events, in system calls and interrupts.
const COMMIT_DELAY: Duration = Duration::from_millis(2);

/// The number of batches in a group from which on the next one waits: as many senders are there at once. A few are not kept waiting.
const DELAYED_BATCHES: usize = 8;

/// The number of rows in a group from which on the next one does not wait: a commit costs little beside them.
const UNDELAYED_ROWS: usize = 512;

/// The rows of each kind from which the values in use are read at the start: thousands of a fleet tell what most of it runs, and
/// take some 100 ms.
pub(super) const ESTABLISHING_ROWS: u32 = 10_000;

/// The result of each batch of a group, or the error of all of them.
pub(super) type GroupResult = Result<Vec<Result<(), WriteError>>, WriteError>;

/// A handle of the queues of one or several writers. The queues end when it is dropped and they are empty.
#[derive(Debug)]
pub(super) struct WriteQueue<T> {
    /// One of each writer. Unbounded: each write holds a permit of `capacity` for each of its rows.
    writers: Vec<mpsc::UnboundedSender<Job<T>>>,
    capacity: Arc<Semaphore>,
}

/// The queue of one writer.
#[derive(Debug)]
pub(super) struct WriterQueue<T> {
    jobs: mpsc::UnboundedReceiver<Job<T>>,
    /// True if the next group waits for further batches.
    is_delayed: bool,
}

/// A job of a writer.
#[derive(Debug)]
enum Job<T> {
    Write(Write),
    /// Any other job, which begins and ends its own transactions.
    Task(T),
}

/// A batch that waits to be written.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) batch: Batch,
    pub(super) allowance: Arc<dyn Allowance>,
    done: oneshot::Sender<Result<(), WriteError>>,
    permit: OwnedSemaphorePermit,
    /// The runtime of the caller.
    runtime: Option<Handle>,
}

/// The result of a write, and its caller.
type WriteAnswer = (Result<(), WriteError>, oneshot::Sender<Result<(), WriteError>>);

/// The answers to the writes of a commit, which are sent when this is dropped.
struct WriteReply(Vec<WriteAnswer>);

/// Creates the queues of `N` writers, which share one bound.
pub(super) fn queues<T, const N: usize>() -> (WriteQueue<T>, [WriterQueue<T>; N]) {
    let mut writers = Vec::with_capacity(N);
    let queues = std::array::from_fn(|_| {
        let (writer, queue) = mpsc::unbounded_channel();
        writers.push(writer);
        WriterQueue { jobs: queue, is_delayed: false }
    });
    (WriteQueue { writers, capacity: Arc::new(Semaphore::new(MAX_QUEUED_ROWS)) }, queues)
}

impl<T> WriteQueue<T> {
    /// Queues a batch, and returns once it is committed or refused.
    ///
    /// All batches of one sender go to one writer: its room is not spent twice at once.
    pub(super) async fn write(&self, batch: Batch, allowance: Arc<dyn Allowance>) -> Result<(), WriteError> {
        if batch.is_empty() {
            return Ok(());
        }
        let permit = self.reserve(batch.len())?;
        let (done, answer) = oneshot::channel();
        metrics::write_queue_pushed(batch.len());
        let runtime = Handle::try_current().ok();
        let sender = usize::try_from(allowance.sender() % self.writers.len().max(1) as u64).unwrap_or_default();
        self.send(sender, Job::Write(Write { batch, allowance, done, permit, runtime }))?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Queues a task of the first writer.
    pub(super) fn run(&self, task: T) -> Result<(), WriteError> {
        self.send(0, Job::Task(task))
    }

    fn send(&self, writer: usize, job: Job<T>) -> Result<(), WriteError> {
        self.writers.get(writer).ok_or_else(closed)?.send(job).map_err(|_| closed())
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

impl<T> WriterQueue<T> {
    /// Waits for the next writes, up to a task, and that task. Returns `None` once the queue has ended. Blocks.
    pub(super) fn blocking_next(&mut self) -> Option<(Vec<Write>, Option<T>)> {
        let first = self.jobs.blocking_recv()?;
        if self.is_delayed {
            std::thread::sleep(COMMIT_DELAY);
        }
        Some(self.group(first))
    }

    /// Waits for the next writes, as [`WriterQueue::blocking_next`] does.
    pub(super) async fn next(&mut self) -> Option<(Vec<Write>, Option<T>)> {
        let first = self.jobs.recv().await?;
        if self.is_delayed {
            tokio::time::sleep(COMMIT_DELAY).await;
        }
        Some(self.group(first))
    }

    /// Returns the first job with the writes that are queued behind it, up to a task.
    fn group(&mut self, first: Job<T>) -> (Vec<Write>, Option<T>) {
        let (mut writes, mut rows) = (Vec::new(), 0);
        let (mut next, mut task) = (Some(first), None);
        while let Some(job) = next.take() {
            match job {
                Job::Write(write) => {
                    rows += write.batch.len();
                    writes.push(write);
                    next = if rows < MAX_COMMIT_ROWS { self.jobs.try_recv().ok() } else { None };
                }
                Job::Task(last) => task = Some(last),
            }
        }
        self.is_delayed = writes.len() >= DELAYED_BATCHES && rows < UNDELAYED_ROWS;
        (writes, task)
    }
}

/// The error of a store whose writer has ended.
pub(super) fn closed() -> WriteError {
    WriteError::Unavailable("its writer has ended".into())
}

/// The measure of a commit: a span with the number of records and the duration, and the metrics.
pub(super) struct CommitMeasure {
    pub(super) span: tracing::Span,
    start: Instant,
}

impl CommitMeasure {
    pub(super) fn start(writes: &[Write]) -> Self {
        let records: usize = writes.iter().map(|write| write.batch.len()).sum();
        let span = tracing::debug_span!("commit", batches = writes.len(), records, duration = field::Empty);
        Self { span, start: Instant::now() }
    }

    pub(super) fn end(self, is_success: bool) {
        let duration = self.start.elapsed();
        self.span.record("duration", field::debug(duration));
        metrics::commits(is_success, duration);
        self.span.in_scope(|| tracing::debug!(is_success, "committed"));
    }
}

/// Answers writes on a thread of their runtime, where waking many tasks is cheaper than from outside, while the writer goes
/// on. One alone is answered at once: a task to wake its task would be a further way.
pub(super) fn reply(writes: Vec<Write>, result: &GroupResult) {
    let runtime = if writes.len() > 1 { writes.iter().find_map(|write| write.runtime.clone()) } else { None };
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
pub(super) fn log_result(result: &GroupResult, batches: usize, throttle: &LogThrottle) {
    match result {
        Ok(_) => throttle.recovered(|| tracing::info!(batches, "the store can write again")),
        Err(error) => throttle.failed(|count| {
            tracing::error!(%error, count, batches, "failed to write to the store; senders are told to try again");
        }),
    }
}
