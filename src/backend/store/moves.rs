//! The move of all rows of a store into another one.
//!
//! A pass goes through all tables in the order of their keys, and writes what differs. It can end at any moment: the target keeps
//! the last key, from which the next run goes on. What is received by the source behind that key is written by the pass after it.

use super::StoreLocation;
use super::postgres::OpenPostgresError;
use super::postgres::transfer::PostgresTransfer;
use super::sqlite::OpenError;
use super::sqlite::transfer::SqliteTransfer;
use super::transfer::{
    Comparison, MAX_BATCH_ROWS, MOVED_TABLES, MoveExtent, MovePosition, MoveState, MoveStep, MovedTable, MovedValue,
    RowDifference, TransferError, TransferStore, compare,
};

/// The result of a move that came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The rows that were written or deleted in the target.
    pub changed: usize,
    /// True if a backend served the source meanwhile: what it received behind the pass is missing.
    pub was_served: bool,
    /// The rows of both stores.
    pub comparison: Comparison,
    /// True if the source remembers a published week that neither its rows nor the target tell of.
    pub forgets_week: bool,
}

impl Moved {
    /// Returns whether the target holds all rows, and may be served.
    pub fn is_complete(&self) -> bool {
        !self.was_served && self.comparison.is_equal()
    }
}

/// An error that kept rows from being moved.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct MoveError(#[from] MoveCause);

