//! Installations and events by a filter: lists, a page, and erasures, for admins.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::page::{FilterField, FilterInput, InstallationsPage};
use super::{PageError, Web, page, with_form};
use crate::backend::auth::{AuthUnavailable, Principal};
use crate::backend::insights::{EventList, InstallationList};
use crate::backend::store::{
    EventFilter, FilterTime, FilterVersion, HourRange, InstallationFilter, MatchedRows, ReadError, WriteError,
};

/// The default number of installations or events in a response, and their number on the page.
const DEFAULT_LIMIT: usize = 100;

/// The maximum number of installations or events in a response: they are 4 MB.
const MAX_LIMIT: usize = 10_000;

/// The parameters of installations.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
pub(super) struct InstallationsQuery {
    /// Name by which readers know the installation: 16 hexadecimal digits.
    id: Option<String>,
    /// First receipt at this time or later: a UTC date, or a time such as 2026-11-24T12:00:00Z.
    first_seen_after: Option<String>,
    /// First receipt before this time.
    first_seen_before: Option<String>,
    /// Last receipt at this time or later.
    received_after: Option<String>,
    /// Last receipt before this time.
    received_before: Option<String>,
    /// Version of Kamaji, or other.
    kamaji_version: Option<String>,
    /// Version of the management cluster, or other.
    kubernetes_version: Option<String>,
    /// In bulk, or not.
    bulk: Option<bool>,
    /// Confirmed, or not.
    confirmed: Option<bool>,
    /// Number of those that are listed: 100 without it, 10,000 at most.
    limit: Option<usize>,
    /// Count what would be erased, and erase nothing.
    dry_run: bool,
}

/// The parameters of events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
pub(super) struct EventsQuery {
    /// Events of this time or later: a UTC date, or a time such as 2026-11-24T12:00:00Z.
    after: Option<String>,
    /// Events before this time.
    before: Option<String>,
    /// Version of Kamaji, or other.
    kamaji_version: Option<String>,
    /// Version of the management cluster, or other.
    kubernetes_version: Option<String>,
    /// Version of the control plane; of an update, the old or the new one.
    tcp_version: Option<String>,
    /// In bulk, or not.
    bulk: Option<bool>,
    /// Number of those that are listed: 100 without it, 10,000 at most.
    limit: Option<usize>,
    /// Count what would be erased, and erase nothing.
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

impl InstallationsQuery {
    /// Returns the filter of the page, which lists a fixed number.
    fn page_filter(&self) -> Result<InstallationFilter, InstallationsError> {
        refuse_dry_run(self.dry_run)?;
        if self.limit.is_some() {
            let message = format!("limit: the page lists {DEFAULT_LIMIT} at most, and /api/v1/installations more");
            return Err(InstallationsError::Parameter(message));
        }
        self.filter()
    }

