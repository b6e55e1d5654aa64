//! The cache of the table of words, which all connections of a store share.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::{PoisonError, RwLock};

use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::connection::{Connection, PostgresError};
use crate::backend::store::encoding::{CorruptColumn, WordId, WordIds, WordTexts};
use crate::backend::store::hour::Day;

/// The number of words after which the cache is emptied. A fleet uses some hundreds; this is 10 MB of forged ones.
const MAX_CACHED: usize = 65_536;

/// Stores words, and records that they are used. In the order of the words, so that two backends don't wait for each other.
const STORE: &str = "
    INSERT INTO words (id, word, first_used, last_used)
    SELECT id, word, $3, $3 FROM unnest($1::int[], $2::text[]) AS new (id, word) ORDER BY word
    ON CONFLICT (word) DO UPDATE SET last_used = greatest(words.last_used, excluded.last_used)
    RETURNING id, word, last_used";

/// A cache of words, in both directions.
#[derive(Debug, Default)]
pub(super) struct WordCache(RwLock<CachedWords>);

#[derive(Debug, Default)]
struct CachedWords {
    ids: HashMap<String, UsedWord>,
    texts: HashMap<WordId, String>,
}

#[derive(Debug, Clone, Copy)]
struct UsedWord {
    id: WordId,
    last_used: Day,
}

/// Looks words up that are used on a day. Collects those that are to be stored, or whose use is to be recorded, first.
pub(super) struct WordLookup<'a> {
    cache: &'a WordCache,
    day: Day,
    missing: BTreeSet<String>,
}

/// The words of ids that were read.
pub(super) struct KnownWords<'a> {
    cache: &'a WordCache,
    word: String,
}

impl WordCache {
    /// Begins to look words up that are used on `day`.
    pub(super) fn lookup(&self, day: Day) -> WordLookup<'_> {
        WordLookup { cache: self, day, missing: BTreeSet::new() }
    }

    /// Stores words, each in a transaction of its own: a word outlives the rows that are about to use it.
    ///
    /// The ids are random. Consecutive ones would tell which words came together, and so tie events to an installation.
    pub(super) async fn store(
        &self,
        connection: &mut Connection,
        words: &BTreeSet<String>,
        day: Day,
    ) -> Result<(), PostgresError> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        loop {
            let ids: Vec<i32> = words.iter().map(|_| random_id()).collect();
            let stored = connection.query(STORE, &[&ids, &words, &day.number()]).await;
            let rows = match stored {
                // Another word has one of the ids.
                Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => continue,
                stored => stored?,
            };
            return self.add(&rows);
        }
    }

    /// Reads words that are stored, for rows that are about to be removed. Fails if one of them is not.
    pub(super) async fn find(&self, connection: &mut Connection, words: BTreeSet<String>) -> Result<(), PostgresError> {
        let list: Vec<&str> = words.iter().map(String::as_str).collect();
        let rows = connection.query("SELECT id, word, last_used FROM words WHERE word = ANY($1)", &[&list]).await?;
        if rows.len() < list.len() {
            return Err(CorruptColumn::new("words", "a word of a row is not stored").into());
        }
        self.add(&rows)
    }

    /// Adds the words of rows.
    fn add(&self, rows: &[Row]) -> Result<(), PostgresError> {
        let mut cache = self.0.write().unwrap_or_else(PoisonError::into_inner);
        cache.make_room();
        for row in rows {
            let id = row.try_get::<_, i32>("id")?.cast_unsigned();
            let used = UsedWord { id, last_used: Day::from_number(row.try_get("last_used")?) };
            cache.ids.insert(row.try_get("word")?, used);
        }
        Ok(())
    }

    /// Reads the words of ids, and returns all words that are known.
    pub(super) async fn read(
        &self,
        connection: &mut Connection,
        ids: impl IntoIterator<Item = WordId>,
    ) -> Result<KnownWords<'_>, PostgresError> {
        let unknown: BTreeSet<i32> = {
            let cache = self.0.read().unwrap_or_else(PoisonError::into_inner);
            let is_unknown = |id: &WordId| *id != 0 && !cache.texts.contains_key(id);
            ids.into_iter().filter(is_unknown).map(WordId::cast_signed).collect()
        };
        if !unknown.is_empty() {
            let unknown: Vec<i32> = unknown.into_iter().collect();
            let rows = connection.query("SELECT id, word FROM words WHERE id = ANY($1)", &[&unknown]).await?;
            let mut cache = self.0.write().unwrap_or_else(PoisonError::into_inner);
            for row in rows {
                cache.texts.insert(row.try_get::<_, i32>("id")?.cast_unsigned(), row.try_get("word")?);
            }
        }
        Ok(KnownWords { cache: self, word: String::new() })
    }

    /// Forgets all words.
    pub(super) fn clear(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = CachedWords::default();
    }
}

impl CachedWords {
    fn make_room(&mut self) {
        if self.ids.len() >= MAX_CACHED || self.texts.len() >= MAX_CACHED {
            *self = Self::default();
        }
    }
}

/// Returns an id of a new word: any number but 0, which is no word.
fn random_id() -> i32 {
    let [a, b, c, d, ..] = *Uuid::new_v4().as_bytes();
    (i32::from_le_bytes([a, b, c, d]) & i32::MAX).max(1)
}

impl WordLookup<'_> {
    /// Returns the words that are to be stored before the ids that were returned can be used.
    pub(super) fn missing(self) -> BTreeSet<String> {
        self.missing
    }
}

impl WordIds for WordLookup<'_> {
    type Error = Infallible;

    fn id(&mut self, word: &str) -> Result<WordId, Infallible> {
        let cache = self.cache.0.read().unwrap_or_else(PoisonError::into_inner);
        match cache.ids.get(word) {
            Some(used) if used.last_used >= self.day => Ok(used.id),
            _ => {
                self.missing.insert(word.to_owned());
                Ok(0)
            }
        }
    }
}

impl WordTexts for KnownWords<'_> {
    type Error = CorruptColumn;

    fn word(&mut self, id: WordId) -> Result<&str, CorruptColumn> {
        let cache = self.cache.0.read().unwrap_or_else(PoisonError::into_inner);
        let known = cache.texts.get(&id);
        self.word
            .clone_from(known.ok_or_else(|| CorruptColumn::new("words", format_args!("no word has the id {id}")))?);
        drop(cache);
        Ok(&self.word)
    }
}
