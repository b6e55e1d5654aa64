//! Import of what the v1 server has stored of Kamaji's built-in telemetry.
//!
//! ```text
//! table of the v1 server ─▶ rows ─▶ the parser of what Kamaji posts ─▶ batches of one kind ─▶ store
//! ```
//!
//! The time of a row is that of its receipt. It can be repeated: a row that is stored already adds nothing.

mod reading;
mod tally;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use uuid::Uuid;

use super::{open_to_serve, plural, record};
use crate::backend::ingest::kamaji::{MAX_BODY, PayloadKind};
use crate::backend::store::postgres::history::{HistoryRow, HistoryTable};
use crate::backend::store::{
    Batch, Cutoffs, Hour, IMPORT, PostgresAddress, PseudonymKey, Store, StoreLocation, Stores, WriteError,
};
use reading::ReadContext;
use tally::{ImportTally, KindTally};

/// The number of rows that are written at once: a tenth of a second of work, so that a write is confirmed in time, and the
/// requests that a backend stores meanwhile wait no longer for theirs.
const WRITE_ROWS: usize = 512;

/// The attempts to write rows, over 20 s at least: a failover ends within it.
const MAX_ATTEMPTS: u32 = 10;

/// The rows after which the progress is logged.
const PROGRESS_ROWS: u64 = 100_000;

/// An import in progress.
struct HistoryImport {
    store: Arc<dyn Store>,
    key: PseudonymKey,
    cutoffs: Cutoffs,
    /// The records of each kind that wait to be written.
    pending: [Batch; PayloadKind::ALL.len()],
    tally: ImportTally,
}

/// Imports what the v1 server has in the database `from`, but for what is older than `cutoffs`. Returns the numbers of what was
/// imported and of what was left out, and why.
///
/// A store in PostgreSQL may be served meanwhile; one in `SQLite` must not be. Either is created if there is none. The import is added
/// to the audit log before.
pub async fn import(from: &PostgresAddress, store: StoreLocation, cutoffs: Cutoffs) -> anyhow::Result<String> {
    let mut table = HistoryTable::open(from, MAX_BODY).await?;
    let stores = open_to_write(store).await?;
    record(&stores, IMPORT).await?;
    let store = stores.rows;
    let key = store.pseudonym_key().await?;
    let mut import = HistoryImport { store, key, cutoffs, pending: Default::default(), tally: ImportTally::default() };
    loop {
        let rows = table.next_rows().await?;
        if rows.is_empty() {
            break;
        }
        import.add(&rows).await?;
    }
    import.end().await?;
    Ok(format!("Read {} of {from}.\n\n{}", plural(import.tally.rows(), "row"), import.tally.report()))
}

/// Opens a store as a backend that serves it does.
async fn open_to_write(store: StoreLocation) -> anyhow::Result<Stores> {
    const SERVED: &str = "nothing was imported; a backend that serves a file of SQLite has to be stopped first";
    let is_file = matches!(store, StoreLocation::Sqlite(_));
    let opened = open_to_serve(store).await;
    if is_file { opened.context(SERVED) } else { opened }
}

impl HistoryImport {
    /// Adds rows, and writes those of a kind once there are enough.
    async fn add(&mut self, rows: &[HistoryRow]) -> Result<(), WriteError> {
        for row in rows {
            let context = ReadContext { now: Timestamp::now(), cutoffs: self.cutoffs, key: &self.key };
            match context.read(row) {
                Ok((kind, records)) => {
                    self.tally.read(kind);
                    let pending = &mut self.pending[kind as usize];
                    pending.snapshots.extend(records.snapshots);
                    pending.events.extend(records.events);
                    if pending.len() >= WRITE_ROWS {
                        self.write(kind).await?;
                    }
                }
                Err((kind, reason)) => self.tally.leave_out(kind, reason),
            }
            if self.tally.rows().is_multiple_of(PROGRESS_ROWS) {
                tracing::info!(rows = self.tally.rows(), "importing");
            }
        }
        Ok(())
    }

    /// Writes the rest, and removes the traces of the order in which it came.
    async fn end(&mut self) -> Result<(), WriteError> {
        for kind in PayloadKind::ALL {
            self.write(kind).await?;
        }
        with_retries(|| self.store.checkpoint()).await
    }

    async fn write(&mut self, kind: PayloadKind) -> Result<(), WriteError> {
        let batch = std::mem::take(&mut self.pending[kind as usize]);
        let first_seen = first_seen(&batch);
        let KindTally { share, .. } = self.tally.of(kind);
        let share = Arc::clone(share);
        with_retries(|| self.store.write_within(batch.clone(), Arc::clone(&share) as _)).await?;
        let moved = with_retries(|| self.store.move_first_seen(first_seen.clone())).await?;
        self.tally.moved(kind, moved);
        Ok(())
    }
}

/// Returns the hours in which the installations of a batch were received first.
fn first_seen(batch: &Batch) -> BTreeMap<Uuid, Hour> {
    let mut first_seen = BTreeMap::new();
    for snapshot in &batch.snapshots {
        let hour = first_seen.entry(snapshot.installation).or_insert(snapshot.received);
        *hour = snapshot.received.min(*hour);
    }
    first_seen
}

/// Runs a write, which changes nothing if it is repeated, until it is confirmed or cannot be.
async fn with_retries<T, F>(write: impl Fn() -> F) -> Result<T, WriteError>
where
    F: Future<Output = Result<T, WriteError>>,
{
    let mut attempt = 1;
    loop {
        match write().await {
            Err(error @ (WriteError::Overloaded { .. } | WriteError::Unconfirmed(_))) if attempt < MAX_ATTEMPTS => {
                tracing::warn!(%error, attempt, "failed to write imported rows; retrying");
                tokio::time::sleep(error.retry_after()).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}
