//! Deletion of rows, by age and on request.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::fold::{LatestRow, PreviousDay};
use super::hour::{Day, Hour};
use super::rows::Report;
use super::{ReadError, Store, WriteError};

/// The maximum number of rows of one kind that one step of a deletion takes: a quarter of those that one commit writes, so that
/// a write waits for a step no longer than for the commit before it.
pub(super) const MAX_STEP_ROWS: u32 = 1_024;

/// The maximum number of installations of a step that reads all their days, each of which may have a row for each day of the
/// retention.
pub(super) const MAX_STEP_INSTALLATIONS: usize = 64;

/// The remains of a deleted event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remains {
    /// Its uid and its hour, by which a repeat is known.
    Uid,
    Nothing,
}

/// The hours and the day before which [`Store::prune`] deletes rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cutoffs {
    /// The hour before which events lose everything but their uid and their hour.
    pub events: Hour,
    /// The hour before which uid and hour are deleted as well. It is no later than `events`, and no later than the oldest
    /// event that is accepted: a repeat of a forgotten event would be stored again.
    pub uids: Hour,
    /// The oldest day to retain. Installations last seen before it are deleted.
    pub installations: Day,
}

/// The number of rows that [`Store::prune`] deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Events, also those whose uids are retained.
    pub events: u64,
    /// Uids of events that had been deleted before.
    pub uids: u64,
    /// Days of installations.
    pub days: u64,
    /// Installations that were not seen since.
    pub installations: u64,
}

/// The number of rows that [`Store::prune`] would delete, of all: events, days and installations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StaleRows {
    /// Rows that are older than the retention.
    pub stale: u64,
    /// All rows.
    pub total: u64,
}

/// The number of rows that an erasure deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Erased {
    /// True if the latest state was deleted.
    pub latest: bool,
    /// Its days.
    pub days: u64,
}

/// An error of an erasure.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EraseError {
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store cannot write.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Deletes all rows of an installation, by its UUID or by the cluster UID that Kamaji's built-in telemetry reports.
pub async fn erase_installation(store: &dyn Store, installation: Uuid) -> Result<Erased, EraseError> {
    let pseudonym = store.pseudonym_key().await?.pseudonym(installation);
    let [by_uuid, by_pseudonym] = [store.erase(installation).await?, store.erase(pseudonym).await?];
    Ok(Erased { latest: by_uuid.latest || by_pseudonym.latest, days: by_uuid.days + by_pseudonym.days })
}

/// Returns the latest row as it was at `hour`, from the report of the last day that is left.
pub(super) fn latest_before(
    hour: Hour,
    latest: &LatestRow,
    previous: Option<PreviousDay>,
    day: Day,
    report: Report,
) -> LatestRow {
    let &LatestRow { first_seen, confirmed, bulk, .. } = latest;
    let last_seen = day.first_hour().minus(-23).min(hour).max(first_seen);
    let confirmed = confirmed.filter(|confirmed| *confirmed <= hour);
    LatestRow { first_seen, confirmed, last_seen, bulk, previous, report }
}
