//! The writing of changes of rollups: each sum is added to the one of the writer's slot.

use std::array;
use std::convert::Infallible;
use std::sync::LazyLock;

use tokio_postgres::types::ToSql;

use super::connection::{PostgresConnection, PostgresError};
use super::words::WordLookup;
use crate::backend::store::encoding::{RollupRow, RollupTable, TABLES, rollup_rows};
use crate::backend::store::fold::RollupChanges;

/// The slot of everything that is not a group commit, and of the sums of slots that belong to nobody.
pub(super) const COMMON_SLOT: i32 = 0;

/// The statements that add to the sums, by table.
static ADD: LazyLock<[String; TABLES.len()]> = LazyLock::new(|| array::from_fn(|table| add(TABLES[table])));

/// Adds rows, whose columns are arrays, in the order of their keys.
fn add(RollupTable { name, keys, sums }: RollupTable) -> String {
    let columns = [keys, sums].concat();
    let types = keys.iter().map(|_| "int").chain(sums.iter().map(|_| "bigint"));
    let arrays: Vec<_> = types.zip(2..).map(|(of_column, place)| format!("${place}::{of_column}[]")).collect();
    let added: Vec<_> = sums.iter().map(|sum| format!("{sum} = {name}.{sum} + excluded.{sum}")).collect();
    format!(
        "INSERT INTO {name} ({columns}, slot) SELECT {columns}, $1::int FROM unnest({arrays}) AS added ({columns}) \
         ORDER BY {keys} ON CONFLICT ({keys}, slot) DO UPDATE SET {added}",
        columns = columns.join(", "),
        arrays = arrays.join(", "),
        keys = keys.join(", "),
        added = added.join(", ")
    )
}

/// The rows of changes, each column an array, by table.
pub(super) struct RollupArrays([TableArrays; TABLES.len()]);

#[derive(Default)]
struct TableArrays {
    keys: Vec<Vec<i32>>,
    sums: Vec<Vec<i64>>,
}

impl TableArrays {
    fn new(RollupTable { keys, sums, .. }: RollupTable, rows: Vec<RollupRow>) -> Self {
        let mut arrays = Self { keys: vec![Vec::new(); keys.len()], sums: vec![Vec::new(); sums.len()] };
        for RollupRow { key, sums } in rows {
            arrays.keys.iter_mut().zip(key).for_each(|(column, value)| column.push(int(value)));
            arrays.sums.iter_mut().zip(sums).for_each(|(column, value)| column.push(value));
        }
        arrays
    }

    fn is_empty(&self) -> bool {
        self.keys.first().is_none_or(Vec::is_empty)
    }

    fn parameters<'a>(&'a self, slot: &'a i32) -> Vec<&'a (dyn ToSql + Sync)> {
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![slot];
        parameters.extend(self.keys.iter().map(|column| column as &(dyn ToSql + Sync)));
        parameters.extend(self.sums.iter().map(|column| column as &(dyn ToSql + Sync)));
        parameters
    }
}

/// Returns a value of a key as a column of 32 bits holds it. An id of a word may be above the largest signed number.
pub(super) fn int(value: i64) -> i32 {
    i32::try_from(value).unwrap_or_else(|_| u32::try_from(value).unwrap_or_default().cast_signed())
}

impl RollupArrays {
    /// Returns the columns of changes. Words that are missing are collected by `words`.
    pub(super) fn new(words: &mut WordLookup<'_>, changes: &RollupChanges) -> Self {
        let Ok(tables): Result<_, Infallible> = rollup_rows(words, changes);
        let mut tables = TABLES.into_iter().zip(tables);
        Self(array::from_fn(|_| tables.next().map(|(table, rows)| TableArrays::new(table, rows)).unwrap_or_default()))
    }

    /// Returns the statements to run with their parameters, those of `slot` included.
    pub(super) fn statements<'a>(
        &'a self,
        slot: &'a i32,
    ) -> impl Iterator<Item = (&'static str, Vec<&'a (dyn ToSql + Sync)>)> {
        let changed = ADD.iter().zip(&self.0).filter(|(_, arrays)| !arrays.is_empty());
        changed.map(move |(sql, arrays)| (sql.as_str(), arrays.parameters(slot)))
    }

    /// Adds the changes to the sums of `slot`.
    pub(super) async fn write(&self, connection: &mut PostgresConnection, slot: i32) -> Result<(), PostgresError> {
        for (sql, parameters) in self.statements(&slot) {
            connection.execute(sql, &parameters).await?;
        }
        Ok(())
    }
}

/// Adds the sums of slots that belong to nobody to those of the common slot, and deletes sums over nothing.
pub(super) async fn merge_slots(connection: &mut PostgresConnection) -> Result<(), PostgresError> {
    let has_free = "SELECT EXISTS (SELECT FROM slots WHERE until <= now())";
    if !connection.query_one(has_free, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(());
    }
    for table in TABLES {
        connection.execute(&merge(table), &[]).await?;
        connection.execute(&delete_zeros(table), &[]).await?;
    }
    connection.execute("DELETE FROM slots WHERE until <= now()", &[]).await?;
    Ok(())
}

fn merge(RollupTable { name, keys, sums }: RollupTable) -> String {
    let (keys, columns) = (keys.join(", "), sums.join(", "));
    let summed: Vec<_> = sums.iter().map(|sum| format!("sum({sum})::bigint")).collect();
    let added: Vec<_> = sums.iter().map(|sum| format!("{sum} = {name}.{sum} + excluded.{sum}")).collect();
    format!(
        "WITH free AS (
             DELETE FROM {name} WHERE slot <> {COMMON_SLOT}
                AND NOT EXISTS (SELECT FROM slots WHERE slots.slot = {name}.slot AND until > now()) RETURNING *)
         INSERT INTO {name} ({keys}, slot, {columns})
         SELECT {keys}, {COMMON_SLOT}, {} FROM free GROUP BY {keys} ORDER BY {keys}
         ON CONFLICT ({keys}, slot) DO UPDATE SET {}",
        summed.join(", "),
        added.join(", ")
    )
}

fn delete_zeros(RollupTable { name, sums, .. }: RollupTable) -> String {
    let zeros: Vec<_> = sums.iter().map(|sum| format!("{sum} = 0")).collect();
    format!("DELETE FROM {name} WHERE slot = {COMMON_SLOT} AND {}", zeros.join(" AND "))
}