#[derive(Debug, thiserror::Error)]
enum MoveCause {
    #[error("--from and --to are the same store; expected another --to")]
    SameStore,
    #[error("a move into the store of --from is not complete; finish that one first")]
    UnfinishedSource,
    #[error("a backend serves the store of --to; stop it, or choose an empty store")]
    ServedTarget,
    #[error(
        "the store of --to holds rows, and another key of pseudonyms than that of --from: the installations of the two cannot be \
         told apart or put together; choose an empty store"
    )]
    OtherKey,
    #[error(
        "the store of --to holds rows, and was served since rows were moved into it, or never had any moved: what it received \
         would be lost; choose an empty store"
    )]
    UsedTarget,
    #[error("the store of --from has no key of pseudonyms; expected the store of a backend")]
    NoKey,
    #[error(transparent)]
    Sqlite(#[from] OpenError),
    #[error(transparent)]
    Postgres(#[from] Box<OpenPostgresError>),
    #[error(transparent)]
    Transfer(#[from] TransferError),
}

type Side = Box<dyn TransferStore>;

/// Moves all rows of a store into another one, which becomes equal to it. A backend may serve the source meanwhile; the move is
/// complete after a run in which none does.
pub async fn move_rows(from: &StoreLocation, to: &StoreLocation) -> Result<Moved, MoveError> {
    Ok(run(from, to).await?)
}

async fn run(from: &StoreLocation, to: &StoreLocation) -> Result<Moved, MoveCause> {
    if is_same(from, to) {
        return Err(MoveCause::SameStore);
    }
    let mut source: Side = match from {
        StoreLocation::Sqlite(path) => Box::new(SqliteTransfer::open_source(path)?),
        StoreLocation::Postgres(address) => Box::new(PostgresTransfer::open_source(address).await.map_err(Box::new)?),
    };
    let mut target: Side = match to {
        StoreLocation::Sqlite(path) => Box::new(SqliteTransfer::open_target(path)?),
        StoreLocation::Postgres(address) => Box::new(PostgresTransfer::open_target(address).await.map_err(Box::new)?),
    };
    let was_served = source.is_served().await?;
    let position = begin(source.as_mut(), target.as_mut()).await?;
    let goes_on = position.is_some();
    let mut changed = pass(source.as_mut(), target.as_mut(), position).await?;
    if goes_on {
        // The source may have changed behind the key.
        changed += pass(source.as_mut(), target.as_mut(), None).await?;
    }
    let forgets_week = !keep_week(source.as_mut(), target.as_mut()).await?;
    let comparison = compare_all(source.as_mut(), target.as_mut()).await?;
    let was_served = was_served || source.is_served().await?;
    let moved = Moved { changed, was_served, comparison, forgets_week };
    target.write(None, MoveState { is_complete: moved.is_complete(), position: None }).await?;
    Ok(moved)
}

fn is_same(from: &StoreLocation, to: &StoreLocation) -> bool {
    match (from, to) {
        (StoreLocation::Sqlite(from), StoreLocation::Sqlite(to)) => {
            let identity = |path: &std::path::PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
            identity(from) == identity(to)
        }
        (StoreLocation::Postgres(from), StoreLocation::Postgres(to)) => from.to_string() == to.to_string(),
        _ => false,
    }
}

/// Checks that rows may be moved, and records in the target that its move is not complete. Returns the position from which an
/// interrupted move goes on.
async fn begin(
    source: &mut dyn TransferStore,
    target: &mut dyn TransferStore,
) -> Result<Option<MovePosition>, MoveCause> {
    if source.state().await?.is_some_and(|state| !state.is_complete) {
        return Err(MoveCause::UnfinishedSource);
    }
    if target.is_served().await? {
        return Err(MoveCause::ServedTarget);
    }
    let key = pseudonym_key(source).await?.ok_or(MoveCause::NoKey)?;
    let is_same_key = pseudonym_key(target).await?.is_some_and(|of_target| of_target == key);
    let (state, has_rows) = (target.state().await?, target.has_rows().await?);
    match &state {
        _ if has_rows && !is_same_key => return Err(MoveCause::OtherKey),
        None if has_rows => return Err(MoveCause::UsedTarget),
        _ => {}
    }
    let position = state.and_then(|state| state.position).filter(|_| is_same_key);
    target.write(None, MoveState { is_complete: false, position: position.clone() }).await?;
    Ok(position)
}

async fn pseudonym_key(store: &mut dyn TransferStore) -> Result<Option<MovedValue>, TransferError> {
    let keys = MOVED_TABLES.iter().find(|table| table.name == "keys");
    let Some(keys) = keys else { return Ok(None) };
    let rows = store.read(keys, None, usize::MAX).await?;
    let of_name = rows.into_iter().find(|row| row.first() == Some(&MovedValue::Text("pseudonym".to_owned())));
    Ok(of_name.and_then(|mut row| row.pop()))
}

/// Goes through the tables from a position on. Returns the number of changed rows.
async fn pass(
    source: &mut dyn TransferStore,
    target: &mut dyn TransferStore,
    position: Option<MovePosition>,
) -> Result<usize, TransferError> {
    let first = position.as_ref().and_then(|of| MOVED_TABLES.iter().position(|table| table.name == of.table));
    let mut after = position.filter(|_| first.is_some()).and_then(|position| position.after);
    let mut changed = 0;
    for table in &MOVED_TABLES[first.unwrap_or_default()..] {
        let of_table = match table.extent {
            MoveExtent::Whole => move_whole(source, target, table).await?,
            MoveExtent::Batches => move_in_batches(source, target, table, after.take()).await?,
        };
        if of_table > 0 {
            tracing::info!(table = table.name, rows = of_table, "moved rows");
        }
        changed += of_table;
    }
    Ok(changed)
}

async fn move_whole(
    source: &mut dyn TransferStore,
    target: &mut dyn TransferStore,
    table: &MovedTable,
) -> Result<usize, TransferError> {
    let rows = source.read(table, None, usize::MAX).await?;
    let stored = target.read(table, None, usize::MAX).await?;
    let difference = RowDifference::new(rows, stored, table.key);
    write(target, table, difference, None).await
}

async fn move_in_batches(
    source: &mut dyn TransferStore,
    target: &mut dyn TransferStore,
    table: &MovedTable,
    mut after: Option<Vec<MovedValue>>,
) -> Result<usize, TransferError> {
    let mut changed = 0;
    loop {
        let rows = source.read(table, after.as_ref(), MAX_BATCH_ROWS).await?;
        let stored = target.read(table, after.as_ref(), MAX_BATCH_ROWS).await?;
        let MoveStep { difference, last } = MoveStep::new(rows, stored, table.key, MAX_BATCH_ROWS);
        changed += write(target, table, difference, last.clone()).await?;
        if last.is_none() {
            return Ok(changed);
        }
        after = last;
    }
}

/// Writes a difference, unless there is none: a run after this one then compares the same rows again.
async fn write(
    target: &mut dyn TransferStore,
    table: &MovedTable,
    difference: RowDifference,
    last: Option<Vec<MovedValue>>,
) -> Result<usize, TransferError> {
    if difference.is_empty() {
        return Ok(0);
    }
    let rows = difference.rows();
    let position = MovePosition { table: table.name.to_owned(), after: last };
    target.write(Some((table, difference)), MoveState { is_complete: false, position: Some(position) }).await?;
    Ok(rows)
}

/// Keeps the last published week, which a file beside a store may name although the store was restored from a backup.
async fn keep_week(source: &mut dyn TransferStore, target: &mut dyn TransferStore) -> Result<bool, TransferError> {
    match source.last_published().await? {
        Some(week) => target.publish_until(week).await,
        None => Ok(true),
    }
}

async fn compare_all(
    source: &mut dyn TransferStore,
    target: &mut dyn TransferStore,
) -> Result<Comparison, TransferError> {
    let mut comparison = Comparison::default();
    for table in MOVED_TABLES.iter() {
        let (of_source, of_target) = (source.count(table).await?, target.count(table).await?);
        comparison.0.push(compare(table.name, &of_source, &of_target));
    }
    Ok(comparison)
}
