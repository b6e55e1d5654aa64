//! Installations and events by a filter: a list, and an erasure, for admins.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;

use super::{PageError, Web};
use crate::backend::auth::AuthUnavailable;
use crate::backend::insights::InstallationList;
use crate::backend::store::{
    EventFilter, FilterTime, FilterVersion, HourRange, InstallationFilter, MatchedRows, ReadError, WriteError,
};

/// The default number of installations in a response.
const DEFAULT_LIMIT: usize = 100;

/// The maximum number of installations in a response: they are 4 MB.
const MAX_LIMIT: usize = 10_000;

/// The parameters of installations.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct InstallationsQuery {
    id: Option<String>,
    first_seen_after: Option<String>,
    first_seen_before: Option<String>,
    received_after: Option<String>,
    received_before: Option<String>,
    kamaji_version: Option<String>,
    kubernetes_version: Option<String>,
    bulk: Option<bool>,
    confirmed: Option<bool>,
    limit: Option<usize>,
    dry_run: bool,
}

/// The parameters of events.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct EventsQuery {
    after: Option<String>,
    before: Option<String>,
    kamaji_version: Option<String>,
    kubernetes_version: Option<String>,
    tcp_version: Option<String>,
    bulk: Option<bool>,
    dry_run: bool,
}

/// The error of a list or an erasure.
#[derive(Debug, thiserror::Error)]
pub(super) enum InstallationsError {
    /// A parameter that cannot be used: its name, and what was expected.
    #[error("{0}")]
    Parameter(String),
    #[error(transparent)]
    Query(#[from] QueryRejection),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl IntoResponse for InstallationsError {
    fn into_response(self) -> Response {
        match self {
            Self::Parameter(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
            Self::Query(error) => (StatusCode::BAD_REQUEST, format!("{}\n", error.body_text())).into_response(),
            Self::Read(error) => PageError::from(error).into_response(),
            Self::Write(error) => AuthUnavailable::other(error).into_response(),
        }
    }
}

/// Parses a parameter, if there is one.
fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
    name: &str,
    text: Option<&String>,
) -> Result<Option<T>, InstallationsError> {
    text.map(|text| text.parse()).transpose().map_err(|error| InstallationsError::Parameter(format!("{name}: {error}")))
}

/// Parses a version, if there is one.
fn version<V>(name: &str, text: Option<&String>) -> Result<Option<V>, InstallationsError>
where
    FilterVersion<V>: std::str::FromStr<Err: std::fmt::Display>,
{
    Ok(parse::<FilterVersion<V>>(name, text)?.map(|version| version.0))
}

impl InstallationsQuery {
    fn filter(&self) -> Result<InstallationFilter, InstallationsError> {
        let time = |name, text: &Option<String>| parse::<FilterTime>(name, text.as_ref());
        Ok(InstallationFilter {
            id: parse("id", self.id.as_ref())?,
            first_seen: HourRange::between(
                time("first_seen_after", &self.first_seen_after)?,
                time("first_seen_before", &self.first_seen_before)?,
            ),
            last_seen: HourRange::between(
                time("received_after", &self.received_after)?,
                time("received_before", &self.received_before)?,
            ),
            kamaji_version: version("kamaji_version", self.kamaji_version.as_ref())?,
            kubernetes_version: version("kubernetes_version", self.kubernetes_version.as_ref())?,
            bulk: self.bulk,
            confirmed: self.confirmed,
        })
    }
}

impl EventsQuery {
    fn filter(&self) -> Result<EventFilter, InstallationsError> {
        Ok(EventFilter {
            time: HourRange::between(parse("after", self.after.as_ref())?, parse("before", self.before.as_ref())?),
            kamaji_version: version("kamaji_version", self.kamaji_version.as_ref())?,
            kubernetes_version: version("kubernetes_version", self.kubernetes_version.as_ref())?,
            tcp_version: version("tcp_version", self.tcp_version.as_ref())?,
            bulk: self.bulk,
        })
    }
}

/// Returns a filter that has a condition: an erasure without one would erase everything.
fn with_condition<F: Default + PartialEq>(filter: F) -> Result<F, InstallationsError> {
    if filter == F::default() {
        return Err(InstallationsError::Parameter("no filter: expected at least one, such as ?bulk=true".into()));
    }
    Ok(filter)
}

/// Responds with the installations that match.
pub(super) async fn list(
    State(web): State<Web>,
    query: Result<Query<InstallationsQuery>, QueryRejection>,
) -> Result<Response, InstallationsError> {
    let Query(query) = query?;
    if query.dry_run {
        return Err(InstallationsError::Parameter("dry_run: nothing is erased by GET".into()));
    }
    let (filter, limit) = (query.filter()?, query.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT));
    let store = web.stores.rows.as_ref();
    let (found, key) = (store.installations(filter, limit).await?, store.pseudonym_key().await?);
    Ok(Json(InstallationList::new(found, &key)).into_response())
}

/// Erases the installations that match, or counts them if `dry_run` is set.
pub(super) async fn erase(
    State(web): State<Web>,
    query: Result<Query<InstallationsQuery>, QueryRejection>,
) -> Result<Response, InstallationsError> {
    let Query(query) = query?;
    if query.limit.is_some() {
        return Err(InstallationsError::Parameter("limit: all that match are erased".into()));
    }
    let (filter, store) = (with_condition(query.filter()?)?, web.stores.rows.as_ref());
    let matched = if query.dry_run {
        MatchedRows { installations: store.installations(filter, 0).await?.matching, ..MatchedRows::default() }
    } else {
        store.erase_installations(filter).await?
    };
    Ok(Json(matched).into_response())
}

/// Erases the events that match, or counts them if `dry_run` is set.
pub(super) async fn erase_events(
    State(web): State<Web>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Response, InstallationsError> {
    let Query(query) = query?;
    let (filter, store) = (with_condition(query.filter()?)?, web.stores.rows.as_ref());
    let matched = if query.dry_run { store.count_events(filter).await? } else { store.erase_events(filter).await? };
    Ok(Json(matched).into_response())
}