    /// Returns the form of the filter, filled with the values of this query.
    fn form(&self) -> Vec<FilterField> {
        const TIME: FilterInput = FilterInput::Text("2026-11-24");
        const KAMAJI: FilterInput = FilterInput::Text("v1.1.1");
        const KUBERNETES: FilterInput = FilterInput::Text("v1.35.4");
        let text =
            |name, label, value: &Option<String>, input| FilterField { name, label, value: value.clone(), input };
        let choice = |name, label, value: Option<bool>| FilterField {
            name,
            label,
            value: value.map(|value| value.to_string()),
            input: FilterInput::YesOrNo,
        };
        vec![
            text("id", "Installation", &self.id, FilterInput::Text("16 hexadecimal digits")),
            text("first_seen_after", "First seen from", &self.first_seen_after, TIME),
            text("first_seen_before", "First seen before", &self.first_seen_before, TIME),
            text("received_after", "Last seen from", &self.received_after, TIME),
            text("received_before", "Last seen before", &self.received_before, TIME),
            text("kamaji_version", "Kamaji", &self.kamaji_version, KAMAJI),
            text("kubernetes_version", "Kubernetes", &self.kubernetes_version, KUBERNETES),
            choice("confirmed", "Confirmed", self.confirmed),
            choice("bulk", "In bulk", self.bulk),
        ]
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

/// Fails if the query of a list would be that of an erasure.
fn refuse_dry_run(dry_run: bool) -> Result<(), InstallationsError> {
    if dry_run { Err(InstallationsError::Parameter("dry_run: nothing is erased by GET".into())) } else { Ok(()) }
}

/// Fails if an erasure would end at a number of rows.
fn refuse_limit(limit: Option<usize>) -> Result<(), InstallationsError> {
    if limit.is_some() { Err(InstallationsError::Parameter("limit: all that match are erased".into())) } else { Ok(()) }
}

/// Shows the installations that match, and the form of the filter.
pub(super) async fn page(
    State(web): State<Web>,
    Extension(principal): Extension<Principal>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let address = without_empty(query.as_deref().unwrap_or_default());
    let query = parse_query(&address);
    let form = query.as_ref().map_or_else(|_| InstallationsQuery::default().form(), InstallationsQuery::form);
    let found = match query.and_then(|query| query.page_filter()) {
        Ok(filter) => {
            let store = web.stores.rows.as_ref();
            let found = store.installations(filter, DEFAULT_LIMIT).await?;
            Ok(InstallationList::new(found, &store.pseudonym_key().await?))
        }
        Err(problem) => Err(problem.to_string()),
    };
    let status = if found.is_ok() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let shown = InstallationsPage { form, found, address, now: web.config.clock.now() };
    Ok((status, with_form(page::installations(&shown, &principal))).into_response())
}

fn parse_query(query: &str) -> Result<InstallationsQuery, InstallationsError> {
    let uri =
        format!("/?{query}").parse().map_err(|_| InstallationsError::Parameter("the query is no query".into()))?;
    let Query(query) = Query::try_from_uri(&uri)?;
    Ok(query)
}

/// Returns a query without the parameters that have no value, as a browser sends them for the empty fields of a form.
fn without_empty(query: &str) -> String {
    let filled = query.split('&').filter(|pair| !pair.is_empty() && !pair.ends_with('='));
    filled.collect::<Vec<_>>().join("&")
}

/// Responds with the installations that match.
pub(super) async fn list(
    State(web): State<Web>,
    query: Result<Query<InstallationsQuery>, QueryRejection>,
) -> Result<Response, InstallationsError> {
    let Query(query) = query?;
    refuse_dry_run(query.dry_run)?;
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
    refuse_limit(query.limit)?;
    let (filter, store) = (with_condition(query.filter()?)?, web.stores.rows.as_ref());
    let matched = if query.dry_run {
        MatchedRows { installations: store.installations(filter, 0).await?.matching, ..MatchedRows::default() }
    } else {
        store.erase_installations(filter).await?
    };
    Ok(Json(matched).into_response())
}

/// Responds with the newest events that match.
pub(super) async fn list_events(
    State(web): State<Web>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Response, InstallationsError> {
    let Query(query) = query?;
    refuse_dry_run(query.dry_run)?;
    let (filter, limit) = (query.filter()?, query.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT));
    Ok(Json(EventList::new(web.stores.rows.events(filter, limit).await?)).into_response())
}

/// Erases the events that match, or counts them if `dry_run` is set.
pub(super) async fn erase_events(
    State(web): State<Web>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Response, InstallationsError> {
    let Query(query) = query?;
    refuse_limit(query.limit)?;
    let (filter, store) = (with_condition(query.filter()?)?, web.stores.rows.as_ref());
    let matched = if query.dry_run { store.count_events(filter).await? } else { store.erase_events(filter).await? };
    Ok(Json(matched).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_fields_of_a_form_are_no_filter() {
        assert_eq!(
            without_empty("id=&kamaji_version=v1.1.1&bulk=&&confirmed=true"),
            "kamaji_version=v1.1.1&confirmed=true"
        );
        let filter = parse_query(&without_empty("id=&bulk=")).unwrap().filter().unwrap();
        assert_eq!(filter, InstallationFilter::default());
    }
}
