//! A store in PostgreSQL, for several backends at once.
//!
//! ```text
//! write ─▶ queue of the sender's writer ─▶ group ─▶ one transaction ─▶ the answer, once it is durable
//! ```
//!
//! Backends keep nothing that another needs: whatever one has stored, all of them show. A commit is durable when the server says
//! so without a warning: with a synchronous standby, it is on two servers then.

mod address;
mod age;
mod auth;
mod checkpoint;
mod connection;
mod durability;
mod erase;
mod events;
mod facts;
mod future;
mod leases;
mod matching;
mod migrate;
mod operations;
mod partitions;
mod password;
mod pool;
mod prune;
mod public_weeks;
mod removal;
mod rollups;
mod rows;
mod words;
mod writer;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use jiff::Timestamp;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

pub use address::{InvalidAddress, PostgresAddress};

use super::encoding::{SOURCES, source};
use super::fold::DistinctValues;
use super::group::{GroupState, WriteQueue, queues};
use super::{
    Allowance, Batch, Cutoffs, Day, Erased, EventFilter, EventRow, Facts, FactsQuery, Hour, InstallationFilter, Intake,
    MatchedInstallations, MatchedRows, Operations, Pruned, PseudonymKey, PublicKey, ReadError, StaleRows, Store,
    StoreSize, WriteError,
};
use connection::{Connection, PostgresError};
use leases::Job;
use pool::{ConnectionTask, Pool};
use words::WordCache;
use writer::{WRITERS, Writer, WriterContext};

/// The connections beside those of the group commit: sign-in, the audit log and the jobs, each of which takes one for some
/// milliseconds.
const CONNECTIONS: usize = 4;

/// The connections for questions about all rows, so that sign-in and probes don't wait for them.
const QUESTION_CONNECTIONS: usize = 2;

/// The time in which a write is confirmed: a relay waits for 5 s.
const CONFIRMATION: Duration = Duration::from_secs(4);

/// The time in which a question is answered, as long as a person waits.
const DEADLINE: Duration = Duration::from_secs(30);

/// The time in which all rows are read.
const SCAN_DEADLINE: Duration = Duration::from_mins(10);

/// The rows from which the values in use are read at the start: thousands of a fleet tell what most of it runs, and take some
/// 100 ms.
const ESTABLISHING_ROWS: i64 = 10_000;

/// A store in a database. Dropping it ends its writers once they have written what is queued.
pub struct PostgresStore {
    queue: WriteQueue<()>,
    pool: Pool,
    questions: Pool,
    context: WriterContext,
    pseudonym_key: PseudonymKey,
    public_key: PublicKey,
}

/// An error that kept a database from being opened as a store.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the store {address}: {error}")]
pub struct OpenPostgresError {
    address: PostgresAddress,
    error: PostgresError,
}

impl OpenPostgresError {
    /// Returns whether the servers could not be reached, or none of them writes yet: a start or a failover may end that.
    pub fn is_unreachable(&self) -> bool {
        let is_starting = self.error.code() == Some(&SqlState::CANNOT_CONNECT_NOW);
        is_starting || matches!(&self.error, PostgresError::Server(error) if error.as_db_error().is_none())
    }
}

impl PostgresStore {
    /// Opens the store, and migrates its schema. Creates its tables if there are none.
    pub async fn open(address: &PostgresAddress) -> Result<Self, OpenPostgresError> {
        Self::open_with(address, true).await
    }

    /// Opens the store for a command. Neither creates it nor migrates its schema.
    pub async fn open_existing(address: &PostgresAddress) -> Result<Self, OpenPostgresError> {
        Self::open_with(address, false).await
    }

    async fn open_with(address: &PostgresAddress, migrates: bool) -> Result<Self, OpenPostgresError> {
        let opened = Self::try_open(Arc::new(address.clone()), migrates).await;
        opened.map_err(|error| OpenPostgresError { address: address.clone(), error })
    }

