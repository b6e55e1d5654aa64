//! Conversions between rows and columns.

use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, Error, Result, Row};

use super::words::{WordId, Words};
use crate::backend::store::fold::{DimensionPart, EventAspect, EventChange, SizeClass, Standing};
use crate::backend::store::hour::{Day, Hour};
use crate::backend::store::{AgentVersion, Dimension, Report, Source, SourceKind, StateCounts};
use crate::catalog::{KamajiMinor, KamajiVersion, KubernetesMinor, KubernetesVersion, METRICS, NetworkProfile, Status};

/// The source of an event that is deleted but for its uid.
pub(super) const NO_SOURCE: i64 = 0;

/// The sources of all other rows.
pub(super) const SOURCES: [SourceKind; 2] = [SourceKind::Agent, SourceKind::Kamaji];

/// The sources of events that are in bulk follow those of the others.
const BULK_SOURCES: i64 = 2;

/// The stored numbers of the sources of events.
pub(super) const EVENT_SOURCES: [i64; 4] = [1, 2, 1 + BULK_SOURCES, 2 + BULK_SOURCES];

/// The word of a value that stands for more values than are kept apart.
const OTHER: &str = "other";

/// The bytes of a point of an extended gauge: the id of its word, and the count.
const POINT_BYTES: usize = 8;

/// Returns the stored number of a source.
pub(super) const fn source(kind: SourceKind) -> i64 {
    match kind {
        SourceKind::Agent => 1,
        SourceKind::Kamaji => 2,
    }
}

/// Returns the stored number of the source of an event.
pub(super) const fn event_source(kind: SourceKind, bulk: bool) -> i64 {
    source(kind) + if bulk { BULK_SOURCES } else { 0 }
}

/// Returns whether an event of the source with this number is in bulk.
pub(super) const fn is_bulk(number: i64) -> bool {
    number > BULK_SOURCES
}

/// Returns the source with this number, and with the word of the agent's version.
pub(super) fn parse_source(number: i64, agent: &str) -> Result<Source> {
    if number == source(SourceKind::Kamaji) || number == event_source(SourceKind::Kamaji, true) {
        return Ok(Source::Kamaji);
    }
    AgentVersion::parse_stored(agent).map(Source::Agent).map_err(|error| corrupt("agent", error))
}

/// Returns the stored number of a standing.
pub(super) const fn standing(standing: Standing) -> i64 {
    match standing {
        Standing::NotConfirmed => 0,
        Standing::Confirmed => 1,
        Standing::Bulk => 2,
    }
}

/// Returns the standing with this number.
pub(super) const fn parse_standing(number: i64) -> Standing {
    match number {
        0 => Standing::NotConfirmed,
        1 => Standing::Confirmed,
        _ => Standing::Bulk,
    }
}

/// The part of a day's rows that is all of them.
pub(super) const ALL: i64 = 0;

/// The part of a day's rows by the version of Kamaji.
pub(super) const KAMAJI: i64 = 1;

/// The part of a day's rows by the version of the management cluster.
pub(super) const KUBERNETES: i64 = 2;

/// The part of a day's rows by the version of the agent.
pub(super) const AGENT: i64 = 3;

/// Returns the stored number of a class of sizes.
pub(super) const fn size(size: SizeClass) -> i64 {
    size as i64
}

/// Returns the class of sizes with this number.
pub(super) fn parse_size(number: i64) -> Result<SizeClass> {
    let size = usize::try_from(number).ok().and_then(|number| SizeClass::ALL.get(number).copied());
    size.ok_or_else(|| corrupt("size", UnknownNumber(number)))
}

/// The changes that events tell, by their stored numbers.
const CHANGES: [EventChange; 4] =
    [EventChange::Created, EventChange::MinorUpdated, EventChange::PatchUpdated, EventChange::Deleted];

/// Returns the stored number of a change.
pub(super) const fn change(change: EventChange) -> i64 {
    change as i64
}

/// Returns the change with this number.
pub(super) fn parse_change(number: i64) -> Result<EventChange> {
    let change = usize::try_from(number).ok().and_then(|number| CHANGES.get(number).copied());
    change.ok_or_else(|| corrupt("change", UnknownNumber(number)))
}

/// The error of a number that stands for nothing.
#[derive(Debug, thiserror::Error)]
#[error("{0} is no number that this program stores")]
struct UnknownNumber(i64);

/// Reads the aspect of a row of the rollup of events by week.
pub(super) fn parse_aspect(words: &mut Words, connection: &Connection, row: &Row<'_>) -> Result<EventAspect> {
    let mut reader = AspectReader { words, connection, row };
    Ok(match row.get("aspect")? {
        0 => EventAspect::Created { kamaji: reader.word("first")?, minor: reader.word("second")? },
        1 => EventAspect::Reached { kamaji: reader.word("first")?, minor: reader.word("second")? },
        2 => EventAspect::MinorUpdate { from: reader.word("first")?, to: reader.word("second")? },
        3 => EventAspect::PatchUpdate { kamaji: reader.word("first")?, is_downgrade: false },
        4 => EventAspect::PatchUpdate { kamaji: reader.word("first")?, is_downgrade: true },
        5 => EventAspect::Deletion { kamaji: reader.word("first")?, status: reader.word("second")? },
        6 => EventAspect::ClusterApi(None),
        7 => EventAspect::ClusterApi(Some(false)),
        8 => EventAspect::ClusterApi(Some(true)),
        9 => EventAspect::NetworkProfile(reader.word("first")?),
        number => return Err(corrupt("aspect", UnknownNumber(number))),
    })
}

