//! The cache of the table of words, which all connections of a store share. No I/O.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::backend::store::encoding::{CorruptColumn, UsedWord, WordId, WordIds, WordTexts};
use crate::backend::store::hour::Day;

/// The number of words after which the cache is emptied. A fleet uses some hundreds; this is 10 MB of forged ones.
const MAX_CACHED: usize = 65_536;

/// A cache of words, in both directions.
#[derive(Debug, Default)]
pub(super) struct WordCache(RwLock<CachedWords>);

#[derive(Debug, Default)]
struct CachedWords {
    ids: HashMap<String, UsedWord>,
    texts: HashMap<WordId, Arc<str>>,
}

/// Looks words up that are used on a day. Collects those that are to be stored, or whose use is to be recorded, first.
pub(super) struct WordLookup<'a> {
    cache: &'a WordCache,
    day: Day,
    missing: BTreeSet<String>,
}

/// The words of ids that were read. They stay known whatever becomes of the cache.
pub(super) struct KnownWords(HashMap<WordId, Arc<str>>);

impl WordCache {
    /// Forgets all words.
    pub(super) fn clear(&self) {
        *self.write() = CachedWords::default();
    }

    fn read(&self) -> RwLockReadGuard<'_, CachedWords> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, CachedWords> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to look words up that are used on `day`.
    pub(super) fn look_up(&self, day: Day) -> WordLookup<'_> {
        WordLookup { cache: self, day, missing: BTreeSet::new() }
    }

    /// Adds the ids of words.
    pub(super) fn add_ids(&self, words: impl IntoIterator<Item = (String, UsedWord)>) {
        let mut cache = self.write();
        cache.make_room();
        cache.ids.extend(words);
    }

    /// Returns the words of ids as far as they are known, and the other ids.
    pub(super) fn texts(&self, ids: impl IntoIterator<Item = WordId>) -> (KnownWords, BTreeSet<WordId>) {
        let (mut known, mut unknown) = (HashMap::new(), BTreeSet::new());
        let cache = self.read();
        for id in ids.into_iter().filter(|id| *id != 0) {
            match cache.texts.get(&id) {
                Some(word) => drop(known.insert(id, Arc::clone(word))),
                None => drop(unknown.insert(id)),
            }
        }
        (KnownWords(known), unknown)
    }

    /// Adds words that were read, also to those that are known.
    pub(super) fn add_texts(&self, known: &mut KnownWords, words: Vec<(WordId, Arc<str>)>) {
        let mut cache = self.write();
        cache.make_room();
        cache.texts.extend(words.iter().cloned());
        known.0.extend(words);
    }
}

impl CachedWords {
    fn make_room(&mut self) {
        if self.ids.len() >= MAX_CACHED || self.texts.len() >= MAX_CACHED {
            *self = Self::default();
        }
    }
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
        match self.cache.read().ids.get(word) {
            Some(used) if used.last_used >= self.day => Ok(used.id),
            _ => {
                self.missing.insert(word.to_owned());
                Ok(0)
            }
        }
    }
}

impl WordTexts for KnownWords {
    type Error = CorruptColumn;

    fn word(&mut self, id: WordId) -> Result<&str, CorruptColumn> {
        let known = self.0.get(&id).map(AsRef::as_ref);
        known.ok_or_else(|| CorruptColumn::new("words", format_args!("no word has the id {id}")))
    }
}
