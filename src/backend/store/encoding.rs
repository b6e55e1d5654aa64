//! The encoding of rows as numbers and words, which every store has in common. No I/O.

mod events;
mod reports;
mod rollups;
mod words;

pub(super) use events::{EventColumns, EventWords, encode_events};
pub(super) use reports::{ReportColumns, decode_report, dimension_ids};
pub(super) use rollups::{NO_NEXT_DAY, RollupRow, RollupTable, TABLES, parse_aspect, rollup_rows};
pub(super) use words::{
    CorruptColumn, StoredWord, UsedWord, WordId, WordIds, WordTexts, parse_agent, parse_dimension_part, parse_word,
};

use super::SourceKind;
use super::fold::{EventChange, SizeClass, Standing};

/// The source of an event that is deleted but for its uid.
pub(super) const NO_SOURCE: i64 = 0;

/// The sources of all other rows.
pub(super) const SOURCES: [SourceKind; 2] = [SourceKind::Agent, SourceKind::Kamaji];

/// The sources of events that are in bulk follow those of the others.
const BULK_SOURCES: i64 = 2;

/// The stored numbers of the sources of events.
pub(super) const EVENT_SOURCES: [i64; 4] = [1, 2, 1 + BULK_SOURCES, 2 + BULK_SOURCES];

/// The part of a day's rows that is all of them.
pub(super) const ALL: i64 = 0;

/// The part of a day's rows by the version of Kamaji.
pub(super) const KAMAJI: i64 = 1;

/// The part of a day's rows by the version of the management cluster.
pub(super) const KUBERNETES: i64 = 2;

/// The part of a day's rows by the version of the agent.
pub(super) const AGENT: i64 = 3;

/// The changes that events tell, by their stored numbers.
const CHANGES: [EventChange; 4] =
    [EventChange::Created, EventChange::MinorUpdated, EventChange::PatchUpdated, EventChange::Deleted];

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

/// Returns the stored number of a class of sizes.
const fn size(size: SizeClass) -> i64 {
    size as i64
}

/// Returns the class of sizes with this number.
pub(super) fn parse_size(number: i64) -> Result<SizeClass, CorruptColumn> {
    let size = usize::try_from(number).ok().and_then(|number| SizeClass::ALL.get(number).copied());
    size.ok_or_else(|| CorruptColumn::unknown_number("size", number))
}

/// Returns the stored number of a change.
const fn change(change: EventChange) -> i64 {
    change as i64
}

/// Returns the change with this number.
pub(super) fn parse_change(number: i64) -> Result<EventChange, CorruptColumn> {
    let change = usize::try_from(number).ok().and_then(|number| CHANGES.get(number).copied());
    change.ok_or_else(|| CorruptColumn::unknown_number("change", number))
}
