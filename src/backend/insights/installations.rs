//! Single installations, for admins.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::source_name;
use crate::backend::store::fold::LatestRow;
use crate::backend::store::{Hour, InstallationRow, MatchedInstallations, PseudonymKey, Source};

/// An installation in a list of all that match a filter, those outside of the figures included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListedInstallation {
    /// The name by which readers know it: 16 hexadecimal digits of a keyed hash of its UUID.
    pub id: String,
    /// `agent` or `kamaji`.
    pub source: String,
    /// The hour of its first receipt.
    pub first_seen: Timestamp,
    /// The hour of its last receipt.
    pub last_seen: Timestamp,
    /// The hour in which it was confirmed; `None` if it is not.
    pub confirmed: Option<Timestamp>,
    /// True if it is beyond its sender's share, or too large.
    pub bulk: bool,
    /// Its control planes.
    pub control_planes: u64,
    /// Control planes whose API answers.
    pub running: u32,
    /// Control planes scaled to zero.
    pub sleeping: u32,
    /// Control planes that do not work, or do not work yet.
    pub not_ready: u32,
    /// Control planes that change their version.
    pub upgrading: u32,
    /// The version of its Kamaji.
    pub kamaji_version: String,
    /// The version of its management cluster.
    pub kubernetes_version: String,
    /// The version of its agent; `None` without one.
    pub agent_version: Option<String>,
}

/// Installations that match a filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstallationList {
    /// The number of all that match.
    pub matching: u64,
    /// Some of them, in no particular order.
    pub installations: Vec<ListedInstallation>,
}

impl InstallationList {
    /// Creates the list. `key` hides the UUIDs.
    pub fn new(MatchedInstallations { listed, matching }: MatchedInstallations, key: &PseudonymKey) -> Self {
        let installations = listed.into_iter().map(|row| ListedInstallation::new(row, key)).collect();
        Self { matching, installations }
    }
}

impl ListedInstallation {
    fn new(row: InstallationRow, key: &PseudonymKey) -> Self {
        let InstallationRow { uuid, latest: LatestRow { first_seen, confirmed, last_seen, bulk, report, .. } } = row;
        Self {
            id: key.installation_id(uuid).to_string(),
            source: source_name(report.source.kind()).to_owned(),
            first_seen: first_seen.start(),
            last_seen: last_seen.start(),
            confirmed: confirmed.map(Hour::start),
            bulk,
            control_planes: report.counts.total(),
            running: report.counts.running,
            sleeping: report.counts.sleeping,
            not_ready: report.counts.not_ready,
            upgrading: report.counts.upgrading,
            kamaji_version: report.kamaji_version.to_string(),
            kubernetes_version: report.kubernetes_version.to_string(),
            agent_version: match report.source {
                Source::Agent(version) => Some(version.to_string()),
                Source::Kamaji => None,
            },
        }
    }
}
