//! A bounded pool of connections for everything but the group commit.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::connection::{Connector, PostgresConnection, PostgresError};

/// The attempts of a transaction that loses against others: a conflict is over once one of them has ended.
pub(super) const MAX_ATTEMPTS: u32 = 10;

/// A pool of connections, each of which is opened when it is needed first.
///
/// A caller that gives up leaves its connection busy until the server answers: the connection keeps its place, and no other is
/// opened instead. Nothing is ever cancelled.
#[derive(Clone)]
pub(super) struct ConnectionPool {
    connector: Arc<Connector>,
    places: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<PostgresConnection>>>,
}

/// A task of a connection, which begins and ends its own transactions. It may be run again if it loses against others.
pub(super) trait ConnectionTask<T>:
    for<'c> Fn(&'c mut PostgresConnection) -> BoxFuture<'c, Result<T, PostgresError>> + Send + Sync + 'static
{
}

impl<T, F> ConnectionTask<T> for F where
    F: for<'c> Fn(&'c mut PostgresConnection) -> BoxFuture<'c, Result<T, PostgresError>> + Send + Sync + 'static
{
}

/// Returns `task`, whose lifetimes a closure that is bound to a name would not get.
pub(super) fn task<T, F>(task: F) -> F
where
    F: for<'c> Fn(&'c mut PostgresConnection) -> BoxFuture<'c, Result<T, PostgresError>> + Send + Sync + 'static,
{
    task
}

impl ConnectionPool {
    /// Creates a pool of `places` connections at most.
    pub(super) fn new(connector: Arc<Connector>, places: usize) -> Self {
        Self { connector, places: Arc::new(Semaphore::new(places)), idle: Arc::default() }
    }

    /// Adds an open connection to the idle ones.
    pub(super) fn put(&self, connection: PostgresConnection) {
        if !connection.is_closed() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }

    /// Runs `task` on a connection. Fails if it does not end within `deadline`; it goes on then, and its connection stays busy.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        deadline: Duration,
        task: impl ConnectionTask<T>,
    ) -> Result<T, PostgresError> {
        let late = |_| PostgresError::Other(format!("no answer within {} s", deadline.as_secs()));
        let pool = self.clone();
        let run = async {
            let closed = |_| PostgresError::Other("the pool of connections was closed".to_owned());
            let place = Arc::clone(&self.places).acquire_owned().await.map_err(closed)?;
            let run = tokio::spawn(pool.run_in_place(place, task));
            run.await.map_err(|error| PostgresError::Other(error.to_string()))?
        };
        timeout(deadline, run).await.map_err(late)?
    }

    async fn run_in_place<T>(
        self,
        place: OwnedSemaphorePermit,
        task: impl ConnectionTask<T>,
    ) -> Result<T, PostgresError> {
        let mut connection = self.take().await?;
        let (result, is_usable) = run_with_retries(&mut connection, &task).await;
        if is_usable {
            self.put(connection);
        }
        drop(place);
        result
    }

    async fn take(&self) -> Result<PostgresConnection, PostgresError> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        while let Some(connection) = idle() {
            if !connection.is_closed() {
                return Ok(connection);
            }
        }
        self.connector.connect().await
    }
}

/// Runs a task until it does not lose against another transaction, and ends the transaction in which it failed. Returns its result,
/// and whether the connection can be used further.
async fn run_with_retries<T>(
    connection: &mut PostgresConnection,
    task: &impl ConnectionTask<T>,
) -> (Result<T, PostgresError>, bool) {
    let mut attempts = 1;
    loop {
        let error = match task(connection).await {
            Ok(done) => return (Ok(done), true),
            Err(error) => error,
        };
        let is_usable = connection.rollback_after(&error).await;
        if !is_usable || !error.is_transient() || attempts == MAX_ATTEMPTS {
            return (Err(error), is_usable);
        }
        attempts += 1;
    }
}
