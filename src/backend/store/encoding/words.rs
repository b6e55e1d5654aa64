//! Words: versions, names and states, each stored once and referred to by its id.

use std::fmt::Display;
use std::str::FromStr;

use crate::backend::store::fold::DimensionPart;
use crate::backend::store::hour::Day;
use crate::backend::store::rows::OTHER;
use crate::backend::store::{AgentVersion, Dimension};
use crate::catalog::{KamajiMinor, KamajiVersion, KubernetesMinor, KubernetesVersion, METRICS, NetworkProfile, Status};

/// The id of a word. 0 is no word.
pub(in crate::backend::store) type WordId = u32;

/// A word of a cache: its id, and the day on which the store knows it to be used last.
#[derive(Debug, Clone, Copy)]
pub(in crate::backend::store) struct UsedWord {
    pub(in crate::backend::store) id: WordId,
    pub(in crate::backend::store) last_used: Day,
}

/// The ids of words.
pub(in crate::backend::store) trait WordIds {
    /// The error of a word that cannot be stored.
    type Error;

    /// Returns the id of a word.
    fn id(&mut self, word: &str) -> Result<WordId, Self::Error>;
}

/// The texts of words.
pub(in crate::backend::store) trait WordTexts {
    /// The error of an id without a word, and of a word that is none of this program's.
    type Error: From<CorruptColumn>;

    /// Returns the word with this id.
    fn word(&mut self, id: WordId) -> Result<&str, Self::Error>;
}

/// A column that does not hold a value of this program.
#[derive(Debug, thiserror::Error)]
#[error("{column}: {cause}")]
pub(in crate::backend::store) struct CorruptColumn {
    column: String,
    cause: String,
}

impl CorruptColumn {
    pub(in crate::backend::store) fn new(column: &str, cause: impl Display) -> Self {
        Self { column: column.to_owned(), cause: cause.to_string() }
    }

    /// Returns the error of a number that stands for nothing.
    pub(super) fn unknown_number(column: &str, number: i64) -> Self {
        Self::new(column, format_args!("{number} is no number that this program stores"))
    }
}

/// A value that is stored as a word.
pub(in crate::backend::store) trait StoredWord: FromStr<Err: Display> {
    /// Returns the value that stands for more values than are kept apart, if there is one.
    fn other() -> Option<Self> {
        None
    }
}

impl StoredWord for KamajiVersion {
    fn other() -> Option<Self> {
        Some(Self::Other)
    }
}

impl StoredWord for KubernetesVersion {
    fn other() -> Option<Self> {
        Some(Self::Other)
    }
}

impl StoredWord for KamajiMinor {
    fn other() -> Option<Self> {
        Some(Self::Other)
    }
}

impl StoredWord for KubernetesMinor {
    fn other() -> Option<Self> {
        Some(Self::Other)
    }
}

impl StoredWord for Status {}

impl StoredWord for NetworkProfile {}

/// Returns the word with this id as a value of its type.
pub(in crate::backend::store) fn parse_word<T: StoredWord, W: WordTexts>(
    words: &mut W,
    id: WordId,
    column: &str,
) -> Result<T, W::Error> {
    let word = words.word(id)?;
    if word == OTHER
        && let Some(other) = T::other()
    {
        return Ok(other);
    }
    Ok(word.parse().map_err(|error| CorruptColumn::new(column, error))?)
}

/// Returns the version of an agent with this word.
pub(in crate::backend::store) fn parse_agent<W: WordTexts>(
    words: &mut W,
    id: WordId,
    column: &str,
) -> Result<AgentVersion, W::Error> {
    let word = words.word(id)?;
    Ok(AgentVersion::parse_stored(word).map_err(|error| CorruptColumn::new(column, error))?)
}

/// Returns the gauge of a word, or one of its values.
pub(in crate::backend::store) fn parse_dimension_part(word: &str) -> Result<DimensionPart, CorruptColumn> {
    match METRICS.iter().find(|metric| metric.name == word) {
        Some(metric) => Ok(DimensionPart::Metric(metric)),
        None => parse_dimension(word).map(DimensionPart::Value),
    }
}

/// Returns the word of a dimension.
pub(super) fn dimension_word(dimension: &Dimension) -> String {
    format!("{}={}", dimension.metric().name, dimension.value())
}

/// Returns the dimension of a word.
pub(super) fn parse_dimension(word: &str) -> Result<Dimension, CorruptColumn> {
    let (metric, value) = word.split_once('=').unwrap_or((word, ""));
    Dimension::parse(metric, value).map_err(|error| CorruptColumn::new("dimensions", error))
}
