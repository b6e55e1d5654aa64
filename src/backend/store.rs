//! Storage of validated records: the traits of a store, and its implementations in `SQLite` and PostgreSQL.
//!
//! A store holds typed rows only. Their fields are numbers, UUIDs and the catalog's closed values, so that no text gets
//! in that was not validated.

mod admission;
mod allowance;
mod auth;
mod deletion;
mod encoding;
mod facts;
mod filter;
pub mod fold;
mod group;
mod hour;
mod intake;
mod location;
mod moves;
mod operations;
pub mod postgres;
mod pseudonym;
mod public_week;
mod purpose;
mod rows;
pub mod sqlite;
mod stores;
mod transfer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use uuid::Uuid;

pub use allowance::{Allowance, Room, Spent, Unlimited};
pub use auth::{
    AuditLogEntry, AuthStore, CREATE_TOKEN, Digest, ERASE, IMPORT, MAX_SESSIONS, PrunedAuth, REVOKE_TOKEN, Role,
    Session, StoreTokenError, StoredSession, Token, TokenRef, UnknownRole, UsedToken,
};
use fold::LatestRow;

use deletion::latest_before;
pub use deletion::{Cutoffs, EraseError, Erased, Pruned, StaleRows, erase_installation};
pub use facts::{
    ConditionFact, DayFact, DimensionFact, EventDayFact, EventWeekFact, Facts, FactsQuery, PairFact, RefusalFact,
    SeenFact, ServedHour, VersionFact,
};
pub use filter::{EventFilter, FilterTime, FilterVersion, HourRange, InstallationFilter, MatchedRows};
pub use hour::{Day, Hour};
pub use intake::{DayIntake, Intake};
pub use location::{StoreLocation, UnknownStore};
pub use moves::{MoveError, Moved, move_rows};
pub use operations::{Operations, RefusalCounts, ServedMinutes};
pub use postgres::{PostgresAddress, PostgresStore};
pub use pseudonym::{InstallationId, InvalidInstallationId, PseudonymKey, RandomError};
pub use public_week::{CategoryCount, PublicKey, PublicWeekStore, StoredWeek, WeekCounts};
pub use rows::{
    AgentVersion, Batch, Dimension, EventRow, GaugeSnapshot, InvalidAgentVersion, InvalidDimension, Report, Source,
    SourceKind, StateCounts, truncate_to_hour, utc_day,
};
pub use sqlite::SqliteStore;
pub use stores::Stores;
pub use transfer::{Comparison, DayDifference, TableCounts};

/// A store of installations, their days, and events.
///
/// Every implementation passes the same conformance suite:
/// - [`Store::write`] returns after the rows are durable. It stores all of a batch or nothing of it.
/// - Writing a batch twice has the same effect as writing it once.
/// - An installation's last received snapshot is its latest state, and its last one of a UTC day is its row of that day. A
///   receipt never moves an installation back in time. Of an hour, the first snapshot is stored, and each that says
///   something else than the one before.
/// - An installation is *confirmed* by a receipt on another UTC day than its first, at least 20 hours later, and from then
///   on.
/// - The uid of an event is unique among those of the last 31 days: the first event with a uid stays.
/// - What exceeds its sender's [`Room`] is stored in bulk, outside of every figure. `bulk` of an installation ends with the
///   first receipt for which its sender has room; that of an event stays. An installation of more than 25,000 control
///   planes is in bulk for as long as it reports them.
/// - Until 28 days after its first receipt, an installation weighs 50 control planes at most in sums.
/// - An hour adds at most 256 values to a column; the rest is `other`.
/// - An installation keeps its first source: rows of another source are acknowledged and dropped.
/// - The history of another server confirms no installation, and changes none that was received as late or later.
/// - No stored value ties an event to an installation, or events to each other. After a checkpoint, neither does the order
///   of arrival.
pub trait Store: PublicWeekStore {
    /// Stores `batch` of a sender with this allowance, and spends it.
    ///
    /// Fails with [`WriteError`] if nothing of the batch was stored, or if that is unknown. The caller can write it
    /// again in both cases. With [`WriteError::Full`] and [`WriteError::TooManyNew`], the snapshots of installations that are
    /// known were stored all the same: what others send does not keep them out.
    fn write_within(&self, batch: Batch, allowance: Arc<dyn Allowance>) -> BoxFuture<'_, Result<(), WriteError>>;

