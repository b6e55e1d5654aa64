//! Single events, for admins.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::source_name;
use crate::backend::store::EventRow;
use crate::catalog::{Event, ExtendedAttributes, NetworkProfile};

/// An event. Attributes of other kinds are absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct EventEntry {
    /// The beginning of the hour in which it happened.
    pub time: Timestamp,
    /// Its name in the catalog.
    pub name: String,
    /// The desired version of the control plane (created, deleted).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_version: Option<String>,
    /// The version before (updated).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_tcp_version: Option<String>,
    /// The version after (updated).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_tcp_version: Option<String>,
    /// The last status (deleted).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The use of Cluster API to create it (created, extended).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_api: Option<bool>,
    /// The way in which it is exposed (created, extended).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_profile: Option<String>,
    /// The version of Kamaji at that time.
    pub kamaji_version: String,
    /// The version of the management cluster at that time.
    pub kubernetes_version: String,
}

/// An event in a list of those that match a filter, those outside of the figures included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListedEvent {
    /// `agent` or `kamaji`.
    pub source: String,
    /// True if it is beyond its sender's share.
    pub bulk: bool,
    /// The event.
    #[serde(flatten)]
    pub event: EventEntry,
}

/// Events that match a filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventList {
    /// The newest of them, newest first. Nothing ties one to an installation.
    pub events: Vec<ListedEvent>,
}

impl EventList {
    /// Creates the list.
    pub fn new(rows: Vec<EventRow>) -> Self {
        let listed = |row: EventRow| ListedEvent {
            source: source_name(row.source.kind()).to_owned(),
            bulk: row.bulk,
            event: row.into(),
        };
        Self { events: rows.into_iter().map(listed).collect() }
    }
}

impl From<EventRow> for EventEntry {
    fn from(EventRow { record, source: _, bulk: _ }: EventRow) -> Self {
        let entry = Self {
            time: record.time,
            name: record.event.kind().name.to_owned(),
            kamaji_version: record.kamaji_version.to_string(),
            kubernetes_version: record.kubernetes_version.to_string(),
            ..Self::default()
        };
        match record.event {
            Event::Created { tcp_version, extended } => entry.created(tcp_version.to_string(), extended),
            Event::Updated { old_tcp_version, new_tcp_version } => Self {
                old_tcp_version: Some(old_tcp_version.to_string()),
                new_tcp_version: Some(new_tcp_version.to_string()),
                ..entry
            },
            Event::Deleted { status, tcp_version } => {
                Self { status: Some(status.to_string()), tcp_version: Some(tcp_version.to_string()), ..entry }
            }
        }
    }
}

impl EventEntry {
    fn created(self, tcp_version: String, extended: Option<ExtendedAttributes>) -> Self {
        let profile = extended.and_then(|extended| extended.network_profile).map(NetworkProfile::as_str);
        Self {
            tcp_version: Some(tcp_version),
            cluster_api: extended.map(|extended| extended.cluster_api),
            network_profile: profile.map(str::to_owned),
            ..self
        }
    }
}
