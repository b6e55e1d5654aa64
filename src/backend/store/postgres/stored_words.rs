//! The table of words: reading and storing those that the cache does not have.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::connection::{PostgresConnection, PostgresError};
use super::words::{KnownWords, WordLookup};
use crate::backend::store::encoding::{CorruptColumn, UsedWord, WordId};
use crate::backend::store::hour::Day;

/// Stores words, and records that they are used. In the order of the words, so that two backends don't wait for each other.
const STORE: &str = "
    INSERT INTO words (id, word, first_used, last_used)
    SELECT id, word, $3, $3 FROM unnest($1::int[], $2::text[]) AS new (id, word) ORDER BY word
    ON CONFLICT (word) DO UPDATE SET last_used = greatest(words.last_used, excluded.last_used)
    RETURNING id, word, last_used";

impl PostgresConnection {
    /// Stores words, each in a transaction of its own: a word outlives the rows that are about to use it.
    ///
    /// The ids are random. Consecutive ones would tell which words came together, and so tie events to an installation.
    pub(super) async fn store_words(&mut self, words: &BTreeSet<String>, day: Day) -> Result<(), PostgresError> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        loop {
            let ids: Vec<i32> = words.iter().map(|_| random_id()).collect();
            let rows = match self.query(STORE, &[&ids, &words, &day.number()]).await {
                // Another word has one of the ids.
                Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => continue,
                stored => stored?,
            };
            return self.add_ids(&rows);
        }
    }

    /// Returns what `encode` makes of rows whose words are stored, since the rows are about to be removed or restored. Fails if a
    /// word is not.
    pub(super) async fn encode_stored<T>(
        &mut self,
        encode: impl Fn(&mut WordLookup<'_>) -> T,
    ) -> Result<T, PostgresError> {
        // Any use of a word is late enough: these rows use none anew.
        const ANY_DAY: Day = Day::from_number(i32::MIN);
        loop {
            let mut lookup = self.words().look_up(ANY_DAY);
            let encoded = encode(&mut lookup);
            let missing = lookup.missing();
            if missing.is_empty() {
                return Ok(encoded);
            }
            drop(encoded);
            self.find_words(&missing).await?;
        }
    }

    /// Reads the ids of words. Fails if one of them is not stored.
    async fn find_words(&mut self, words: &BTreeSet<String>) -> Result<(), PostgresError> {
        let list: Vec<&str> = words.iter().map(String::as_str).collect();
        let rows = self.query("SELECT id, word, last_used FROM words WHERE word = ANY($1)", &[&list]).await?;
        if rows.len() < list.len() {
            return Err(CorruptColumn::new("words", "a word of a row is not stored").into());
        }
        self.add_ids(&rows)
    }

    /// Reads the words of ids.
    pub(super) async fn read_words(
        &mut self,
        ids: impl IntoIterator<Item = WordId>,
    ) -> Result<KnownWords, PostgresError> {
        let (mut known, unknown) = self.words().texts(ids);
        if !unknown.is_empty() {
            let unknown: Vec<i32> = unknown.into_iter().map(WordId::cast_signed).collect();
            let rows = self.query("SELECT id, word FROM words WHERE id = ANY($1)", &[&unknown]).await?;
            let read = rows.iter().map(|row| Ok((id(row)?, Arc::from(row.try_get::<_, &str>("word")?))));
            self.words().add_texts(&mut known, read.collect::<Result<_, PostgresError>>()?);
        }
        Ok(known)
    }

    fn add_ids(&self, rows: &[Row]) -> Result<(), PostgresError> {
        let used = |row: &Row| {
            let last_used = Day::from_number(row.try_get("last_used")?);
            Ok((row.try_get("word")?, UsedWord { id: id(row)?, last_used }))
        };
        self.words().add_ids(rows.iter().map(used).collect::<Result<Vec<_>, PostgresError>>()?);
        Ok(())
    }
}

fn id(row: &Row) -> Result<WordId, PostgresError> {
    Ok(row.try_get::<_, i32>("id")?.cast_unsigned())
}

/// Returns an id of a new word: any number but 0, which is no word.
fn random_id() -> i32 {
    let [a, b, c, d, ..] = *Uuid::new_v4().as_bytes();
    (i32::from_le_bytes([a, b, c, d]) & i32::MAX).max(1)
}
