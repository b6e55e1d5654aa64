//! Reports of installations as columns.

use super::words::{dimension_word, parse_dimension};
use super::{SourceKind, WordId, WordIds, WordTexts, parse_agent, parse_word, source};
use crate::backend::store::{Dimension, Report, Source, StateCounts};

/// The bytes of a point of an extended gauge: the id of its word, and the count.
const POINT_BYTES: usize = 8;

/// The columns of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend::store) struct ReportColumns {
    pub(in crate::backend::store) source: i64,
    pub(in crate::backend::store) counts: StateCounts,
    /// 0 for Kamaji's built-in telemetry.
    pub(in crate::backend::store) agent: WordId,
    pub(in crate::backend::store) kamaji: WordId,
    pub(in crate::backend::store) kubernetes: WordId,
    /// The points of extended gauges: for each, the id of its word and the count, little-endian.
    pub(in crate::backend::store) dimensions: Vec<u8>,
}

impl ReportColumns {
    /// Returns the columns of a report, whose words are stored.
    pub(in crate::backend::store) fn new<W: WordIds>(words: &mut W, report: &Report) -> Result<Self, W::Error> {
        let Report { counts, source: sender, kamaji_version, kubernetes_version, dimensions } = report;
        Ok(Self {
            source: source(sender.kind()),
            counts: *counts,
            agent: agent_id(words, sender)?,
            kamaji: words.id(&kamaji_version.to_string())?,
            kubernetes: words.id(&kubernetes_version.to_string())?,
            dimensions: encode_dimensions(words, dimensions)?,
        })
    }
}

/// Returns the report of columns.
pub(in crate::backend::store) fn decode_report<W: WordTexts>(
    words: &mut W,
    columns: &ReportColumns,
) -> Result<Report, W::Error> {
    Ok(Report {
        counts: columns.counts,
        source: decode_source(words, columns.source, columns.agent)?,
        kamaji_version: parse_word(words, columns.kamaji, "kamaji")?,
        kubernetes_version: parse_word(words, columns.kubernetes, "kubernetes")?,
        dimensions: decode_dimensions(words, &columns.dimensions)?,
    })
}

/// Returns the id of the agent's version; 0 for Kamaji's built-in telemetry.
pub(super) fn agent_id<W: WordIds>(words: &mut W, source: &Source) -> Result<WordId, W::Error> {
    match source {
        Source::Agent(version) => words.id(&version.to_string()),
        Source::Kamaji => Ok(0),
    }
}

/// Returns the source with this number, and with the word of the agent's version.
pub(super) fn decode_source<W: WordTexts>(words: &mut W, number: i64, agent: WordId) -> Result<Source, W::Error> {
    let kamaji = SourceKind::Kamaji;
    if [super::event_source(kamaji, false), super::event_source(kamaji, true)].contains(&number) {
        return Ok(Source::Kamaji);
    }
    parse_agent(words, agent, "agent").map(Source::Agent)
}

fn encode_dimensions<W: WordIds>(words: &mut W, dimensions: &[(Dimension, u32)]) -> Result<Vec<u8>, W::Error> {
    let mut bytes = Vec::with_capacity(dimensions.len() * POINT_BYTES);
    for (dimension, count) in dimensions {
        bytes.extend(words.id(&dimension_word(dimension))?.to_le_bytes());
        bytes.extend(count.to_le_bytes());
    }
    Ok(bytes)
}

fn decode_dimensions<W: WordTexts>(words: &mut W, bytes: &[u8]) -> Result<Vec<(Dimension, u32)>, W::Error> {
    let (points, _) = bytes.as_chunks::<POINT_BYTES>();
    let point = |[a, b, c, d, count @ ..]: &[u8; POINT_BYTES]| {
        let word = words.word(WordId::from_le_bytes([*a, *b, *c, *d]))?;
        Ok((parse_dimension(word)?, u32::from_le_bytes(*count)))
    };
    points.iter().map(point).collect()
}

/// Returns the ids of the words of a column of dimensions.
pub(in crate::backend::store) fn dimension_ids(bytes: &[u8]) -> impl Iterator<Item = WordId> {
    let (points, _) = bytes.as_chunks::<POINT_BYTES>();
    points.iter().map(|[a, b, c, d, ..]| WordId::from_le_bytes([*a, *b, *c, *d]))
}