struct AspectReader<'a> {
    words: &'a mut Words,
    connection: &'a Connection,
    row: &'a Row<'a>,
}

impl AspectReader<'_> {
    fn word<T: StoredWord>(&mut self, column: &str) -> Result<T> {
        word(self.words, self.connection, self.row, column)
    }
}

/// Returns the gauge of a word, or one of its values.
pub(super) fn parse_dimension_part(word: &str) -> Result<DimensionPart> {
    match METRICS.iter().find(|metric| metric.name == word) {
        Some(metric) => Ok(DimensionPart::Metric(metric)),
        None => parse_dimension(word).map(DimensionPart::Value),
    }
}

/// A value that is stored as a word.
pub(super) trait StoredWord: FromStr<Err: std::error::Error + Send + Sync + 'static> {
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

/// Returns the id of the agent's version; 0 for Kamaji's built-in telemetry.
pub(super) fn agent(words: &mut Words, connection: &Connection, source: &Source) -> Result<WordId> {
    match source {
        Source::Agent(version) => words.id(connection, &version.to_string()),
        Source::Kamaji => Ok(0),
    }
}

/// Reads an hour.
pub(super) fn hour(row: &Row<'_>, column: &str) -> Result<Hour> {
    Ok(Hour::from_number(row.get(column)?))
}

/// Reads a day.
pub(super) fn day(row: &Row<'_>, column: &str) -> Result<Day> {
    Ok(Day::from_number(row.get(column)?))
}

/// Reads a time.
pub(super) fn time(row: &Row<'_>, column: &str) -> Result<Timestamp> {
    Timestamp::from_millisecond(row.get(column)?).map_err(|error| corrupt(column, error))
}

/// Reads a text as a value of its type.
pub(super) fn parse<T>(row: &Row<'_>, column: &str) -> Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    row.get_ref(column)?.as_str()?.parse().map_err(|error| corrupt(column, error))
}

/// Reads the id of a word as a value of its type.
pub(super) fn word<T: StoredWord>(
    words: &mut Words,
    connection: &Connection,
    row: &Row<'_>,
    column: &str,
) -> Result<T> {
    parse_word(words, connection, row.get(column)?, column)
}

/// Returns the word with this id as a value of its type.
pub(super) fn parse_word<T: StoredWord>(
    words: &mut Words,
    connection: &Connection,
    id: WordId,
    column: &str,
) -> Result<T> {
    let word = words.word(connection, id)?;
    if word == OTHER
        && let Some(other) = T::other()
    {
        return Ok(other);
    }
    word.parse().map_err(|error| corrupt(column, error))
}

/// Reads a sum or a count.
pub(super) fn sum(row: &Row<'_>, column: &str) -> Result<u64> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|error| corrupt(column, error))
}

/// Returns the error of a column that does not hold a value of this program.
pub(super) fn corrupt(column: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::FromSqlConversionFailure(0, Type::Text, format!("{column}: {error}").into())
}

/// Reads the columns of a report.
pub(super) fn report(words: &mut Words, connection: &Connection, row: &Row<'_>) -> Result<Report> {
    Ok(Report {
        counts: StateCounts {
            running: row.get("running")?,
            sleeping: row.get("sleeping")?,
            not_ready: row.get("not_ready")?,
            upgrading: row.get("upgrading")?,
        },
        source: match row.get("agent")? {
            0 => Source::Kamaji,
            agent => parse_source(row.get("source")?, words.word(connection, agent)?)?,
        },
        kamaji_version: word(words, connection, row, "kamaji")?,
        kubernetes_version: word(words, connection, row, "kubernetes")?,
        dimensions: dimensions(words, connection, row.get_ref("dimensions")?.as_blob()?)?,
    })
}

/// Returns the word of a dimension.
pub(super) fn dimension_word(dimension: &Dimension) -> String {
    format!("{}={}", dimension.metric().name, dimension.value())
}

/// Returns the dimension of a word.
pub(super) fn parse_dimension(word: &str) -> Result<Dimension> {
    let (metric, value) = word.split_once('=').unwrap_or((word, ""));
    Dimension::parse(metric, value).map_err(|error| corrupt("dimensions", error))
}

/// Returns the column of the points of extended gauges.
pub(super) fn encode_dimensions(
    words: &mut Words,
    connection: &Connection,
    dimensions: &[(Dimension, u32)],
) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(dimensions.len() * POINT_BYTES);
    for (dimension, count) in dimensions {
        bytes.extend(words.id(connection, &dimension_word(dimension))?.to_le_bytes());
        bytes.extend(count.to_le_bytes());
    }
    Ok(bytes)
}

fn dimensions(words: &mut Words, connection: &Connection, bytes: &[u8]) -> Result<Vec<(Dimension, u32)>> {
    let (points, _) = bytes.as_chunks::<POINT_BYTES>();
    let point = |[a, b, c, d, count @ ..]: &[u8; POINT_BYTES]| {
        let word = words.word(connection, WordId::from_le_bytes([*a, *b, *c, *d]))?;
        Ok((parse_dimension(word)?, u32::from_le_bytes(*count)))
    };
    points.iter().map(point).collect()
}