    async fn try_open(address: Arc<PostgresAddress>, migrates: bool) -> Result<Self, PostgresError> {
        let mut connection = Connection::open(&address).await?;
        if migrates {
            migrate::migrate(&mut connection).await?;
            log_durability(&connection);
        } else {
            migrate::require(&mut connection).await?;
        }
        let pseudonym_key = key(&mut connection, "pseudonym").await?.into();
        let public_key = key(&mut connection, "public").await?.into();
        let words = Arc::new(WordCache::default());
        let state = load_state(&mut connection, &words).await?;
        let state = Arc::new(Mutex::new(state));
        let context = WriterContext { address: Arc::clone(&address), words, state, holder: Uuid::new_v4() };
        let (queue, queues) = queues(WRITERS);
        for queue in queues {
            tokio::spawn(Writer::new(context.clone()).run(queue));
        }
        let (pool, questions) =
            (Pool::new(Arc::clone(&address), CONNECTIONS), Pool::new(address, QUESTION_CONNECTIONS));
        pool.put(connection);
        Ok(Self { queue, pool, questions, context, pseudonym_key, public_key })
    }

    fn words(&self) -> Arc<WordCache> {
        Arc::clone(&self.context.words)
    }

    /// Runs a change, and returns once it is durable.
    async fn change<T: Send + 'static>(&self, task: impl ConnectionTask<T>) -> Result<T, WriteError> {
        self.pool.run(CONFIRMATION, task).await.map_err(|error| write_error(&error))
    }

    /// Runs a step of a job, for which nobody waits.
    async fn work<T: Send + 'static>(&self, task: impl ConnectionTask<T>) -> Result<T, WriteError> {
        self.pool.run(SCAN_DEADLINE, task).await.map_err(|error| write_error(&error))
    }

    /// Runs a short read.
    async fn read<T: Send + 'static>(&self, task: impl ConnectionTask<T>) -> Result<T, ReadError> {
        self.pool.run(DEADLINE, task).await.map_err(|error| read_error(&error))
    }

    /// Answers a question in a transaction that sees one state.
    async fn ask<T: Send + 'static>(&self, task: impl ConnectionTask<T>) -> Result<T, ReadError> {
        self.ask_within(DEADLINE, task).await
    }

    async fn ask_within<T: Send + 'static>(
        &self,
        deadline: Duration,
        task: impl ConnectionTask<T>,
    ) -> Result<T, ReadError> {
        let task = Arc::new(task);
        let in_transaction = pool::task(move |connection| {
            let task = Arc::clone(&task);
            in_read_transaction(connection, deadline, task).boxed()
        });
        self.questions.run(deadline, in_transaction).await.map_err(|error| read_error(&error))
    }
}

async fn in_read_transaction<T>(
    connection: &mut Connection,
    deadline: Duration,
    task: Arc<impl ConnectionTask<T>>,
) -> Result<T, PostgresError> {
    connection.begin_read(deadline.as_secs()).await?;
    let answer = task(connection).await?;
    connection.rollback().await?;
    Ok(answer)
}

fn write_error(error: &PostgresError) -> WriteError {
    WriteError::Unconfirmed(error.to_string().into())
}

fn read_error(error: &PostgresError) -> ReadError {
    ReadError(error.to_string().into())
}

/// Logs what the commits of the server are worth.
fn log_durability(connection: &Connection) {
    if !connection.durability.has_standby() {
        tracing::warn!(
            "PostgreSQL has no synchronous standby: the loss of its server loses what was acknowledged last; set \
             synchronous_standby_names, or --store-require-standby to refuse such a server"
        );
    }
    if !connection.durability.has_full_page_writes() {
        tracing::warn!(
            "PostgreSQL has full_page_writes = off: a crash may destroy pages, unless the file system prevents it"
        );
    }
}

/// Returns the stored key of this name, or stores a new one. If two backends do so at once, both use the key of the first.
async fn key(connection: &mut Connection, name: &str) -> Result<[u8; PseudonymKey::LENGTH], PostgresError> {
    let new = PseudonymKey::random().map_err(|error| PostgresError::Other(error.to_string()))?;
    connection.begin().await?;
    let insert = "INSERT INTO keys (name, key) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    connection.execute(insert, &[&name, &new.as_slice()]).await?;
    connection.commit().await?;
    let row = connection.query_one("SELECT key FROM keys WHERE name = $1", &[&name]).await?;
    let wrong = |_| PostgresError::Other(format!("the key '{name}' has another length than {}", PseudonymKey::LENGTH));
    row.try_get::<_, &[u8]>("key")?.try_into().map_err(wrong)
}

