//! Conversions between rows and columns.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::{Span, Timestamp};
use rusqlite::types::Type;
use rusqlite::{Error, Result, Row};

use crate::backend::store::{Source, utc_day};
use crate::catalog::{Event, ExtendedAttributes, NetworkProfile};

/// The milliseconds of a day.
pub(super) const DAY_MS: i64 = 86_400_000;

/// The milliseconds of an hour.
const HOUR_MS: i64 = 3_600_000;

/// Returns the stored hour of `time`.
pub(super) fn hour(time: Timestamp) -> i64 {
    time.as_millisecond().div_euclid(HOUR_MS)
}

/// Returns the stored day of `time`.
pub(super) fn day(time: Timestamp) -> i64 {
    time.as_millisecond().div_euclid(DAY_MS)
}

/// Returns the stored day of `date`.
pub(super) fn day_of(date: Date) -> i64 {
    i64::from((date - utc_day(Timestamp::UNIX_EPOCH)).get_days())
}

/// Reads a day.
pub(super) fn date(row: &Row<'_>, column: &str) -> Result<Date> {
    let days: i64 = row.get(column)?;
    let epoch = utc_day(Timestamp::UNIX_EPOCH);
    Span::new().try_days(days).and_then(|span| epoch.checked_add(span)).map_err(|error| corrupt(column, error))
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

/// Reads a sum or a count.
pub(super) fn sum(row: &Row<'_>, column: &str) -> Result<u64> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|error| corrupt(column, error))
}

/// Returns the error of a column that does not hold a value of this program.
pub(super) fn corrupt(column: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::FromSqlConversionFailure(0, Type::Text, format!("{column}: {error}").into())
}

/// The source of this project's agents.
pub(super) const AGENT: &str = "agent";

/// The source of Kamaji's built-in telemetry.
pub(super) const KAMAJI: &str = "kamaji";

/// Returns the values of `source` and `agent_version`.
pub(super) fn source(source: &Source) -> (&'static str, String) {
    match source {
        Source::Agent(version) => (AGENT, version.to_string()),
        Source::Kamaji => (KAMAJI, String::new()),
    }
}

/// The columns of an event that depend on its kind.
#[derive(Default)]
pub(super) struct EventColumns {
    pub(super) tcp_version: Option<String>,
    pub(super) old_tcp_version: Option<String>,
    pub(super) new_tcp_version: Option<String>,
    pub(super) status: Option<&'static str>,
    pub(super) cluster_api: Option<bool>,
    pub(super) network_profile: Option<&'static str>,
}

impl From<Event> for EventColumns {
    fn from(event: Event) -> Self {
        let text = |value: &dyn fmt::Display| Some(value.to_string());
        match event {
            Event::Created { tcp_version, extended } => Self {
                tcp_version: text(&tcp_version),
                cluster_api: extended.map(|extended| extended.cluster_api),
                network_profile: extended.and_then(|extended| extended.network_profile).map(NetworkProfile::as_str),
                ..Self::default()
            },
            Event::Updated { old_tcp_version, new_tcp_version } => Self {
                old_tcp_version: text(&old_tcp_version),
                new_tcp_version: text(&new_tcp_version),
                ..Self::default()
            },
            Event::Deleted { status, tcp_version } => {
                Self { status: Some(status.as_str()), tcp_version: text(&tcp_version), ..Self::default() }
            }
        }
    }
}

/// Reads the event of a row of `events`.
pub(super) fn event(row: &Row<'_>) -> Result<Event> {
    match row.get_ref("kind")?.as_str()? {
        kind if kind == crate::catalog::CREATED.name => {
            Ok(Event::Created { tcp_version: parse(row, "tcp_version")?, extended: extended(row)? })
        }
        kind if kind == crate::catalog::UPDATED.name => Ok(Event::Updated {
            old_tcp_version: parse(row, "old_tcp_version")?,
            new_tcp_version: parse(row, "new_tcp_version")?,
        }),
        _ => Ok(Event::Deleted { status: parse(row, "status")?, tcp_version: parse(row, "tcp_version")? }),
    }
}

fn extended(row: &Row<'_>) -> Result<Option<ExtendedAttributes>> {
    let Some(cluster_api) = row.get("cluster_api")? else { return Ok(None) };
    let network_profile = match row.get_ref("network_profile")?.as_str_or_null()? {
        Some(_) => Some(parse(row, "network_profile")?),
        None => None,
    };
    Ok(Some(ExtendedAttributes { cluster_api, network_profile }))
}
