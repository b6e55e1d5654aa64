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
mod first_seen;
mod future;
pub mod history;
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
mod stored_words;
pub(super) mod transfer;
mod transfer_sql;
mod words;
mod writer;

use std::collections::BTreeMap;
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
use super::group::{ESTABLISHING_ROWS, GroupState, WriteQueue, queues};
use super::purpose::Purpose;
use super::{
    Allowance, Batch, Cutoffs, Day, Erased, EventFilter, EventRow, Facts, FactsQuery, Hour, InstallationFilter, Intake,
    MatchedInstallations, MatchedRows, Operations, Pruned, PseudonymKey, PublicKey, ReadError, StaleRows, Store,
    StoreSize, WriteError,
};
use connection::{Connector, PostgresConnection, PostgresError};
use erase::ErasedStep;
use leases::SharedJob;
use pool::{ConnectionPool, ConnectionTask};
use writer::{WRITERS, Writer};

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

/// A store in a database. Dropping it ends its writers once they have written what is queued.
pub struct PostgresStore {
    queue: WriteQueue<()>,
    pool: ConnectionPool,
    questions: ConnectionPool,
    connector: Arc<Connector>,
    /// The name of this process among the holders of leases.
    holder: Uuid,
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
    /// Returns whether the servers could not be reached, or none of them writes yet: a start or a failover may end that. A refused
    /// password and a certificate that cannot be verified are mistakes of the configuration, which last.
    pub fn is_unreachable(&self) -> bool {
        let is_starting = self.error.code() == Some(&SqlState::CANNOT_CONNECT_NOW);
        let is_of_connection = matches!(&self.error, PostgresError::Server(error) if error.as_db_error().is_none());
        is_starting || (is_of_connection && !self.error.is_of_certificate())
    }
}

impl PostgresStore {
    /// Opens the store, and migrates its schema. Creates its tables if there are none.
    pub async fn open(address: &PostgresAddress) -> Result<Self, OpenPostgresError> {
        Self::open_for(Purpose::Serve, address).await
    }

    /// Opens the store for a command that changes nothing. Neither creates it nor migrates its schema.
    pub async fn open_existing(address: &PostgresAddress) -> Result<Self, OpenPostgresError> {
        Self::open_for(Purpose::Read, address).await
    }

    /// Opens the store for a command that changes rows. Fails if rows were moved into it and no backend has served it since: another
    /// run of the move would undo the change. Neither creates it nor migrates its schema.
    pub async fn open_to_change(address: &PostgresAddress) -> Result<Self, OpenPostgresError> {
        Self::open_for(Purpose::Change, address).await
    }

    async fn open_for(purpose: Purpose, address: &PostgresAddress) -> Result<Self, OpenPostgresError> {
        // On the heap: it holds the states of all that an opening does.
        let opened = Self::try_open(Arc::new(Connector::new(address.clone())), purpose).boxed();
        opened.await.map_err(|error| OpenPostgresError { address: address.clone(), error })
    }

    async fn try_open(connector: Arc<Connector>, purpose: Purpose) -> Result<Self, PostgresError> {
        let mut connection = connector.connect().await?;
        let state = match purpose {
            Purpose::Serve => {
                migrate::migrate(&mut connection).await?;
                transfer::end_move(&mut connection).await?;
                log_durability(&connection);
                load_state(&mut connection).await?
            }
            Purpose::Read | Purpose::Change => {
                migrate::require(&mut connection).await?;
                if purpose == Purpose::Change {
                    transfer::require_no_move(&mut connection).await?;
                }
                GroupState::default()
            }
        };
        let pseudonym_key = key(&mut connection, "pseudonym").await?.into();
        let public_key = key(&mut connection, "public").await?.into();
        let (state, holder) = (Arc::new(Mutex::new(state)), Uuid::new_v4());
        let (queue, queues) = queues::<_, WRITERS>();
        for queue in queues {
            tokio::spawn(Writer::new(Arc::clone(&connector), Arc::clone(&state), holder).run(queue));
        }
        let pool = ConnectionPool::new(Arc::clone(&connector), CONNECTIONS);
        let questions = ConnectionPool::new(Arc::clone(&connector), QUESTION_CONNECTIONS);
        pool.put(connection);
        Ok(Self { queue, pool, questions, connector, holder, pseudonym_key, public_key })
    }