    /// Stores `batch` of a sender without limits, as [`Store::write_within`] does.
    fn write(&self, batch: Batch) -> BoxFuture<'_, Result<(), WriteError>> {
        self.write_within(batch, Arc::new(Unlimited))
    }

    /// Deletes rows older than `cutoffs`, in steps between which writes go on.
    ///
    /// Fails with [`WriteError`] if not all of them were deleted. Those of the steps before stay deleted.
    fn prune(&self, cutoffs: Cutoffs) -> BoxFuture<'_, Result<Pruned, WriteError>>;

    /// Returns the time of the newest snapshot or event; `None` if there is none.
    fn newest_record(&self) -> BoxFuture<'_, Result<Option<Timestamp>, ReadError>>;

    /// Counts the rows, and those that [`Store::prune`] would delete.
    fn stale_rows(&self, cutoffs: Cutoffs) -> BoxFuture<'_, Result<StaleRows, ReadError>>;

    /// Deletes rows that are later than `time`, all of them or none: those of a clock that was wrong.
    fn delete_after(&self, time: Timestamp) -> BoxFuture<'_, Result<Pruned, WriteError>>;

    /// Removes the traces of deleted rows and of the order of arrival, such as a write-ahead log. Called every minute.
    /// Does nothing while a reader needs them.
    fn checkpoint(&self) -> BoxFuture<'_, Result<(), WriteError>>;

    /// Deletes every row of `installation`, all of them or none. Events stay: nothing ties one to an installation.
    fn erase(&self, installation: Uuid) -> BoxFuture<'_, Result<Erased, WriteError>>;

    /// Erases the installations that match, and their days, in steps between which writes go on. Events stay. The next
    /// checkpoint removes their traces.
    ///
    /// Fails with [`WriteError`] if not all of them were erased. Those of the steps before stay erased.
    fn erase_installations(&self, filter: InstallationFilter) -> BoxFuture<'_, Result<MatchedRows, WriteError>>;

    /// Erases the events that match, but for their uids and hours, as [`Store::erase_installations`] does.
    fn erase_events(&self, filter: EventFilter) -> BoxFuture<'_, Result<MatchedRows, WriteError>>;

    /// Reads installations that match, at most `limit` of them in no particular order, and counts all of them.
    fn installations(
        &self,
        filter: InstallationFilter,
        limit: usize,
    ) -> BoxFuture<'_, Result<MatchedInstallations, ReadError>>;

    /// Reads the newest events that match, at most `limit` of them: newest first, within an hour in no particular order.
    fn events(&self, filter: EventFilter, limit: usize) -> BoxFuture<'_, Result<Vec<EventRow>, ReadError>>;

    /// Counts the events that match.
    fn count_events(&self, filter: EventFilter) -> BoxFuture<'_, Result<MatchedRows, ReadError>>;

    /// Reads what was new on each of the last 29 days up to `today`.
    fn intake(&self, today: Day) -> BoxFuture<'_, Result<Intake, ReadError>>;

    /// Adds the operation of the backend that serves the store, once: a repeat of a flush adds nothing.
    fn record_operations(&self, operations: Operations) -> BoxFuture<'_, Result<(), WriteError>>;

    /// Reads the facts of each query, all from one consistent state of the store.
    fn facts(&self, queries: Vec<FactsQuery>) -> BoxFuture<'_, Result<Vec<Facts>, ReadError>>;

    /// Moves the first receipt of installations of Kamaji's built-in telemetry to the hour in which another server received them, in
    /// steps between which writes go on. Those that are not stored, or whose first receipt is not later, stay as they are. The last
    /// receipt confirms those that it would have confirmed then. Returns the number of those that were moved.
    ///
    /// Fails with [`WriteError`] if not all of them were moved. Those of the steps before stay moved.
    fn move_first_seen(&self, first_seen: BTreeMap<Uuid, Hour>) -> BoxFuture<'_, Result<u64, WriteError>>;

    /// Returns the key that turns cluster UIDs into pseudonyms. It is created with the store, and never changes.
    fn pseudonym_key(&self) -> BoxFuture<'_, Result<PseudonymKey, ReadError>>;

    /// Returns the size of the store.
    fn size(&self) -> BoxFuture<'_, Result<StoreSize, ReadError>>;

    /// Checks that the store can be read.
    fn ready(&self) -> BoxFuture<'_, Result<(), ReadError>>;
}

