//! The group commit: several writers, each with a queue and a connection of its own.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};
use tracing::Instrument;
use uuid::Uuid;

use super::connection::{Connector, PostgresConnection, PostgresError};
use super::events::{self, EventArrays};
use super::leases::Slot;
use super::partitions;
use super::pool::MAX_ATTEMPTS;
use super::rollups::RollupArrays;
use super::rows::{self, DayArrays, LatestArrays};
use super::words::WordLookup;
use crate::backend::store::encoding::encode_events;
use crate::backend::store::fold::SnapshotChanges;
use crate::backend::store::group::{
    CommitMeasure, Group, GroupChanges, GroupResult, GroupState, Sent, Write, WriterQueue, installations, log_result,
    reply,
};
use crate::backend::store::hour::Day;
use crate::backend::store::{EventRow, WriteError};
use crate::process::log_throttle::LogThrottle;

/// The connections that commit groups at once. While one waits for the disk and the standby, another works; each has the
/// batches of its own senders, so that more of them would make smaller groups.
pub(super) const WRITERS: usize = 4;

/// The pause after a connection that was refused: a server is back within it, and a thousand senders make five attempts a second.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// Adds events in bulk, under the day of their receipt.
const COUNT_BULK: &str = "
    INSERT INTO bulk_events (day, events) VALUES ($1, $2)
    ON CONFLICT (day) DO UPDATE SET events = bulk_events.events + excluded.events";

/// One writer.
pub(super) struct Writer {
    connector: Arc<Connector>,
    /// The state that the groups of all writers leave to the next.
    state: Arc<Mutex<GroupState>>,
    /// The name of this process among the holders of leases.
    holder: Uuid,
    connection: Option<PostgresConnection>,
    slot: Option<Slot>,
    /// The time of the last connection that failed, and its error.
    failed: Option<(Instant, String)>,
}

/// The rows of a group as arrays.
struct GroupRows {
    /// Installations that are new in the store.
    new: LatestArrays,
    /// Installations whose rows are locked.
    known: LatestArrays,
    days: DayArrays,
    events: EventArrays,
    rollups: RollupArrays,
    bulk: i64,
    newest: Day,
}

impl Writer {
    pub(super) fn new(connector: Arc<Connector>, state: Arc<Mutex<GroupState>>, holder: Uuid) -> Self {
        Self { connector, state, holder, connection: None, slot: None, failed: None }
    }

    /// Commits groups until every handle of the queue is dropped.
    pub(super) async fn run(mut self, mut queue: WriterQueue<()>) {
        let throttle = LogThrottle::per_minute();
        while let Some((writes, _)) = queue.next().await {
            let measure = CommitMeasure::start(&writes);
            let span = measure.span.clone();
            let result = self.commit(&writes).instrument(span).await;
            measure.end(result.is_ok());
            log_result(&result, writes.len(), &throttle);
            reply(writes, &result);
        }
    }

    /// Commits the batches of `writes`, all or none of them. Returns the result of each.
    async fn commit(&mut self, writes: &[Write]) -> GroupResult {
        let unconfirmed = |error: PostgresError| WriteError::Unconfirmed(error.to_string().into());
        let mut attempts = 1;
        loop {
            self.connect().await.map_err(unconfirmed)?;
            let batches = writes.iter().map(|write| (&write.batch, write.allowance.as_ref())).collect();
            let result = self.try_commit(batches).await;
            let Err(error) = result else { return result.map_err(unconfirmed) };
            let Some(connection) = self.connection.as_mut() else { return Err(unconfirmed(error)) };
            let is_usable = connection.rollback_after(&error).await;
            if !is_usable {
                self.connection = None;
            }
            if !error.is_transient() || !is_usable || attempts == MAX_ATTEMPTS {
                return Err(unconfirmed(error));
            }
            attempts += 1;
        }
    }

    /// Connects, unless there is a connection, and takes a slot.
    async fn connect(&mut self) -> Result<(), PostgresError> {
        if self.connection.as_ref().is_none_or(PostgresConnection::is_closed) {
            if let Some((time, error)) = &self.failed
                && time.elapsed() < RECONNECT_PAUSE
            {
                return Err(PostgresError::Other(error.clone()));
            }
            (self.connection, self.slot) = (None, None);
            match self.connector.connect().await {
                Ok(connection) => self.connection = Some(connection),
                Err(error) => {
                    self.failed = Some((Instant::now(), error.to_string()));
                    return Err(error);
                }
            }
        }
        if let Some(connection) = &mut self.connection
            && self.slot.is_none_or(|slot| slot.is_over())
        {
            self.slot = Some(Slot::take(connection, self.holder).await?);
        }
        Ok(())
    }

    async fn try_commit(&mut self, batches: Vec<Sent<'_>>) -> Result<Vec<Result<(), WriteError>>, PostgresError> {
        let (Some(connection), Some(slot)) = (&mut self.connection, self.slot) else {
            return Err(PostgresError::Other("there is no connection".to_owned()));
        };
        let (group, mut changes) = read_and_fold(connection, &self.state, batches).await?;
        if changes.is_empty() {
            if !confirm_what_is_there(connection, slot).await? {
                self.slot = None;
                return Err(PostgresError::Raced);
            }
            return Ok(group.settle());
        }
        let mut words = connection.words().look_up(changes.newest.day());
        let rows = GroupRows::new(&mut words, &mut changes, &group);
        let missing = words.missing();
        if !missing.is_empty() {
            connection.rollback().await?;
            connection.store_words(&missing, changes.newest.day()).await?;
            return Err(PostgresError::Raced);
        }
        match rows.write(connection, slot.number).await {
            Err(error) if error.code() == Some(&SqlState::CHECK_VIOLATION) => {
                // There is no partition for a day.
                connection.rollback().await?;
                for day in rows.days.days() {
                    partitions::create(connection, day, day).await?;
                }
                return Err(PostgresError::Raced);
            }
            written => written?,
        }
        connection.commit().await?;
        Ok(group.settle())
    }
}

