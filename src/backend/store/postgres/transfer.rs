//! The database as the source or the target of a move.

use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::address::{APPLICATION_NAME, PostgresAddress};
use super::connection::{Connector, PostgresConnection, PostgresError};
use super::removal::ASK_FOR_VACUUM;
use super::transfer_sql::{self as sql, ColumnArray, arrays};
use super::{OpenPostgresError, auth, migrate, partitions};
use crate::backend::store::auth::{AuditLogEntry, MIGRATE};
use crate::backend::store::hour::Day;
use crate::backend::store::transfer::{
    DayCount, MAX_BATCH_ROWS, MoveState, MovedColumnKind, MovedTable, MovedValue, MovedValues, RowDifference,
    SERVE_TARGET, TransferError, TransferStore, UNSERVED_TARGET,
};

/// The number of the lock that the target's connection holds, so that neither two moves write at once, nor a backend begins to serve
/// meanwhile: the first bytes of "ktmove".
const LOCK: i64 = 0x6b74_6d6f_7665;

/// The time that a move waits for the connection of one that was killed, which ends with its statement.
const LOCK_TIMEOUT_SECONDS: u8 = 60;

/// The time that connections of a backend which has ended may still be seen.
const LINGER: Duration = Duration::from_secs(3);

/// The pause between two looks for them.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// The tables whose rows were received or done. Keys are made with the store.
const RECEIVED: [&str; 7] = ["latest", "days", "events", "arrivals", "public_weeks", "tokens", "audit_log"];

const IS_SERVED: &str = "
    SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1)";

const SET_STATE: &str = "
    INSERT INTO moves (number, is_complete, position) VALUES (1, $1, $2)
    ON CONFLICT (number) DO UPDATE SET is_complete = excluded.is_complete, position = excluded.position";

/// The numbers of new entries follow those that were moved.
const CONTINUE_NUMBERS: &str = "
    SELECT setval(pg_get_serial_sequence('audit_log', 'number'), greatest(max(number), 1)) FROM audit_log";

/// An open database.
pub(in crate::backend::store) struct PostgresTransfer {
    connection: PostgresConnection,
    address: PostgresAddress,
}

/// Forgets a move that is complete, since the store is about to receive what its source does not have, and adds it to the audit log.
/// Fails if it is not complete, or if another one is running: a move looks for backends once it has the lock, and finds one that has
/// ended it before.
pub(super) async fn end_move(connection: &mut PostgresConnection) -> Result<(), PostgresError> {
    connection.begin().await?;
    let client = connection.client();
    client.batch_execute(&format!("SET LOCAL lock_timeout = '{}s'", LINGER.as_secs())).await?;
    match client.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await {
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => return Err(unfinished()),
        locked => locked?,
    };
    if read_state(connection).await?.is_some_and(|state| !state.is_complete) {
        return Err(unfinished());
    }
    if connection.execute("DELETE FROM moves", &[]).await? > 0 {
        auth::insert_entry(connection, &AuditLogEntry::of_anonymous_command(MIGRATE, Timestamp::now())).await?;
    }
    connection.commit().await
}

fn unfinished() -> PostgresError {
    PostgresError::Other(
        "rows are being moved into it, and the move is not complete; expected `kamaji-telemetry backend migrate`, with the \
         same --from and --to, after the backend of --from was stopped"
            .to_owned(),
    )
}

/// Fails if rows were moved into the store, and no backend has served it since.
pub(super) async fn require_no_move(connection: &mut PostgresConnection) -> Result<(), PostgresError> {
    match read_state(connection).await? {
        None => Ok(()),
        Some(_) => Err(PostgresError::Other(format!("{UNSERVED_TARGET}; expected {SERVE_TARGET}"))),
    }
}

impl PostgresTransfer {
    /// Opens a store to read from, beside the backends that may serve it.
    pub(in crate::backend::store) async fn open_source(address: &PostgresAddress) -> Result<Self, OpenPostgresError> {
        let open = async |connection: &mut PostgresConnection| migrate::require(connection).await;
        Self::open(address, open).await
    }

    /// Opens a store to write into, and creates its tables if there are none. One move at a time has it open.
    pub(in crate::backend::store) async fn open_target(address: &PostgresAddress) -> Result<Self, OpenPostgresError> {
        let open = async |connection: &mut PostgresConnection| {
            let client = connection.client();
            client.batch_execute(&format!("SET lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")).await?;
            client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await.map_err(locked)?;
            migrate::migrate(connection).await
        };
        Self::open(address, open).await
    }

    async fn open(
        address: &PostgresAddress,
        prepare: impl AsyncFnOnce(&mut PostgresConnection) -> Result<(), PostgresError>,
    ) -> Result<Self, OpenPostgresError> {
        let open = async {
            let mut connection = Connector::new(address.of_move()).connect().await?;
            prepare(&mut connection).await?;
            Ok(Self { connection, address: address.clone() })
        };
        open.await.map_err(|error| OpenPostgresError { address: address.clone(), error })
    }

