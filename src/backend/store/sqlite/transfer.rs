//! The file as the source or the target of a move.
//!
//! Its statements block: the command that moves rows has nothing else to do meanwhile.

use std::path::{Path, PathBuf};

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use jiff::Timestamp;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, TransactionBehavior, params, params_from_iter};
use tokio_util::sync::CancellationToken;

use super::file::{StoreFile, check};
use super::lock::{Lock, LockError};
use super::migrate::SCHEMA;
use super::published_week::PublishedWeekFile;
use super::words::Words;
use super::{OpenCause, OpenError, auth, checkpoint, connect_to_write, inbox};
use crate::backend::store::auth::{AuditLogEntry, MIGRATE};
use crate::backend::store::hour::Day;
use crate::backend::store::transfer::{
    DayCount, MoveState, MovedTable, MovedValue, MovedValues, RowDifference, TransferError, TransferStore,
};

/// The tables whose rows were received or done. Keys are made with the store.
const RECEIVED: [&str; 7] = ["latest", "days", "events", "inbox", "public_weeks", "tokens", "audit_log"];

/// An open file.
#[derive(Debug)]
pub(in crate::backend::store) struct SqliteTransfer {
    connection: Connection,
    path: PathBuf,
    /// Dropped after the connection, as the locks are.
    _file: StoreFile,
    _used: Lock,
    /// `None` while a backend serves the store.
    served: Option<Lock>,
}

/// The state of an unfinished move that keeps a store from being served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnfinishedMove;

/// Forgets a move that is complete, since the store is about to receive what its source does not have, and adds it to the audit log.
pub(super) fn end_move(connection: &Connection) -> rusqlite::Result<Result<(), UnfinishedMove>> {
    if state(connection)?.is_some_and(|state| !state.is_complete) {
        return Ok(Err(UnfinishedMove));
    }
    let transaction = connection.unchecked_transaction()?;
    if transaction.execute("DELETE FROM moves", [])? > 0 {
        auth::insert_entry(&transaction, &AuditLogEntry::of_anonymous_command(MIGRATE, Timestamp::now()))?;
    }
    transaction.commit()?;
    Ok(Ok(()))
}

/// Returns whether rows were moved into the store, and no backend has served it since.
pub(super) fn is_unserved_target(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(state(connection)?.is_some())
}

impl SqliteTransfer {
    /// Opens a store to read from, beside the backend that may serve it. Merges the newest events, unless a backend does. Blocks.
    pub(in crate::backend::store) fn open_source(path: &Path) -> Result<Self, OpenError> {
        let open = || {
            if !path.try_exists()? {
                return Err(OpenCause::Missing);
            }
            let mut transfer = Self::open(path)?;
            SCHEMA.require(&transfer.connection)?;
            if transfer.served.is_some() {
                inbox::merge(&mut transfer.connection, &mut Words::default())?;
            }
            Ok(transfer)
        };
        open().map_err(|cause| OpenError { path: path.to_owned(), cause })
    }

    /// Opens a store to write into, and creates it if there is none. Migrates its schema, unless a backend serves it. Blocks.
    pub(in crate::backend::store) fn open_target(path: &Path) -> Result<Self, OpenError> {
        let open = || {
            let mut transfer = Self::open(path)?;
            if transfer.served.is_some() {
                SCHEMA.migrate(&mut transfer.connection, CancellationToken::new())?;
            }
            Ok(transfer)
        };
        open().map_err(|cause: OpenCause| OpenError { path: path.to_owned(), cause })
    }

    fn open(path: &Path) -> Result<Self, OpenCause> {
        check(path)?;
        let used = Lock::shared(path)?;
        let served = match Lock::serving(path) {
            Ok(lock) => Some(lock),
            Err(LockError::Used) => None,
            Err(error) => return Err(error.into()),
        };
        let file = StoreFile::open(path)?;
        let connection = connect_to_write(path, &file)?;
        Ok(Self { connection, path: path.to_owned(), _file: file, _used: used, served })
    }

    fn error(&self, problem: &impl ToString) -> TransferError {
        TransferError { store: format!("sqlite:{}", self.path.display()), problem: problem.to_string() }
    }

    /// Returns what a statement has returned.
    fn done<T: Send + 'static>(&self, result: rusqlite::Result<T>) -> BoxFuture<'static, Result<T, TransferError>> {
        ready(result.map_err(|error| self.error(&error))).boxed()
    }

    fn write_all(&mut self, change: Option<(&MovedTable, RowDifference)>, state: &MoveState) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some((table, difference)) = change {
            let mut delete = transaction.prepare_cached(&delete(table))?;
            for key in &difference.removed {
                delete.execute(params_from_iter(key))?;
            }
            let mut insert = transaction.prepare_cached(&insert(table))?;
            for row in &difference.added {
                insert.execute(params_from_iter(row))?;
            }
        }
        transaction.execute(
            "INSERT INTO moves (number, is_complete, position) VALUES (1, ?1, ?2)
             ON CONFLICT DO UPDATE SET is_complete = excluded.is_complete, position = excluded.position",
            params![state.is_complete, state.position_text()],
        )?;
        transaction.commit()?;
        // The end of a move: what was deleted is in the write-ahead log no longer than in the file.
        if state.is_complete { checkpoint::truncate_wal(&mut self.connection) } else { Ok(()) }
    }

    /// Returns the last published week: that of the file beside the store, or a later one in the store.
    fn read_last_published(&self) -> Result<Option<i32>, TransferError> {
        let last = "SELECT max(week) FROM public_weeks";
        let stored: Option<i32> =
            self.connection.query_row(last, [], |row| row.get(0)).map_err(|error| self.error(&error))?;
        let last = PublishedWeekFile::of(&self.path).last(stored.map(Day::from_number));
        last.map(|day| day.map(Day::number)).map_err(|error| self.error(&error))
    }
}

