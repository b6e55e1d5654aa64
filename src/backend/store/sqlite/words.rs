//! The words of a store: versions, names and states, each stored once and referred to by its id.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use crate::backend::store::encoding::{UsedWord, WordId, WordIds, WordTexts};
use crate::backend::store::hour::Day;

/// The number of words after which the cache is emptied. A fleet uses some hundreds; this is 10 MB of forged ones.
const MAX_CACHED: usize = 65_536;

/// Stores a new word under a random id. Consecutive ones would tell which words came together, and so tie events to an
/// installation.
fn insert(connection: &Connection, word: &str, day: Day) -> rusqlite::Result<WordId> {
    const INSERT: &str = "
        INSERT INTO words (id, word, first_used, last_used) VALUES (1 + abs(random() % 4294967295), ?1, ?2, ?2)
        ON CONFLICT (id) DO NOTHING RETURNING id";
    let mut insert = connection.prepare_cached(INSERT)?;
    loop {
        if let Some(id) = insert.query_row(params![word, day.number()], |row| row.get(0)).optional()? {
            return Ok(id);
        }
    }
}

/// Returns the day on which any word was used last.
pub(super) fn last_used(connection: &Connection) -> rusqlite::Result<Day> {
    let day: Option<i32> = connection.query_row("SELECT max(last_used) FROM words", [], |row| row.get(0))?;
    Ok(Day::from_number(day.unwrap_or_default()))
}

/// Moves the days of words that were used by a clock that was ahead back to `day`.
pub(super) fn move_back(connection: &Connection, day: Day) -> rusqlite::Result<()> {
    let sql = "UPDATE words SET first_used = min(first_used, ?1), last_used = min(last_used, ?1) WHERE last_used > ?1";
    connection.execute(sql, params![day.number()])?;
    Ok(())
}

/// A cache of the table of words, in both directions.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// The day of the newest row, under which words are used.
    day: Day,
    /// True while words of rows that are deleted are looked up, which are not used by that.
    is_deletion: bool,
    ids: HashMap<String, UsedWord>,
    by_id: HashMap<WordId, String>,
}

/// The words of a connection, those of the cache and those in the file.
pub(super) struct StoredWords<'a> {
    pub(super) connection: &'a Connection,
    pub(super) words: &'a mut Words,
}

impl WordIds for StoredWords<'_> {
    type Error = rusqlite::Error;

    fn id(&mut self, word: &str) -> rusqlite::Result<WordId> {
        self.words.id(self.connection, word)
    }
}

impl WordTexts for StoredWords<'_> {
    type Error = rusqlite::Error;

    fn word(&mut self, id: WordId) -> rusqlite::Result<&str> {
        self.words.word(self.connection, id)
    }
}

impl Words {
    /// Sets the day of the rows that are about to be written. Words that are used until then outlive the rows.
    pub(super) fn set_day(&mut self, day: Day) {
        self.day = self.day.max(day);
    }

    /// Runs `task`, which looks up the words of rows that are deleted: that does not use them.
    pub(super) fn unused<T>(&mut self, task: impl FnOnce(&mut Self) -> T) -> T {
        self.is_deletion = true;
        let result = task(self);
        self.is_deletion = false;
        result
    }

    /// Returns the id of a word, stores the word if it is new, and records once a day that it is used.
    pub(super) fn id(&mut self, connection: &Connection, word: &str) -> rusqlite::Result<WordId> {
        let used = match self.ids.get(word) {
            Some(used) => *used,
            None => self.read_or_insert(connection, word)?,
        };
        if used.last_used < self.day && !self.is_deletion {
            let mut update = connection.prepare_cached("UPDATE words SET last_used = ?2 WHERE id = ?1")?;
            update.execute(params![used.id, self.day.number()])?;
            self.ids.insert(word.to_owned(), UsedWord { last_used: self.day, ..used });
        }
        Ok(used.id)
    }

    fn read_or_insert(&mut self, connection: &Connection, word: &str) -> rusqlite::Result<UsedWord> {
        let mut select = connection.prepare_cached("SELECT id, last_used FROM words WHERE word = ?1")?;
        let read = |row: &rusqlite::Row<'_>| {
            Ok(UsedWord { id: row.get("id")?, last_used: Day::from_number(row.get("last_used")?) })
        };
        let used = match select.query_row(params![word], read).optional()? {
            Some(used) => used,
            None => UsedWord { id: insert(connection, word, self.day)?, last_used: self.day },
        };
        if self.ids.len() >= MAX_CACHED {
            self.clear();
        }
        self.ids.insert(word.to_owned(), used);
        Ok(used)
    }

    /// Returns the word with this id.
    pub(super) fn word(&mut self, connection: &Connection, id: WordId) -> rusqlite::Result<&str> {
        if !self.by_id.contains_key(&id) {
            let mut select = connection.prepare_cached("SELECT word FROM words WHERE id = ?1")?;
            let word = select.query_row(params![id], |row| row.get(0))?;
            if self.by_id.len() >= MAX_CACHED {
                self.clear();
            }
            self.by_id.insert(id, word);
        }
        Ok(self.by_id.get(&id).map_or("", String::as_str))
    }

    /// Deletes words that no row uses any more: those last used before `day`, before which there are no rows.
    pub(super) fn prune(&mut self, connection: &Connection, day: Day) -> rusqlite::Result<()> {
        let deleted = connection.execute("DELETE FROM words WHERE last_used < ?1", params![day.number()])?;
        if deleted > 0 {
            self.clear();
        }
        Ok(())
    }

    /// Forgets all words, of which a transaction that failed may have stored some.
    pub(super) fn clear(&mut self) {
        self.ids.clear();
        self.by_id.clear();
    }
}