    /// Returns an answer, or its error with the name of the store. A failure ends the command, and its transaction with it.
    fn named<T>(&self, answer: Result<T, PostgresError>) -> Result<T, TransferError> {
        answer.map_err(|error| TransferError { store: self.address.to_string(), problem: error.to_string() })
    }
}

/// Returns the error of a target that another move has open.
fn locked(error: tokio_postgres::Error) -> PostgresError {
    if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
        let problem = "another `backend migrate` writes into it; expected one at a time: wait until that one has ended";
        return PostgresError::Other(problem.to_owned());
    }
    error.into()
}

async fn is_served(connection: &mut PostgresConnection) -> Result<bool, PostgresError> {
    let start = Instant::now();
    loop {
        let is_served: bool = connection.query_one(IS_SERVED, &[&APPLICATION_NAME]).await?.try_get(0)?;
        if !is_served || start.elapsed() > LINGER {
            return Ok(is_served);
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

async fn read_state(connection: &mut PostgresConnection) -> Result<Option<MoveState>, PostgresError> {
    let Some(row) = connection.query_opt("SELECT is_complete, position FROM moves", &[]).await? else {
        return Ok(None);
    };
    Ok(Some(MoveState::of(row.try_get("is_complete")?, row.try_get("position")?)))
}

async fn has_any(connection: &mut PostgresConnection) -> Result<bool, PostgresError> {
    let any = RECEIVED.map(|table| format!("EXISTS (SELECT FROM {table})")).join(" OR ");
    Ok(connection.query_one(&format!("SELECT {any}"), &[]).await?.try_get(0)?)
}

async fn read_rows(
    connection: &mut PostgresConnection,
    table: &MovedTable,
    after: Option<&MovedValues>,
    limit: usize,
) -> Result<Vec<MovedValues>, PostgresError> {
    if table.name == "days" {
        return read_days(connection, table, after, limit).await;
    }
    let statement = sql::read(table, after.is_some());
    let mut parameters: Vec<&(dyn ToSql + Sync)> = after.into_iter().flatten().filter_map(sql::parameter).collect();
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    parameters.push(&most);
    let rows = connection.query(&statement, &parameters).await?;
    let mut rows = rows.iter().map(|row| cells(row, table)).collect::<Result<Vec<_>, _>>()?;
    // The order of the database is that of its own types, and there may be two tables.
    rows.sort_unstable_by(|left, right| left[..table.key].cmp(&right[..table.key]));
    rows.truncate(limit);
    Ok(rows)
}

/// Reads the rows of days one partition after the other: the key of each begins with the installation.
async fn read_days(
    connection: &mut PostgresConnection,
    table: &MovedTable,
    after: Option<&MovedValues>,
    limit: usize,
) -> Result<Vec<MovedValues>, PostgresError> {
    let after = match after.map(Vec::as_slice) {
        Some([MovedValue::Integer(day), MovedValue::Bytes(installation)]) => Some((*day, installation.as_slice())),
        _ => None,
    };
    let first = after.map_or(i32::MIN, |(day, _)| i32::try_from(day).unwrap_or(i32::MAX));
    let (statement, mut all) = (sql::read_day(table), Vec::new());
    for day in partitions::since(connection, first).await? {
        let installation = after.filter(|(of_key, _)| *of_key == i64::from(day)).map(|(_, installation)| installation);
        let most = i64::try_from(limit - all.len()).unwrap_or(i64::MAX);
        let rows = connection.query(&statement, &[&day, &installation, &most]).await?;
        for row in &rows {
            all.push(cells(row, table)?);
        }
        if all.len() >= limit {
            break;
        }
    }
    Ok(all)
}

/// Reads the cells of a row.
fn cells(row: &Row, table: &MovedTable) -> Result<MovedValues, PostgresError> {
    let cell = |(place, kind): (usize, MovedColumnKind)| {
        let cell = match kind {
            MovedColumnKind::Text => row.try_get::<_, Option<String>>(place)?.map(MovedValue::Text),
            MovedColumnKind::Bytes | MovedColumnKind::Uuid => {
                row.try_get::<_, Option<Vec<u8>>>(place)?.map(MovedValue::Bytes)
            }
            _ => row.try_get::<_, Option<i64>>(place)?.map(MovedValue::Integer),
        };
        Ok(cell.unwrap_or(MovedValue::Null))
    };
    table.columns.iter().map(|column| column.kind).enumerate().map(cell).collect()
}

async fn write(
    connection: &mut PostgresConnection,
    change: Option<(&MovedTable, RowDifference)>,
    state: MoveState,
) -> Result<(), PostgresError> {
    if let Some((table, RowDifference { added, .. })) = &change
        && table.name == "days"
    {
        create_partitions(connection, added).await?;
    }
    connection.begin().await?;
    if let Some((table, difference)) = &change {
        delete(connection, table, difference).await?;
        if !difference.removed.is_empty() {
            // Some were erased from the source.
            connection.execute(ASK_FOR_VACUUM, &[]).await?;
        }
        insert(connection, table, &difference.added).await?;
    }
    connection.execute(SET_STATE, &[&state.is_complete, &state.position_text()]).await?;
    connection.commit().await
}

/// Creates the partitions of rows, which are in the order of their days.
async fn create_partitions(connection: &mut PostgresConnection, added: &[MovedValues]) -> Result<(), PostgresError> {
    let mut last = None;
    for day in added.iter().filter_map(|row| row.first()) {
        if let MovedValue::Integer(day) = day
            && last != Some(*day)
        {
            last = Some(*day);
            let day = Day::from_number(i32::try_from(*day).unwrap_or(i32::MAX));
            partitions::create(connection, day, day).await?;
        }
    }
    Ok(())
}

async fn delete(
    connection: &mut PostgresConnection,
    table: &MovedTable,
    RowDifference { removed, added }: &RowDifference,
) -> Result<(), PostgresError> {
    // The key of an event in the database is its uid, under which an erasure since the last pass gives it another place.
    let added: &[MovedValues] = if table.name == "events" { added } else { &[] };
    let keys: Vec<&[MovedValue]> = removed.iter().chain(added).map(|row| &row[..table.key]).collect();
    for (name, columns) in sql::deleted_from(table) {
        let statement = sql::delete(table, name, &columns);
        for keys in keys.chunks(MAX_BATCH_ROWS) {
            let arrays = arrays(table, &columns, keys);
            connection.execute(&statement, &parameters(&arrays)).await?;
        }
    }
    Ok(())
}

async fn insert(
    connection: &mut PostgresConnection,
    table: &MovedTable,
    added: &[MovedValues],
) -> Result<(), PostgresError> {
    let (statement, columns) = (sql::insert(table), (0..table.columns.len()).collect::<Vec<_>>());
    for rows in added.chunks(MAX_BATCH_ROWS) {
        let rows: Vec<&[MovedValue]> = rows.iter().map(Vec::as_slice).collect();
        let arrays = arrays(table, &columns, &rows);
        connection.execute(&statement, &parameters(&arrays)).await?;
    }
    if table.name == "audit_log" && !added.is_empty() {
        connection.query(CONTINUE_NUMBERS, &[]).await?;
    }
    Ok(())
}

fn parameters(arrays: &[ColumnArray]) -> Vec<&(dyn ToSql + Sync)> {
    arrays.iter().map(ColumnArray::parameter).collect()
}

async fn count_rows(connection: &mut PostgresConnection, table: &MovedTable) -> Result<Vec<DayCount>, PostgresError> {
    let rows = connection.query(&sql::count(table), &[]).await?;
    let count = |row: &Row| Ok(DayCount { day: row.try_get(0)?, rows: row.try_get(1)?, sum: row.try_get(2)? });
    rows.iter().map(count).collect()
}

async fn last_published(connection: &mut PostgresConnection) -> Result<Option<i32>, PostgresError> {
    Ok(connection.query_one("SELECT max(week) FROM public_weeks", &[]).await?.try_get(0)?)
}

impl TransferStore for PostgresTransfer {
    fn is_served(&mut self) -> BoxFuture<'_, Result<bool, TransferError>> {
        async move {
            let answer = is_served(&mut self.connection).await;
            self.named(answer)
        }
        .boxed()
    }

    fn state(&mut self) -> BoxFuture<'_, Result<Option<MoveState>, TransferError>> {
        async move {
            let answer = read_state(&mut self.connection).await;
            self.named(answer)
        }
        .boxed()
    }

    fn has_rows(&mut self) -> BoxFuture<'_, Result<bool, TransferError>> {
        async move {
            let answer = has_any(&mut self.connection).await;
            self.named(answer)
        }
        .boxed()
    }

    fn read<'a>(
        &'a mut self,
        table: &'a MovedTable,
        after: Option<&'a MovedValues>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<MovedValues>, TransferError>> {
        async move {
            let answer = read_rows(&mut self.connection, table, after, limit).await;
            self.named(answer)
        }
        .boxed()
    }

    fn write<'a>(
        &'a mut self,
        change: Option<(&'a MovedTable, RowDifference)>,
        state: MoveState,
    ) -> BoxFuture<'a, Result<(), TransferError>> {
        async move {
            let answer = write(&mut self.connection, change, state).await;
            self.named(answer)
        }
        .boxed()
    }

    fn count<'a>(&'a mut self, table: &'a MovedTable) -> BoxFuture<'a, Result<Vec<DayCount>, TransferError>> {
        async move {
            let answer = count_rows(&mut self.connection, table).await;
            self.named(answer)
        }
        .boxed()
    }

    fn last_published(&mut self) -> BoxFuture<'_, Result<Option<i32>, TransferError>> {
        async move {
            let answer = last_published(&mut self.connection).await;
            self.named(answer)
        }
        .boxed()
    }

    fn publish_until(&mut self, week: i32) -> BoxFuture<'_, Result<bool, TransferError>> {
        async move {
            let last = last_published(&mut self.connection).await;
            Ok(self.named(last)?.is_some_and(|last| last >= week))
        }
        .boxed()
    }
}
