//! One thread that owns the writing connection, and commits what waits together.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::{Connection, Transaction, TransactionBehavior, named_params, params};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::columns::{self, EventColumns};
use crate::backend::store::{Batch, Cycle, EventRow, WriteError};

/// The most rows that may wait. In groups, a machine of two cores writes 8,000 to 18,000 rows a second: this is two
/// seconds of work at worst, so that what is taken on is answered well within the 5 s that a relay waits. A row takes
/// about 200 bytes, so the queue stays under 4 MB.
const MAX_WAITING: usize = 16_384;

/// The most rows that one commit takes from the queue: half a second of work, so that the first to wait does not wait
/// for a whole queue.
const MAX_COMMIT: usize = 4_096;

/// A handle of the thread. Dropping it lets the thread finish what waits, and waits for it.
#[derive(Debug)]
pub(super) struct Writer {
    /// Not bounded by itself: each job holds its share of `room`.
    jobs: Option<mpsc::UnboundedSender<Job>>,
    room: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Job {
    batch: Batch,
    done: oneshot::Sender<Result<(), WriteError>>,
    room: OwnedSemaphorePermit,
}

impl Writer {
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
        let closed = || WriteError::Unavailable("its writer has ended".into());
        let jobs = self.jobs.as_ref().ok_or_else(closed)?;
        jobs.send(Job { batch, done, room }).map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
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

impl Drop for Writer {
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
        let group = gather(first, &mut jobs);
        let result = commit(&mut connection, &group).map_err(|error| WriteError::Unavailable(error.to_string().into()));
        report(&result, &mut failing);
        for Job { batch: _, done, room } in group {
            // First the room, so that whoever is answered finds it free.
            drop(room);
            // A sender that no longer waits will send again, which changes nothing.
            let _ = done.send(result.clone());
        }
    }
}

/// The first job, and what waits behind it.
fn gather(first: Job, jobs: &mut mpsc::UnboundedReceiver<Job>) -> Vec<Job> {
    let mut rows = first.batch.len();
    let mut group = vec![first];
    while rows < MAX_COMMIT {
        let Ok(job) = jobs.try_recv() else { break };
        rows += job.batch.len();
        group.push(job);
    }
    group
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

fn commit(connection: &mut Connection, group: &[Job]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for Job { batch: Batch { cycles, events }, .. } in group {
        cycles.iter().try_for_each(|cycle| write_cycle(&transaction, cycle))?;
        events.iter().try_for_each(|event| write_event(&transaction, event))?;
    }
    transaction.commit()
}

fn write_cycle(transaction: &Transaction<'_>, cycle: &Cycle) -> rusqlite::Result<()> {
    if is_foreign(transaction, cycle)? {
        return Ok(());
    }
    if write_newest(transaction, cycle, LATEST)? == 0 {
        let mut statement = transaction.prepare_cached(EARLIER)?;
        statement.execute(params![cycle.installation, columns::day(cycle.time)])?;
    }
    if write_newest(transaction, cycle, DAY)? > 0 {
        write_breakdowns(transaction, cycle)?;
    }
    Ok(())
}

/// Whether the installation is known by another source: who knows a pseudonym can't speak for it.
fn is_foreign(transaction: &Transaction<'_>, cycle: &Cycle) -> rusqlite::Result<bool> {
    let mut statement = transaction.prepare_cached(SOURCE)?;
    let (known, _) = columns::source(&cycle.source);
    let mut rows = statement.query(params![cycle.installation])?;
    let Some(row) = rows.next()? else { return Ok(false) };
    Ok(row.get_ref("source")?.as_str()? != known)
}

/// The newest cycle wins. Both tables have the same columns but for the name of the day's, which both parameters have.
const LATEST: &str = "
    INSERT INTO latest (installation, first_day, time, running, sleeping, not_ready, upgrading,
                        source, agent_version, kamaji_version, kubernetes_version)
    VALUES (:installation, :day, :time, :running, :sleeping, :not_ready, :upgrading,
            :source, :agent_version, :kamaji_version, :kubernetes_version)
    ON CONFLICT (installation) DO UPDATE SET
        first_day = min(first_day, excluded.first_day), time = excluded.time,
        running = excluded.running, sleeping = excluded.sleeping,
        not_ready = excluded.not_ready, upgrading = excluded.upgrading,
        agent_version = excluded.agent_version, kamaji_version = excluded.kamaji_version,
        kubernetes_version = excluded.kubernetes_version
    WHERE excluded.time > time";

/// An older cycle than the latest tells only that the installation was there before.
const EARLIER: &str = "UPDATE latest SET first_day = ?2 WHERE installation = ?1 AND first_day > ?2";

/// The source that the installation has already.
const SOURCE: &str = "SELECT source FROM latest WHERE installation = ?1";

/// The newest cycle of the day wins.
const DAY: &str = "
    INSERT INTO days (day, installation, time, running, sleeping, not_ready, upgrading,
                      source, agent_version, kamaji_version, kubernetes_version)
    VALUES (:day, :installation, :time, :running, :sleeping, :not_ready, :upgrading,
            :source, :agent_version, :kamaji_version, :kubernetes_version)
    ON CONFLICT (day, installation) DO UPDATE SET
        time = excluded.time,
        running = excluded.running, sleeping = excluded.sleeping,
        not_ready = excluded.not_ready, upgrading = excluded.upgrading,
        agent_version = excluded.agent_version, kamaji_version = excluded.kamaji_version,
        kubernetes_version = excluded.kubernetes_version
    WHERE excluded.time > time";

/// Runs one of the two upserts, and says how many rows it changed.
fn write_newest(transaction: &Transaction<'_>, cycle: &Cycle, upsert: &str) -> rusqlite::Result<usize> {
    let Cycle { installation, time, counts, source, kamaji_version, kubernetes_version, breakdowns: _ } = cycle;
    let (source, agent_version) = columns::source(source);
    transaction.prepare_cached(upsert)?.execute(named_params! {
        ":day": columns::day(*time),
        ":installation": installation,
        ":time": time.as_millisecond(),
        ":running": counts.running,
        ":sleeping": counts.sleeping,
        ":not_ready": counts.not_ready,
        ":upgrading": counts.upgrading,
        ":source": source,
        ":agent_version": agent_version,
        ":kamaji_version": kamaji_version.to_string(),
        ":kubernetes_version": kubernetes_version.to_string(),
    })
}

/// Replaces the day's breakdowns: a version that is no longer there sends no point.
fn write_breakdowns(transaction: &Transaction<'_>, cycle: &Cycle) -> rusqlite::Result<()> {
    let day = columns::day(cycle.time);
    transaction
        .prepare_cached("DELETE FROM breakdowns WHERE day = ?1 AND installation = ?2")?
        .execute(params![day, cycle.installation])?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO breakdowns (day, installation, metric, value, count) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO NOTHING",
    )?;
    for (breakdown, count) in &cycle.breakdowns {
        insert.execute(params![day, cycle.installation, breakdown.metric().name, breakdown.value(), count])?;
    }
    Ok(())
}

/// The first event with a uid stays.
fn write_event(transaction: &Transaction<'_>, row: &EventRow) -> rusqlite::Result<()> {
    let EventRow { record, source } = row;
    let (source, agent_version) = columns::source(source);
    let own = EventColumns::from(record.event);
    let mut insert = transaction.prepare_cached(
        "INSERT INTO events (uid, time, kind, source, agent_version, kamaji_version, kubernetes_version, tcp_version,
                             old_tcp_version, new_tcp_version, status, cluster_api, network_profile)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT DO NOTHING",
    )?;
    insert.execute(params![
        record.uid,
        record.time.as_millisecond(),
        record.event.kind().name,
        source,
        agent_version,
        record.kamaji_version.to_string(),
        record.kubernetes_version.to_string(),
        own.tcp_version,
        own.old_tcp_version,
        own.new_tcp_version,
        own.status,
        own.cluster_api,
        own.network_profile,
    ])?;
    Ok(())
}