/// Reads the values that are in use.
async fn load_state(connection: &mut Connection, words: &WordCache) -> Result<GroupState, PostgresError> {
    let mut values = DistinctValues::default();
    let latest = "SELECT * FROM latest WHERE source = $1 AND NOT bulk AND (confirmed IS NULL) = false
                  ORDER BY last_seen DESC LIMIT $2";
    let columns = events::COLUMNS;
    let newest_events = format!(
        "(SELECT {columns} FROM arrivals WHERE source = $1 ORDER BY hour DESC LIMIT $2)
         UNION ALL (SELECT {columns} FROM events WHERE source = $1 ORDER BY hour DESC LIMIT $2) LIMIT $2"
    );
    for source in SOURCES.map(source) {
        let source = rows::small(source);
        let read = connection.query(latest, &[&source, &ESTABLISHING_ROWS]).await?;
        for row in rows::latest_rows(connection, words, &read).await?.values() {
            values.establish_report(row);
        }
        let read = connection.query(&newest_events, &[&source, &ESTABLISHING_ROWS]).await?;
        let events = events::event_rows(connection, words, &read).await?;
        for (_, event) in &events {
            values.establish_event(event);
        }
    }
    Ok(GroupState::new(values))
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresStore({})", self.context.address)
    }
}

impl Store for PostgresStore {
    fn write_within(&self, batch: Batch, allowance: Arc<dyn Allowance>) -> BoxFuture<'_, Result<(), WriteError>> {
        async move {
            // The batch stays in the queue: a repeat of it changes nothing.
            let late = |_| WriteError::Unconfirmed(format!("no answer within {} s", CONFIRMATION.as_secs()).into());
            timeout(CONFIRMATION, self.queue.write(batch, allowance)).await.map_err(late)?
        }
        .boxed()
    }

    fn prune(&self, cutoffs: Cutoffs) -> BoxFuture<'_, Result<Pruned, WriteError>> {
        async move {
            let (mut all, holder) = (Pruned::default(), self.context.holder);
            loop {
                let (words, sum) = (self.words(), all);
                let step =
                    pool::task(move |connection| prune_step(connection, words.clone(), holder, cutoffs, sum).boxed());
                let Some((pruned, has_more)) = self.work(step).await? else { return Ok(all) };
                all = pruned;
                if !has_more {
                    self.work(move |connection| Job::Prune.give_back(connection, holder).boxed()).await?;
                    return Ok(all);
                }
            }
        }
        .boxed()
    }

    fn erase(&self, installation: Uuid) -> BoxFuture<'_, Result<Erased, WriteError>> {
        let words = self.words();
        self.work(move |connection| {
            let words = words.clone();
            async move { erase::erase(connection, &words, installation).await }.boxed()
        })
        .boxed()
    }

    fn erase_installations(&self, filter: InstallationFilter) -> BoxFuture<'_, Result<MatchedRows, WriteError>> {
        async move {
            let (mut erased, mut after) = (MatchedRows::default(), Some(Uuid::nil()));
            while let Some(from) = after {
                let (words, filter, key) = (self.words(), filter.clone(), self.pseudonym_key.clone());
                let step = pool::task(move |connection| {
                    let (words, filter, key, mut sum) = (words.clone(), filter.clone(), key.clone(), erased);
                    async move {
                        let next =
                            erase::erase_installations(connection, &words, &filter, &key, from, &mut sum).await?;
                        Ok((sum, next))
                    }
                    .boxed()
                });
                (erased, after) = self.work(step).await?;
            }
            Ok(erased)
        }
        .boxed()
    }

    fn erase_events(&self, filter: EventFilter) -> BoxFuture<'_, Result<MatchedRows, WriteError>> {
        async move {
            let (mut erased, mut after) = (MatchedRows::default(), Some(Uuid::nil()));
            while let Some(from) = after {
                let (words, filter) = (self.words(), filter.clone());
                let step = pool::task(move |connection| {
                    let (words, filter, mut sum) = (words.clone(), filter.clone(), erased);
                    async move {
                        let next = erase::erase_events(connection, &words, &filter, from, &mut sum).await?;
                        Ok((sum, next))
                    }
                    .boxed()
                });
                (erased, after) = self.work(step).await?;
            }
            Ok(erased)
        }
        .boxed()
    }

    fn installations(
        &self,
        filter: InstallationFilter,
        limit: usize,
    ) -> BoxFuture<'_, Result<MatchedInstallations, ReadError>> {
        let (words, key) = (self.words(), self.pseudonym_key.clone());
        self.ask_within(SCAN_DEADLINE, move |connection| {
            let (words, key, filter) = (words.clone(), key.clone(), filter.clone());
            async move { matching::installations(connection, &words, &filter, &key, limit).await }.boxed()
        })
        .boxed()
    }

    fn events(&self, filter: EventFilter, limit: usize) -> BoxFuture<'_, Result<Vec<EventRow>, ReadError>> {
        let words = self.words();
        self.ask_within(SCAN_DEADLINE, move |connection| {
            let (words, filter) = (words.clone(), filter.clone());
            async move { matching::events(connection, &words, &filter, limit).await }.boxed()
        })
        .boxed()
    }

    fn count_events(&self, filter: EventFilter) -> BoxFuture<'_, Result<MatchedRows, ReadError>> {
        let words = self.words();
        self.ask_within(SCAN_DEADLINE, move |connection| {
            let (words, filter) = (words.clone(), filter.clone());
            async move { matching::count_events(connection, &words, &filter).await }.boxed()
        })
        .boxed()
    }

    fn intake(&self, today: Day) -> BoxFuture<'_, Result<Intake, ReadError>> {
        self.ask(move |connection| age::intake(connection, today).boxed()).boxed()
    }

    fn record_operations(&self, operations: Operations) -> BoxFuture<'_, Result<(), WriteError>> {
        self.change(move |connection| {
            let operations = operations.clone();
            async move { operations::record(connection, &operations).await }.boxed()
        })
        .boxed()
    }

    fn newest_record(&self) -> BoxFuture<'_, Result<Option<Timestamp>, ReadError>> {
        self.ask(|connection| age::newest_record(connection).boxed()).boxed()
    }

    fn stale_rows(&self, cutoffs: Cutoffs) -> BoxFuture<'_, Result<StaleRows, ReadError>> {
        self.ask(move |connection| age::stale_rows(connection, cutoffs).boxed()).boxed()
    }

    fn delete_after(&self, time: Timestamp) -> BoxFuture<'_, Result<Pruned, WriteError>> {
        let words = self.words();
        self.work(move |connection| {
            let words = words.clone();
            async move { future::delete_after(connection, &words, Hour::of(time)).await }.boxed()
        })
        .boxed()
    }

    fn checkpoint(&self) -> BoxFuture<'_, Result<(), WriteError>> {
        let holder = self.context.holder;
        self.work(move |connection| {
            async move {
                if Job::Checkpoint.take(connection, holder).await? {
                    checkpoint::run(connection).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .boxed()
    }

    fn facts(&self, queries: Vec<FactsQuery>) -> BoxFuture<'_, Result<Vec<Facts>, ReadError>> {
        let words = self.words();
        self.ask(move |connection| {
            let (words, queries) = (words.clone(), queries.clone());
            async move { facts::facts(connection, &words, &queries).await }.boxed()
        })
        .boxed()
    }

    fn pseudonym_key(&self) -> BoxFuture<'_, Result<PseudonymKey, ReadError>> {
        ready(Ok(self.pseudonym_key.clone())).boxed()
    }

    fn size(&self) -> BoxFuture<'_, Result<StoreSize, ReadError>> {
        self.read(|connection| {
            async move {
                let bytes = age::size(connection).await?;
                Ok(StoreSize { on_disk: bytes, used: bytes })
            }
            .boxed()
        })
        .boxed()
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), ReadError>> {
        self.read(|connection| {
            async move { connection.query_one("SELECT EXISTS (SELECT FROM latest)", &[]).await.map(drop) }.boxed()
        })
        .boxed()
    }
}

/// Runs a step of the deletion by age; returns `None` if another backend does it.
async fn prune_step(
    connection: &mut Connection,
    words: Arc<WordCache>,
    holder: Uuid,
    cutoffs: Cutoffs,
    pruned: Pruned,
) -> Result<Option<(Pruned, bool)>, PostgresError> {
    if !Job::Prune.take(connection, holder).await? {
        return Ok(None);
    }
    prune::step(connection, &words, cutoffs, pruned).await.map(Some)
}
