//! The writing of changes of rollups: each sum is added to the stored one, and a sum over no rows is deleted.

use std::array;
use std::sync::LazyLock;

use rusqlite::{Connection, params_from_iter};

use super::words::{StoredWords, Words};
use crate::backend::store::encoding::{RollupRow, RollupTable, TABLES, rollup_rows};
use crate::backend::store::fold::RollupChanges;

/// The statements that change a rollup.
struct RollupStatements {
    add: String,
    delete: String,
}

static STATEMENTS: LazyLock<[RollupStatements; TABLES.len()]> =
    LazyLock::new(|| array::from_fn(|table| RollupStatements::new(TABLES[table])));

impl RollupStatements {
    fn new(RollupTable { name, keys, sums }: RollupTable) -> Self {
        let places = (1..=keys.len() + sums.len()).map(|place| format!("?{place}")).collect::<Vec<_>>().join(", ");
        let columns = [keys, sums].concat().join(", ");
        let added: Vec<_> = sums.iter().map(|sum| format!("{sum} = {sum} + excluded.{sum}")).collect();
        let is_row: Vec<_> = keys.iter().zip(1..).map(|(key, place)| format!("{key} = ?{place}")).collect();
        Self {
            add: format!(
                "INSERT INTO {name} ({columns}) VALUES ({places}) ON CONFLICT DO UPDATE SET {}",
                added.join(", ")
            ),
            delete: format!("DELETE FROM {name} WHERE {} AND {} = 0", is_row.join(" AND "), sums[0]),
        }
    }

    fn add(&self, connection: &Connection, RollupRow { key, sums }: &RollupRow) -> rusqlite::Result<()> {
        connection.prepare_cached(&self.add)?.execute(params_from_iter(key.iter().chain(sums)))?;
        if sums.first().is_some_and(|rows| *rows < 0) {
            connection.prepare_cached(&self.delete)?.execute(params_from_iter(key))?;
        }
        Ok(())
    }
}

/// Adds `changes` to the stored sums.
pub(super) fn write(connection: &Connection, words: &mut Words, changes: &RollupChanges) -> rusqlite::Result<()> {
    let tables = rollup_rows(&mut StoredWords { connection, words }, changes)?;
    for (statements, rows) in STATEMENTS.iter().zip(&tables) {
        rows.iter().try_for_each(|row| statements.add(connection, row))?;
    }
    Ok(())
}