impl GroupRows {
    /// Returns the rows of changes, in the order of their keys. Words that are missing are collected by `words`.
    fn new(words: &mut WordLookup<'_>, changes: &mut GroupChanges, group: &Group<'_>) -> Self {
        let mut rollups = std::mem::take(&mut changes.snapshots.rollups);
        changes.events.iter().for_each(|event| rollups.events(event, 1));
        let Ok(events) = encode_events(words, &changes.events);
        let SnapshotChanges { latest, days, rollups: _ } = &changes.snapshots;
        let (known, new): (Vec<_>, Vec<_>) = latest.iter().partition(|(installation, _)| group.is_known(*installation));
        let (Ok(new), Ok(known)) = (LatestArrays::new(words, new), LatestArrays::new(words, known));
        let Ok(of_days) = DayArrays::new(words, days);
        Self {
            new,
            known,
            days: of_days,
            events: EventArrays::new(events),
            rollups: RollupArrays::new(words, &rollups),
            bulk: changes.bulk_events(),
            newest: changes.newest.day(),
        }
    }

    /// Runs the statements in one round trip. Fails with [`PostgresError::Raced`] if another writer was faster with a new
    /// installation or event.
    async fn write(&self, connection: &mut PostgresConnection, slot: i32) -> Result<(), PostgresError> {
        let newest = self.newest.number();
        let mut statements = vec![
            (rows::INSERT_LATEST, self.new.parameters(), self.new.len()),
            (rows::UPSERT_LATEST, self.known.parameters(), self.known.len()),
            (rows::UPSERT_DAYS, self.days.parameters(), self.days.len()),
            (events::INSERT, self.events.parameters(), self.events.len()),
        ];
        let bulk: Vec<&(dyn ToSql + Sync)> = vec![&newest, &self.bulk];
        statements.push((COUNT_BULK, bulk, usize::from(self.bulk > 0)));
        statements.retain(|(_, _, rows)| *rows > 0);
        let mut prepared = Vec::new();
        for (sql, parameters, rows) in statements {
            prepared.push((connection.prepare(sql).await?, parameters, Some(rows)));
        }
        for (sql, parameters) in self.rollups.statements(&slot) {
            prepared.push((connection.prepare(sql).await?, parameters, None));
        }
        let client = connection.client();
        let mut running = Vec::with_capacity(prepared.len());
        for (statement, parameters, rows) in &prepared {
            running.push(async move { Ok::<_, PostgresError>((client.execute(statement, parameters).await?, *rows)) });
        }
        let written = try_join_all(running).await?;
        let has_all = |(written, rows): &(u64, Option<usize>)| rows.is_none_or(|rows| rows as u64 == *written);
        if written.iter().all(has_all) { Ok(()) } else { Err(PostgresError::Raced) }
    }
}

/// Ends a transaction that has nothing to write. With a synchronous standby, it writes something all the same: a commit that was
/// cancelled, or whose server crashed, while it waited for the standby is visible although the standby may not have it. A commit
/// waits for all that was written before it. Returns false if there was nothing to write, since the slot is another's.
async fn confirm_what_is_there(connection: &mut PostgresConnection, slot: Slot) -> Result<bool, PostgresError> {
    if !connection.durability.has_standby() {
        connection.rollback().await?;
        return Ok(true);
    }
    let rows = connection.execute("UPDATE slots SET until = until WHERE slot::int = $1", &[&slot.number]).await?;
    if rows > 0 {
        connection.commit().await?;
    }
    Ok(rows > 0)
}

/// Begins a transaction, reads the rows before, and folds the batches.
async fn read_and_fold<'a>(
    connection: &mut PostgresConnection,
    state: &Mutex<GroupState>,
    batches: Vec<Sent<'a>>,
) -> Result<(Group<'a>, GroupChanges), PostgresError> {
    let installations: Vec<Uuid> = installations(&batches).into_iter().collect();
    let uids: Vec<Uuid> = batches.iter().flat_map(|(batch, _)| &batch.events).map(|event| event.record.uid).collect();
    let (lock, known) = (connection.prepare(rows::LOCK_LATEST).await?, connection.prepare(events::KNOWN).await?);
    let begin = if uids.is_empty() { "BEGIN".to_owned() } else { format!("BEGIN; {}", events::LOCK_TO_ADD) };
    let client = connection.client();
    // One round trip: the server gets them in this order. Nothing is asked about nothing.
    let ((), before, known) = tokio::try_join!(
        client.batch_execute(&begin),
        query_any(client, &lock, &installations),
        query_any(client, &known, &uids),
    )?;
    let before = rows::latest_rows(connection, &before).await?;
    let mut seen = known.iter().map(|row| row.try_get(0)).collect::<Result<HashSet<Uuid>, _>>()?;
    let mut group = Group::new(batches, before);
    let new_events: Vec<(usize, &EventRow)> =
        group.events().filter(|(_, event)| seen.insert(event.record.uid)).collect();
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let changes = group.fold(&mut state, new_events);
    Ok((group, changes))
}

/// Returns the rows of a query about keys, of which there may be none.
async fn query_any(client: &Client, statement: &Statement, keys: &[Uuid]) -> Result<Vec<Row>, tokio_postgres::Error> {
    if keys.is_empty() { Ok(Vec::new()) } else { client.query(statement, &[&keys]).await }
}
