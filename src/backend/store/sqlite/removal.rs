//! The removal of rows, and of what they are in the rollups.

use rusqlite::{Params, Transaction, params};
use uuid::Uuid;

use super::rollups;
use super::rows::day_row;
use super::words::{StoredWords, Words};
use crate::backend::store::deletion::{MAX_STEP_ROWS, Remains};
use crate::backend::store::encoding::{EventColumns, NO_SOURCE};
use crate::backend::store::fold::{DayRow, RollupChanges};
use crate::backend::store::hour::Day;

/// A removal of rows in progress: a transaction, and what it takes out of the rollups.
pub(super) struct RowRemoval<'a> {
    pub(super) transaction: &'a Transaction<'a>,
    pub(super) words: &'a mut Words,
    pub(super) changes: RollupChanges,
}

impl<'a> RowRemoval<'a> {
    pub(super) fn new(transaction: &'a Transaction<'a>, words: &'a mut Words) -> Self {
        Self { transaction, words, changes: RollupChanges::default() }
    }

    fn stored_words(&mut self) -> StoredWords<'_> {
        StoredWords { connection: self.transaction, words: self.words }
    }

    pub(super) fn delete_event(&mut self, columns: &EventColumns, remains: Remains) -> rusqlite::Result<()> {
        let EventColumns { source, hour, uid, .. } = columns;
        let event = columns.event(&mut self.stored_words())?;
        self.changes.events(&event, -1);
        self.run("DELETE FROM events WHERE source = ?1 AND hour = ?2 AND uid = ?3", params![source, hour, uid])?;
        if remains == Remains::Uid {
            self.run(
                "INSERT INTO events VALUES (?1, ?2, ?3, 0, 0, 0, 0, 0, 0, 0, 0, 0) ON CONFLICT DO NOTHING",
                params![NO_SOURCE, hour, uid],
            )?;
        }
        Ok(())
    }

    /// Reads the rows of an installation on some days, in their order.
    pub(super) fn read_days(
        &mut self,
        installation: Uuid,
        days: impl Iterator<Item = Day>,
    ) -> rusqlite::Result<Vec<(Day, DayRow)>> {
        let mut select = self.transaction.prepare_cached("SELECT * FROM days WHERE day = ?1 AND installation = ?2")?;
        let mut found = Vec::new();
        for day in days {
            let mut rows = select.query(params![day.number(), installation])?;
            if let Some(row) = rows.next()? {
                found.push((day, day_row(self.transaction, self.words, row)?));
            }
        }
        Ok(found)
    }

    /// Returns the day of the next row of an installation; `None` if `day` is its last. Its latest row, or the last of its days,
    /// bounds the search: an installation that reports each day takes one step.
    pub(super) fn next_day(&self, installation: Uuid, day: Day, last: Day) -> rusqlite::Result<Option<Day>> {
        let sql = "SELECT EXISTS (SELECT 1 FROM days WHERE day = ?1 AND installation = ?2)";
        let mut exists = self.transaction.prepare_cached(sql)?;
        for next in (day.number() + 1)..=last.number() {
            if exists.query_row(params![next, installation], |row| row.get(0))? {
                return Ok(Some(Day::from_number(next)));
            }
        }
        Ok(None)
    }

    pub(super) fn delete_day(&self, day: Day, installation: Uuid) -> rusqlite::Result<()> {
        self.run("DELETE FROM days WHERE day = ?1 AND installation = ?2", params![day.number(), installation])?;
        Ok(())
    }

    pub(super) fn write_rollups(&mut self) -> rusqlite::Result<()> {
        let (transaction, changes) = (self.transaction, std::mem::take(&mut self.changes).without_zeros());
        self.words.unused(|words| rollups::write(transaction, words, &changes))
    }

    pub(super) fn run(&self, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
        self.transaction.prepare_cached(sql)?.execute(params)
    }
}

/// Returns whether a deletion reached its bound.
pub(super) const fn is_full(rows: usize) -> bool {
    rows >= MAX_STEP_ROWS as usize
}
