//! Conversions between rows and columns.

use std::fmt::Display;
use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, Error, Result, Row};

use super::words::{StoredWords, Words};
use crate::backend::store::Report;
use crate::backend::store::StateCounts;
use crate::backend::store::encoding::{
    CorruptColumn, EventColumns, EventWords, ReportColumns, StoredWord, decode_report, parse_word,
};
use crate::backend::store::hour::{Day, Hour};

impl From<CorruptColumn> for Error {
    fn from(error: CorruptColumn) -> Self {
        Self::FromSqlConversionFailure(0, Type::Text, error.into())
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
pub(super) fn parse<T: FromStr<Err: Display>>(row: &Row<'_>, column: &str) -> Result<T> {
    row.get_ref(column)?.as_str()?.parse().map_err(|error| corrupt(column, error))
}

/// Reads the id of a word as a value of its type.
pub(super) fn word<T: StoredWord>(
    words: &mut Words,
    connection: &Connection,
    row: &Row<'_>,
    column: &str,
) -> Result<T> {
    parse_word(&mut StoredWords { connection, words }, row.get(column)?, column)
}

/// Reads a sum or a count.
pub(super) fn sum(row: &Row<'_>, column: &str) -> Result<u64> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|error| corrupt(column, error))
}

/// Returns the error of a column that does not hold a value of this program.
pub(super) fn corrupt(column: &str, error: impl Display) -> Error {
    CorruptColumn::new(column, error).into()
}

/// Reads the columns of a report.
pub(super) fn report(words: &mut Words, connection: &Connection, row: &Row<'_>) -> Result<Report> {
    let columns = ReportColumns {
        source: row.get("source")?,
        counts: StateCounts {
            running: row.get("running")?,
            sleeping: row.get("sleeping")?,
            not_ready: row.get("not_ready")?,
            upgrading: row.get("upgrading")?,
        },
        agent: row.get("agent")?,
        kamaji: row.get("kamaji")?,
        kubernetes: row.get("kubernetes")?,
        dimensions: row.get("dimensions")?,
    };
    decode_report(&mut StoredWords { connection, words }, &columns)
}

/// Reads a row of `events`.
pub(super) fn event(row: &Row<'_>) -> Result<EventColumns> {
    Ok(EventColumns {
        source: row.get("source")?,
        hour: row.get("hour")?,
        uid: row.get("uid")?,
        cluster_api: row.get("cluster_api")?,
        words: EventWords {
            kind: row.get("kind")?,
            agent: row.get("agent")?,
            kamaji: row.get("kamaji")?,
            kubernetes: row.get("kubernetes")?,
            tcp_version: row.get("tcp_version")?,
            old_tcp_version: row.get("old_tcp_version")?,
            status: row.get("status")?,
            network_profile: row.get("network_profile")?,
        },
    })
}
