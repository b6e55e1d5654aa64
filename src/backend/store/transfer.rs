//! The rows of a store as they go into another one: the tables, their columns, and the difference of two stores. No I/O.
//!
//! ```text
//! batch of the source ─┐
//!                      ├─▶ difference ─▶ one transaction of the target, with the key of its last row
//! batch of the target ─┘
//! ```
//!
//! A row goes as it is stored: the numbers of words too are those of the source. Nothing is decoded and folded again.

mod counts;
mod difference;
mod tables;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

pub use counts::{Comparison, DayDifference, TableCounts};
pub(super) use counts::{DayCount, compare};
pub(super) use difference::{MoveStep, RowDifference};
pub(super) use tables::{MOVED_TABLES, MoveExtent, MovedColumn, MovedColumnKind, MovedTable};

/// The most rows of a batch: a few megabytes, and a transaction of some 100 ms.
pub(super) const MAX_BATCH_ROWS: usize = 5_000;

/// The problem of a command that changes the target of a move which no backend has served yet, and what it expects.
pub(super) const UNSERVED_TARGET: &str = "rows were moved into it, and no backend has served it since: another run of \
                                          `backend migrate` would undo the change";
pub(super) const SERVE_TARGET: &str =
    "a backend to be started on it first, or the change in the store of --from, and then another run";

/// A value of a column, as `SQLite` holds it: a UUID is bytes, a time is in milliseconds, and an id of a word is not negative.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum MovedValue {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// The values of a row, or of its key, in the order of the columns.
pub(super) type MovedValues = Vec<MovedValue>;

/// The place in the tables from which a move goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MovePosition {
    /// The name of the table.
    pub(super) table: String,
    /// The key of the last row that was compared.
    pub(super) after: Option<MovedValues>,
}

/// The state of a move, which its target keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct MoveState {
    /// True once all rows of a source that nobody served are there.
    pub(super) is_complete: bool,
    /// `None` at the beginning of a pass.
    pub(super) position: Option<MovePosition>,
}

impl MoveState {
    /// Returns the state of its columns. A text of another program is no position: the move begins anew.
    pub(super) fn of(is_complete: bool, position: Option<&str>) -> Self {
        Self { is_complete, position: position.and_then(|text| serde_json::from_str(text).ok()) }
    }

    /// Returns the column of the position.
    pub(super) fn position_text(&self) -> Option<String> {
        self.position.as_ref().map(|position| serde_json::to_string(position).unwrap_or_default())
    }
}

/// An error of one of the two stores.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{store}: {problem}")]
pub(super) struct TransferError {
    pub(super) store: String,
    pub(super) problem: String,
}

/// A store that rows are read from, or written into.
pub(super) trait TransferStore: Send {
    /// Returns whether a backend serves the store.
    fn is_served(&mut self) -> BoxFuture<'_, Result<bool, TransferError>>;

    /// Returns the state of the move of which the store is the target; `None` if it is of none, or was served since.
    fn state(&mut self) -> BoxFuture<'_, Result<Option<MoveState>, TransferError>>;

    /// Returns whether the store holds anything that was received or done.
    fn has_rows(&mut self) -> BoxFuture<'_, Result<bool, TransferError>>;

    /// Reads rows after a key in the order of their keys, at most `limit` of them.
    fn read<'a>(
        &'a mut self,
        table: &'a MovedTable,
        after: Option<&'a MovedValues>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<MovedValues>, TransferError>>;

    /// Writes a difference and the state in one transaction, and returns once that is durable.
    fn write<'a>(
        &'a mut self,
        change: Option<(&'a MovedTable, RowDifference)>,
        state: MoveState,
    ) -> BoxFuture<'a, Result<(), TransferError>>;

    /// Counts the rows of a table by day.
    fn count<'a>(&'a mut self, table: &'a MovedTable) -> BoxFuture<'a, Result<Vec<DayCount>, TransferError>>;

    /// Returns the day of the last published week, that of a file beside the store included.
    fn last_published(&mut self) -> BoxFuture<'_, Result<Option<i32>, TransferError>>;

    /// Names the last published week where a backup of the store does not hold it. Returns false if there is no such place and
    /// the store's rows don't tell of the week.
    fn publish_until(&mut self, week: i32) -> BoxFuture<'_, Result<bool, TransferError>>;
}