fn state(connection: &Connection) -> rusqlite::Result<Option<MoveState>> {
    let state = |row: &Row<'_>| {
        Ok(MoveState::of(row.get("is_complete")?, row.get::<_, Option<String>>("position")?.as_deref()))
    };
    connection.query_row("SELECT is_complete, position FROM moves", [], state).optional()
}

fn names(table: &MovedTable) -> String {
    table.columns.iter().map(|column| format!("\"{}\"", column.name)).collect::<Vec<_>>().join(", ")
}

fn key_names(table: &MovedTable) -> String {
    table.key_columns().iter().map(|column| format!("\"{}\"", column.name)).collect::<Vec<_>>().join(", ")
}

fn places(count: usize) -> String {
    vec!["?"; count].join(", ")
}

fn delete(table: &MovedTable) -> String {
    let is_key: Vec<_> = table.key_columns().iter().map(|column| format!("\"{}\" = ?", column.name)).collect();
    format!("DELETE FROM {} WHERE {}", table.name, is_key.join(" AND "))
}

fn insert(table: &MovedTable) -> String {
    format!("INSERT INTO {} ({}) VALUES ({})", table.name, names(table), places(table.columns.len()))
}

/// Returns a query of all rows. Sums over nothing are no rows.
fn select(table: &MovedTable) -> String {
    let rows = format!("SELECT {} FROM {}", names(table), table.name);
    if !table.is_rollup {
        return rows;
    }
    let sums: Vec<_> = table.columns[table.key..].iter().map(|sum| format!("\"{}\" <> 0", sum.name)).collect();
    format!("{rows} WHERE ({})", sums.join(" OR "))
}

fn read_rows(
    connection: &Connection,
    table: &MovedTable,
    after: Option<&MovedValues>,
    limit: usize,
) -> rusqlite::Result<Vec<MovedValues>> {
    let (rows, key) = (select(table), key_names(table));
    let bound = match after {
        Some(_) => format!(" {} ({key}) > ({})", if table.is_rollup { "AND" } else { "WHERE" }, places(table.key)),
        None => String::new(),
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = format!("{rows}{bound} ORDER BY {key} LIMIT {limit}");
    let mut select = connection.prepare_cached(&sql)?;
    let row = |row: &Row<'_>| (0..table.columns.len()).map(|column| row.get_ref(column)?.try_into()).collect();
    select.query_map(params_from_iter(after.into_iter().flatten()), row)?.collect()
}

fn count_rows(connection: &Connection, table: &MovedTable) -> rusqlite::Result<Vec<DayCount>> {
    let day = table.day.as_deref().unwrap_or("NULL");
    let sql = format!(
        "SELECT {day}, count(*), coalesce(sum({}), 0) FROM ({}) AS counted GROUP BY 1 ORDER BY 1",
        table.sum,
        select(table)
    );
    let mut select = connection.prepare_cached(&sql)?;
    let count = |row: &Row<'_>| Ok(DayCount { day: row.get(0)?, rows: row.get(1)?, sum: row.get(2)? });
    select.query_map([], count)?.collect()
}

fn has_any(connection: &Connection) -> rusqlite::Result<bool> {
    let any = RECEIVED.map(|table| format!("EXISTS (SELECT 1 FROM {table})")).join(" OR ");
    connection.query_row(&format!("SELECT {any}"), [], |row| row.get(0))
}

impl TryFrom<ValueRef<'_>> for MovedValue {
    type Error = rusqlite::Error;

    fn try_from(value: ValueRef<'_>) -> rusqlite::Result<Self> {
        Ok(match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Blob(bytes) => Self::Bytes(bytes.to_vec()),
            value => Self::Text(value.as_str()?.to_owned()),
        })
    }
}

impl ToSql for MovedValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            Self::Integer(number) => ToSqlOutput::Owned(Value::Integer(*number)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

impl TransferStore for SqliteTransfer {
    fn is_served(&mut self) -> BoxFuture<'_, Result<bool, TransferError>> {
        ready(Ok(self.served.is_none())).boxed()
    }

    fn state(&mut self) -> BoxFuture<'_, Result<Option<MoveState>, TransferError>> {
        self.done(state(&self.connection))
    }

    fn has_rows(&mut self) -> BoxFuture<'_, Result<bool, TransferError>> {
        self.done(has_any(&self.connection))
    }

    fn read<'a>(
        &'a mut self,
        table: &'a MovedTable,
        after: Option<&'a MovedValues>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<MovedValues>, TransferError>> {
        self.done(read_rows(&self.connection, table, after, limit))
    }

    fn write<'a>(
        &'a mut self,
        change: Option<(&'a MovedTable, RowDifference)>,
        state: MoveState,
    ) -> BoxFuture<'a, Result<(), TransferError>> {
        let written = self.write_all(change, &state);
        self.done(written)
    }

    fn count<'a>(&'a mut self, table: &'a MovedTable) -> BoxFuture<'a, Result<Vec<DayCount>, TransferError>> {
        self.done(count_rows(&self.connection, table))
    }

    fn last_published(&mut self) -> BoxFuture<'_, Result<Option<i32>, TransferError>> {
        ready(self.read_last_published()).boxed()
    }

    fn publish_until(&mut self, week: i32) -> BoxFuture<'_, Result<bool, TransferError>> {
        let written = PublishedWeekFile::of(&self.path).write(Day::from_number(week));
        ready(written.map(|()| true).map_err(|error| self.error(&error))).boxed()
    }
}
