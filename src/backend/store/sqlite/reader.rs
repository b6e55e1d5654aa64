//! The read-only connection, used outside the threads of the runtime.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, InterruptHandle};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::words::Words;
use crate::backend::store::ReadError;

/// The longest time of a read. The slowest that was measured took 23 ms; what takes longer is interrupted, so that it does
/// not keep a thread and an old state of the write-ahead log.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// The longest time of a read of all rows for an admin: a million installations take two seconds, and ten million events as
/// many times ten.
pub(super) const SCAN_DEADLINE: Duration = Duration::from_mins(10);

/// A handle of the connection. Readers queue for it without a thread.
#[derive(Debug)]
pub(super) struct SqliteReader {
    connection: Arc<Mutex<ReadConnection>>,
    deadline: Duration,
}

/// Interrupts a read whose answer nobody waits for any more.
struct InterruptOnDrop(Option<InterruptHandle>);

impl Drop for InterruptOnDrop {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.interrupt();
        }
    }
}

/// The connection, and the words that it has read.
#[derive(Debug)]
pub(super) struct ReadConnection {
    connection: Connection,
    words: Words,
}

impl SqliteReader {
    pub(super) fn new(connection: Connection, deadline: Duration) -> Self {
        let connection = Arc::new(Mutex::new(ReadConnection { connection, words: Words::default() }));
        Self { connection, deadline }
    }

    pub(super) async fn run<T, F>(&self, query: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.run_with_words(|connection, _| query(connection)).await
    }

    pub(super) async fn run_with_words<T, F>(&self, query: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection, &mut Words) -> rusqlite::Result<T> + Send + 'static,
    {
        let mut reader = Arc::clone(&self.connection).lock_owned().await;
        let mut interrupt = InterruptOnDrop(Some(reader.connection.get_interrupt_handle()));
        let answer = tokio::task::spawn_blocking(move || {
            let ReadConnection { connection, words } = &mut *reader;
            query(connection, words)
        });
        let answered = timeout(self.deadline, answer).await;
        let error = match answered {
            Err(_) => format!("no answer within {} s", self.deadline.as_secs()),
            Ok(answer) => {
                interrupt.0 = None;
                match answer {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(error)) => error.to_string(),
                    Err(error) => error.to_string(),
                }
            }
        };
        Err(ReadError(error.into()))
    }
}
