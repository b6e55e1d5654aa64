//! Where admitted rows are kept: what a store promises, and what can be asked of it.
//!
//! A store holds typed rows only. Their fields are numbers, UUIDs and the catalog's closed values, so that text which
//! the admission did not read cannot get in.

mod auth;
mod location;
mod pseudonym;
mod retention;
mod rows;
pub mod sqlite;
mod stores;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::catalog::{KamajiVersion, KubernetesVersion};

pub use auth::{
    AuditLogEntry, AuthStore, CREATE_TOKEN, CreateError, Digest, ERASE, MAX_SESSIONS, PrunedAuth, REVOKE_TOKEN, Role,
    Session, StoredSession, Token, TokenRef, UnknownRole, UsedToken,
};
pub use location::{StoreLocation, UnknownStore};
pub use pseudonym::{NoRandomNumbers, PseudonymKey};
pub use retention::{Cutoffs, Erased, Pruned};
pub use rows::{
    AgentVersion, Batch, Dimension, EventRow, GaugeSnapshot, InvalidAgentVersion, InvalidDimension, Source,
    StateCounts, cut_to_hour, utc_day,
};
pub use sqlite::SqliteStore;
pub use stores::Stores;

/// A store of installations, their days, and events.
///
/// Every implementation passes the same conformance suite:
/// - [`Store::write`] returns after the rows are durable, and keeps all of a batch or nothing of it.
/// - Writing anything twice is the same as writing it once.
/// - Of an installation's snapshots the newest is its latest state, and the newest of a UTC day is its row of that day,
///   in whatever order they come; of two of the same millisecond either may stay.
/// - An event's uid is its key: the first one stays.
/// - An installation keeps the source that it first had: rows of another are acknowledged and dropped.
/// - Nothing that is kept ties an event to an installation, or events to each other: not even the order of arrival, once
///   the store is tidied.
pub trait Store: Send + Sync + 'static {
    /// Keeps `batch`. An empty batch is kept at once.
    ///
    /// Fails with [`WriteError`] where nothing of the batch was kept, or where that is unknown; both are cured by
    /// writing it again.
    fn write(&self, batch: Batch) -> BoxFuture<'_, Result<(), WriteError>>;

    /// Deletes what is older than `cutoffs`, in steps between which writes go on, so that they do not wait for it.
    ///
    /// Fails with [`WriteError`] where not all of it was deleted; what was stays deleted.
    fn prune(&self, cutoffs: Cutoffs) -> BoxFuture<'_, Result<Pruned, WriteError>>;

    /// Removes what is left of deleted rows, and of the order in which rows came, where a store keeps such for a while;
    /// called every minute. Tries again the next time where somebody reads just now.
    fn checkpoint(&self) -> BoxFuture<'_, Result<(), WriteError>>;

    /// Deletes every row of `installation`, all of them or none. Events stay: nothing ties one to an installation.
    fn erase(&self, installation: Uuid) -> BoxFuture<'_, Result<Erased, WriteError>>;

    /// What the overview is made of, from one consistent state of the store.
    fn overview(&self, query: OverviewQuery) -> BoxFuture<'_, Result<OverviewData, ReadError>>;

    /// The key that makes pseudonyms of cluster UIDs: made when the store is, and the same ever after.
    fn pseudonym_key(&self) -> BoxFuture<'_, Result<PseudonymKey, ReadError>>;

    /// Bytes that it takes on disk.
    fn size(&self) -> BoxFuture<'_, Result<u64, ReadError>>;

    /// Says whether the store can be read.
    fn ready(&self) -> BoxFuture<'_, Result<(), ReadError>>;
}

/// Why a batch was not kept. Either may be tried again after [`WriteError::retry_after`].
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// More waits to be written than the store takes on.
    #[error("the store is overloaded: {waiting} rows wait to be written, and it takes on no more than {bound}")]
    Overloaded {
        /// Rows that wait.
        waiting: usize,
        /// The most that may wait.
        bound: usize,
    },
    /// The store could not write: the disk is full or failing, or the store was closed.
    #[error("the store cannot write: {0}")]
    Unavailable(Arc<str>),
}

/// Why a question was not answered.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the store cannot be read: {0}")]
pub struct ReadError(pub Arc<str>);

impl WriteError {
    /// How long a sender should wait before it tries again.
    pub const fn retry_after(&self) -> Duration {
        match self {
            // The bound holds about two seconds of work.
            Self::Overloaded { .. } => Duration::from_secs(2),
            // A full disk waits for somebody: ask now and then, without a stampede.
            Self::Unavailable(_) => Duration::from_secs(30),
        }
    }
}

