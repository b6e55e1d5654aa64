//! The words of a store: versions, names and states, each stored once and referred to by its id.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

/// The id of a word. 0 is no word.
pub(super) type WordId = u32;

/// The number of words after which the cache is emptied. A fleet uses some hundreds; this is 10 MB of forged ones.
const MAX_CACHED: usize = 65_536;

/// Stores a new word under a random id. Consecutive ones would tell which words came together, and so tie events to an
/// installation.
fn insert(connection: &Connection, word: &str) -> rusqlite::Result<WordId> {
    const INSERT: &str = "
        INSERT INTO words (id, word) VALUES (1 + abs(random() % 4294967295), ?1) ON CONFLICT (id) DO NOTHING RETURNING id";
    let mut insert = connection.prepare_cached(INSERT)?;
    loop {
        if let Some(id) = insert.query_row(params![word], |row| row.get(0)).optional()? {
            return Ok(id);
        }
    }
}

/// A cache of the table of words, in both directions.
#[derive(Debug, Default)]
pub(super) struct Words {
    ids: HashMap<String, WordId>,
    words: HashMap<WordId, String>,
}

impl Words {
    /// Returns the id of a word, and stores the word if it is new.
    pub(super) fn id(&mut self, connection: &Connection, word: &str) -> rusqlite::Result<WordId> {
        if let Some(id) = self.ids.get(word) {
            return Ok(*id);
        }
        let mut select = connection.prepare_cached("SELECT id FROM words WHERE word = ?1")?;
        let id = match select.query_row(params![word], |row| row.get(0)).optional()? {
            Some(id) => id,
            None => insert(connection, word)?,
        };
        self.remember(id, word.to_owned());
        Ok(id)
    }

    /// Returns the word with this id.
    pub(super) fn word(&mut self, connection: &Connection, id: WordId) -> rusqlite::Result<&str> {
        if !self.words.contains_key(&id) {
            let mut select = connection.prepare_cached("SELECT word FROM words WHERE id = ?1")?;
            let word = select.query_row(params![id], |row| row.get(0))?;
            self.remember(id, word);
        }
        Ok(self.words.get(&id).map_or("", String::as_str))
    }

    /// Forgets all words, of which a transaction that failed may have stored some.
    pub(super) fn clear(&mut self) {
        self.ids.clear();
        self.words.clear();
    }

    fn remember(&mut self, id: WordId, word: String) {
        if self.ids.len() >= MAX_CACHED {
            self.clear();
        }
        self.ids.insert(word.clone(), id);
        self.words.insert(id, word);
    }
}