    /// Runs a change, and returns once it is durable.
    async fn change<T: Send + 'static>(&self, task: impl ConnectionTask<T>) -> Result<T, WriteError> {
        self.pool.run(CONFIRMATION, task).await.map_err(|error| write_error(&error))
    }

    /// Runs a step of a job, for which nobody waits.
    async fn work<T: Send + 'static>(&self, task: impl ConnectionTask<T>) -> Result<T, WriteError> {
        self.pool.run(SCAN_DEADLINE, task).await.map_err(|error| write_error(&error))
    }

    /// Runs the steps of an erasure, each of which begins after the key that the one before has returned.
    async fn erase_in_steps<F>(&self, step: F) -> Result<MatchedRows, WriteError>
    where
        F: for<'c> Fn(
                &'c mut PostgresConnection,
                Uuid,
                MatchedRows,
            ) -> BoxFuture<'c, Result<ErasedStep, PostgresError>>
            + Send
            + Sync
            + 'static,
    {
        let step = Arc::new(step);
        let (mut erased, mut after) = (MatchedRows::default(), Some(Uuid::nil()));
        while let Some(from) = after {
            let step = Arc::clone(&step);
            (erased, after) = self.work(move |connection| step(connection, from, erased)).await?;
        }
        Ok(erased)
    }

    /// Runs a short read.
    async fn read<T: Send + 'static>(&self, task: impl ConnectionTask<T>) -> Result<T, ReadError> {
        self.pool.run(DEADLINE, task).await.map_err(|error| read_error(&error))
    }

    /// Answers a question in a transaction that sees one state.
    async fn ask<T: Send + 'static>(&self, task: impl ConnectionTask<T>) -> Result<T, ReadError> {
        self.ask_within(DEADLINE, task).await
    }

    /// Reads all rows as [`PostgresStore::ask`] does.
    async fn scan<T: Send + 'static>(&self, task: impl ConnectionTask<T>) -> Result<T, ReadError> {
        self.ask_within(SCAN_DEADLINE, task).await
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
    connection: &mut PostgresConnection,
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
fn log_durability(connection: &PostgresConnection) {
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
async fn key(connection: &mut PostgresConnection, name: &str) -> Result<[u8; PseudonymKey::LENGTH], PostgresError> {
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
async fn load_state(connection: &mut PostgresConnection) -> Result<GroupState, PostgresError> {
    let mut values = DistinctValues::default();
    let latest = "SELECT * FROM latest WHERE source = $1 AND NOT bulk AND (confirmed IS NULL) = false
                  ORDER BY last_seen DESC LIMIT $2";
    let columns = events::COLUMNS;
    let newest_events = format!(
        "(SELECT {columns} FROM arrivals WHERE source = $1 ORDER BY hour DESC LIMIT $2)
         UNION ALL (SELECT {columns} FROM events WHERE source = $1 ORDER BY hour DESC LIMIT $2) LIMIT $2"
    );
    for source in SOURCES.map(source) {
        let (source, limit) = (rows::small(source), i64::from(ESTABLISHING_ROWS));
        let read = connection.query(latest, &[&source, &limit]).await?;
        for row in rows::latest_rows(connection, &read).await?.values() {
            values.establish_report(row);
        }
        let read = connection.query(&newest_events, &[&source, &limit]).await?;
        let events = events::event_rows(connection, &read).await?;
        for (_, event) in &events {
            values.establish_event(event);
        }
    }
    Ok(GroupState::new(values))
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresStore({})", self.connector.address)
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
            let (mut all, holder) = (Pruned::default(), self.holder);
            loop {
                let step = self.work(move |connection| prune_step(connection, holder, cutoffs, all).boxed());
                let Some((pruned, has_more)) = step.await? else { return Ok(all) };
                all = pruned;
                if !has_more {
                    self.work(move |connection| SharedJob::Prune.give_back(connection, holder).boxed()).await?;
                    return Ok(all);
                }
            }
        }
        .boxed()
    }

    fn erase(&self, installation: Uuid) -> BoxFuture<'_, Result<Erased, WriteError>> {
        self.work(move |connection| erase::erase(connection, installation).boxed()).boxed()
    }

    fn erase_installations(&self, filter: InstallationFilter) -> BoxFuture<'_, Result<MatchedRows, WriteError>> {
        let key = self.pseudonym_key.clone();
        self.erase_in_steps(move |connection, after, erased| {
            erase::erase_installations(connection, filter.clone(), key.clone(), after, erased).boxed()
        })
        .boxed()
    }

    fn erase_events(&self, filter: EventFilter) -> BoxFuture<'_, Result<MatchedRows, WriteError>> {
        self.erase_in_steps(move |connection, after, erased| {
            erase::erase_events(connection, filter.clone(), after, erased).boxed()
        })
        .boxed()
    }

    fn installations(
        &self,
        filter: InstallationFilter,
        limit: usize,
    ) -> BoxFuture<'_, Result<MatchedInstallations, ReadError>> {
        let key = self.pseudonym_key.clone();
        self.scan(move |connection| matching::installations(connection, filter.clone(), key.clone(), limit).boxed())
            .boxed()
    }

    fn events(&self, filter: EventFilter, limit: usize) -> BoxFuture<'_, Result<Vec<EventRow>, ReadError>> {
        self.scan(move |connection| matching::events(connection, filter.clone(), limit).boxed()).boxed()
    }

    fn count_events(&self, filter: EventFilter) -> BoxFuture<'_, Result<MatchedRows, ReadError>> {
        self.scan(move |connection| matching::count_events(connection, filter.clone()).boxed()).boxed()
    }

    fn intake(&self, today: Day) -> BoxFuture<'_, Result<Intake, ReadError>> {
        self.ask(move |connection| age::intake(connection, today).boxed()).boxed()
    }

    fn record_operations(&self, operations: Operations) -> BoxFuture<'_, Result<(), WriteError>> {
        self.change(move |connection| operations::record(connection, operations.clone()).boxed()).boxed()
    }

    fn newest_record(&self) -> BoxFuture<'_, Result<Option<Timestamp>, ReadError>> {
        self.ask(|connection| age::newest_record(connection).boxed()).boxed()
    }

    fn stale_rows(&self, cutoffs: Cutoffs) -> BoxFuture<'_, Result<StaleRows, ReadError>> {
        self.ask(move |connection| age::stale_rows(connection, cutoffs).boxed()).boxed()
    }

    fn delete_after(&self, time: Timestamp) -> BoxFuture<'_, Result<Pruned, WriteError>> {
        self.work(move |connection| future::delete_after(connection, Hour::of(time)).boxed()).boxed()
    }

    fn checkpoint(&self) -> BoxFuture<'_, Result<(), WriteError>> {
        let holder = self.holder;
        self.work(move |connection| checkpoint::run(connection, holder).boxed()).boxed()
    }

    fn facts(&self, queries: Vec<FactsQuery>) -> BoxFuture<'_, Result<Vec<Facts>, ReadError>> {
        self.ask(move |connection| facts::facts(connection, queries.clone()).boxed()).boxed()
    }

    fn move_first_seen(&self, first_seen: BTreeMap<Uuid, Hour>) -> BoxFuture<'_, Result<u64, WriteError>> {
        async move {
            let (mut all, first_seen) = (0, Arc::new(first_seen));
            loop {
                let first_seen = Arc::clone(&first_seen);
                let step = pool::task(move |connection| {
                    let first_seen = Arc::clone(&first_seen);
                    async move { first_seen::move_step(connection, &first_seen).await }.boxed()
                });
                let Some(moved) = self.work(step).await? else { return Ok(all) };
                all += moved;
            }
        }
        .boxed()
    }

    fn pseudonym_key(&self) -> BoxFuture<'_, Result<PseudonymKey, ReadError>> {
        ready(Ok(self.pseudonym_key.clone())).boxed()
    }

    fn size(&self) -> BoxFuture<'_, Result<StoreSize, ReadError>> {
        self.read(|connection| age::size(connection).boxed()).boxed()
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
    connection: &mut PostgresConnection,
    holder: Uuid,
    cutoffs: Cutoffs,
    pruned: Pruned,
) -> Result<Option<(Pruned, bool)>, PostgresError> {
    if !SharedJob::Prune.take(connection, holder).await? {
        return Ok(None);
    }
    prune::step(connection, cutoffs, pruned).await.map(Some)
}