/// What to put into [`OverviewData`]. Each limit bounds a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverviewQuery {
    /// The end of all windows; later rows count as well.
    pub now: Timestamp,
    /// The most versions to list, of each kind.
    pub versions: u32,
    /// The most values to list of each extended gauge.
    pub dimensions: u32,
    /// The most installations to list.
    pub installations: u32,
    /// The most events to list.
    pub events: u32,
    /// How many UTC days of history to list, the day of `now` included.
    pub days: u32,
}

/// What the overview is made of.
///
/// *Current* is an installation whose newest snapshot is at most [`CURRENT`] old. Each window begins with the hour in which
/// it begins, as stores count by the hour: the last 24 hours are up to 25. All but [`OverviewData::kamaji`] is of
/// this project's agents alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OverviewData {
    /// Installations seen in the last 24 hours.
    pub day: ActiveCounts,
    /// Installations seen in the last 7 times 24 hours.
    pub week: ActiveCounts,
    /// Installations seen in the last 30 times 24 hours.
    pub month: ActiveCounts,
    /// Control planes of current installations.
    pub control_planes: Totals,
    /// Current installations by Kamaji's version, most used first.
    pub kamaji_versions: Vec<(KamajiVersion, u64)>,
    /// Current installations by the version of their management cluster, most used first.
    pub kubernetes_versions: Vec<(KubernetesVersion, u64)>,
    /// The extended gauges of current installations, summed, most first within a metric.
    pub dimensions: Vec<(Dimension, u64)>,
    /// Installations, most recently seen first.
    pub installations: Vec<InstallationRow>,
    /// Events, newest first; within an hour in no particular order.
    pub events: Vec<EventRow>,
    /// The days that have rows, oldest first.
    pub days: Vec<DayTotals>,
    /// What the telemetry says that Kamaji has built in.
    pub kamaji: KamajiTotals,
}

/// What the telemetry says that Kamaji has built in. An installation may be in here and among the agents' as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KamajiTotals {
    /// Installations seen in the last 24 hours.
    pub day: ActiveCounts,
    /// Installations seen in the last 7 times 24 hours.
    pub week: ActiveCounts,
    /// Installations seen in the last 30 times 24 hours.
    pub month: ActiveCounts,
    /// Control planes of the installations seen in the last 24 hours, as Kamaji counts them: one that is being made, or
    /// whose status is unknown, is running.
    pub control_planes: Totals,
    /// Events of the last 24 hours, to the hour.
    pub events: EventTotals,
}

/// Events by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventTotals {
    /// Control planes that appeared.
    pub created: u64,
    /// Control planes that changed their version.
    pub updated: u64,
    /// Control planes that were deleted.
    pub deleted: u64,
}

/// How old the newest snapshot of a current installation may be: long enough for a maintenance window or a night without
/// egress, short enough that what is gone does not count.
pub const CURRENT: Duration = Duration::from_hours(24);

/// Installations seen in a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveCounts {
    /// ActiveCounts on at least two UTC days since they were first seen: these are the active ones.
    pub active: u64,
    /// ActiveCounts on one UTC day only: trials, CI clusters, and whatever is new.
    pub short_lived: u64,
}

/// Sums of [`StateCounts`] over installations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Control planes whose API answers.
    pub running: u64,
    /// Control planes scaled to zero.
    pub sleeping: u64,
    /// Control planes that do not work, or not yet.
    pub not_ready: u64,
    /// Control planes that change their version.
    pub upgrading: u64,
}

impl ActiveCounts {
    /// All of them.
    pub const fn total(self) -> u64 {
        self.active + self.short_lived
    }
}

impl Totals {
    /// All of them.
    pub const fn total(self) -> u64 {
        self.running + self.sleeping + self.not_ready + self.upgrading
    }
}

/// The latest state of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallationRow {
    /// The installation.
    pub uuid: Uuid,
    /// The first UTC day on which it was seen.
    pub first_day: Date,
    /// The time of its newest snapshot.
    pub last_seen: Timestamp,
    /// Its control planes.
    pub counts: StateCounts,
    /// The version of its agent.
    pub agent_version: AgentVersion,
    /// The version of its Kamaji.
    pub kamaji_version: KamajiVersion,
    /// The version of its management cluster.
    pub kubernetes_version: KubernetesVersion,
}

/// One UTC day over all installations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayTotals {
    /// The day.
    pub day: Date,
    /// Installations seen on it.
    pub installations: u64,
    /// Their control planes, each installation as it was last seen on that day.
    pub control_planes: Totals,
}
