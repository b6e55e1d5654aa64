//! The options of a request, from the query of its URL.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::kind::Kind;
use super::object::Filter;
use super::status_error::StatusError;
use super::store::PageRequest;
use super::watch::{self, Start};

/// The timeout of a watch that requests none. A real API server picks 30 to 60 minutes.
const WATCH_TIMEOUT: Duration = Duration::from_mins(30);

/// The query of a list or a watch.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ListParameters {
    #[serde(deserialize_with = "flag")]
    pub(super) watch: bool,
    limit: Option<usize>,
    #[serde(rename = "continue")]
    continue_at: String,
    resource_version: String,
    resource_version_match: String,
    #[serde(deserialize_with = "flag")]
    send_initial_events: bool,
    #[serde(deserialize_with = "flag")]
    allow_watch_bookmarks: bool,
    timeout_seconds: Option<u64>,
    label_selector: String,
    field_selector: String,
}

impl ListParameters {
    /// Returns the filter of the request. Fails for selectors other than `key=value`, `!key` and `metadata.name=value`.
    pub(super) fn filter(&self, namespace: Option<&str>) -> Result<Filter, StatusError> {
        let mut filter = Filter { namespace: namespace.map(str::to_owned), ..Filter::default() };
        let (absent, required): (Vec<_>, Vec<_>) =
            self.label_selector.split(',').partition(|clause| clause.starts_with('!'));
        filter.absent_labels = absent.into_iter().map(|clause| clause[1..].to_owned()).collect();
        filter.labels = requirements(&required.join(","))?;
        for (field, value) in requirements(&self.field_selector)? {
            if field != "metadata.name" {
                return Err(StatusError::BadRequest(format!("field label not supported: {field}")));
            }
            filter.name = Some(value);
        }
        Ok(filter)
    }

    /// Returns the page that a list requests. The newest state satisfies `NotOlderThan`, and a request without a match.
    pub(super) fn page(&self) -> Result<PageRequest, StatusError> {
        let limit = self.limit.filter(|limit| *limit > 0);
        if !self.continue_at.is_empty() {
            let (version, key) = read_continue(&self.continue_at)
                .ok_or_else(|| StatusError::BadRequest(format!("continue key is not valid: {}", self.continue_at)))?;
            return Ok(PageRequest { version: Some(version), after: Some(key), limit });
        }
        let version = self.version()?.filter(|_| self.resource_version_match == "Exact");
        Ok(PageRequest { version, after: None, limit })
    }

    /// Returns the oldest version that the response may show, if the request names one.
    pub(super) fn version(&self) -> Result<Option<u64>, StatusError> {
        match self.resource_version.as_str() {
            "" | "0" => Ok(None),
            version => version
                .parse()
                .map(Some)
                .map_err(|_| StatusError::BadRequest(format!("invalid resource version: {version:?}"))),
        }
    }

    /// Returns the watch that is requested.
    pub(super) fn watch(&self, kind: Kind, filter: Filter) -> Result<watch::WatchRequest, StatusError> {
        let start = match (self.send_initial_events, self.resource_version_match.as_str()) {
            (true, "NotOlderThan") => Start::State { has_bookmark: self.allow_watch_bookmarks },
            (false, "") => self.version()?.map_or(Start::State { has_bookmark: false }, Start::Version),
            (true, _) => {
                return Err(forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
            }
            (false, _) => {
                return Err(forbidden(
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                ));
            }
        };
        let timeout = self.timeout_seconds.filter(|seconds| *seconds > 0);
        let timeout = timeout.map_or(WATCH_TIMEOUT, |seconds| Duration::from_secs(seconds).min(WATCH_TIMEOUT));
        Ok(watch::WatchRequest { kind, filter, start, bookmarks: self.allow_watch_bookmarks, timeout })
    }
}

/// Returns the token with which a client requests the next page: the version of the state, and the last key.
pub(super) fn write_continue(version: u64, (namespace, name): &(String, String)) -> String {
    format!("{version}/{namespace}/{name}")
}

fn read_continue(token: &str) -> Option<(u64, (String, String))> {
    let mut parts = token.splitn(3, '/');
    let version = parts.next()?.parse().ok()?;
    Some((version, (parts.next()?.to_owned(), parts.next()?.to_owned())))
}

fn forbidden(what: &str) -> StatusError {
    StatusError::Invalid(format!("ListOptions.meta.k8s.io \"\" is invalid: Forbidden: {what}"))
}

fn requirements(selector: &str) -> Result<Vec<(String, String)>, StatusError> {
    let clauses = selector.split(',').filter(|clause| !clause.is_empty());
    clauses
        .map(|clause| {
            let clause = clause.replace("==", "=");
            match clause.split_once('=') {
                Some((key, value)) if !key.contains(['!', ' ', '(']) => Ok((key.to_owned(), value.to_owned())),
                _ => Err(StatusError::BadRequest(format!(
                    "this simulated API supports only key=value and !key selectors, not {clause:?}"
                ))),
            }
        })
        .collect()
}

/// Reads a boolean in the common spellings of Go's `strconv.ParseBool`.
fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    String::deserialize(from).map(|text| matches!(text.as_str(), "true" | "1" | "True" | "t"))
}