/// The size of a store, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreSize {
    /// Bytes on disk.
    pub on_disk: u64,
    /// Bytes without free space, which new rows take first.
    pub used: u64,
}

/// An error of a write, which may be tried again after [`WriteError::retry_after`].
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// The queue of the store is full.
    #[error("the store is overloaded: {waiting} rows wait to be written, and it takes on no more than {bound}")]
    Overloaded {
        /// The number of queued rows.
        waiting: usize,
        /// The maximum number of queued rows.
        bound: usize,
    },
    /// The store is as large as it may be.
    #[error("the store has reached --max-store-size: new installations and events are not stored until there is room")]
    Full,
    /// As many new installations, or events in bulk, were stored today as may be of all senders together.
    #[error("too much that is new was sent today: no more of it is stored until some of the day has passed")]
    TooManyNew,
    /// The store did not confirm the write in time, or the connection to it was lost. The rows may be stored all the same.
    #[error("the store did not confirm the write: {0}")]
    Unconfirmed(Arc<str>),
    /// The store cannot write: the disk is full or fails, or the store was closed.
    #[error("the store cannot write: {0}")]
    Unavailable(Arc<str>),
}

/// An error of a read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the store cannot be read: {0}")]
pub struct ReadError(pub Arc<str>);

impl WriteError {
    /// Returns how long a sender should wait before it tries again.
    pub const fn retry_after(&self) -> Duration {
        match self {
            // The bound holds about two seconds of work. A failover takes some seconds.
            Self::Overloaded { .. } | Self::Unconfirmed(_) => Duration::from_secs(2),
            // A full disk waits for its operator. Senders try now and then, and not all at once when there is room
            // again.
            Self::Unavailable(_) => Duration::from_secs(30),
            // Both last for hours, and a snapshot is sent again every five minutes.
            Self::Full | Self::TooManyNew => Duration::from_mins(5),
        }
    }
}

/// Sums of [`StateCounts`] over installations, of which a young one weighs 50 control planes at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Control planes whose API answers.
    pub running: u64,
    /// Control planes scaled to zero.
    pub sleeping: u64,
    /// Control planes that do not work, or do not work yet.
    pub not_ready: u64,
    /// Control planes that change their version.
    pub upgrading: u64,
    /// Control planes of young installations beyond their weight, which are in no state's sum.
    pub left_out: u64,
}

impl Totals {
    /// Returns the sum of the states.
    pub const fn total(self) -> u64 {
        self.running + self.sleeping + self.not_ready + self.upgrading
    }

    /// Returns the number of all control planes, with those in no state's sum.
    pub const fn with_left_out(self) -> u64 {
        self.total() + self.left_out
    }
}

/// An installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallationRow {
    /// Its UUID, by which it writes: readers see its [`InstallationId`].
    pub uuid: Uuid,
    /// Its latest state.
    pub latest: LatestRow,
}

/// Installations that match a filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MatchedInstallations {
    /// Some of them.
    pub listed: Vec<InstallationRow>,
    /// The number of all.
    pub matching: u64,
}
