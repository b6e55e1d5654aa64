//! The allowance of a sender: what it may still add today.

use std::fmt::Debug;

/// The right of a sender to add rows.
///
/// A store asks for the [`Room`] before a commit, and reports what was [`Spent`] after it: nothing is spent on rows that
/// were not stored.
pub trait Allowance: Debug + Send + Sync {
    /// Returns a number that the allowances of one sender have in common, and no others. It is never stored.
    fn sender(&self) -> u64;

    /// Returns the room of the sender.
    fn room(&self) -> Room;

    /// Takes what the sender has added.
    fn spend(&self, spent: Spent);
}

/// The amounts that may still be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The number of new installations of this sender that count. Those beyond it are stored as bulk.
    pub installations: u32,
    /// The number of events of this sender that count. Those beyond it are stored as bulk.
    pub events: u32,
    /// The number of new installations that are stored, of all senders together.
    pub new_installations: u32,
    /// The number of those up to which new installations in bulk are stored: they take no more than half of a day, so that
    /// one sender keeps no newcomer out.
    pub new_bulk_installations: u32,
    /// The number of events in bulk that are stored, of all senders together.
    pub bulk_events: u32,
    /// The number of values of a column that an hour keeps apart.
    pub values: u32,
    /// True if the store is as large as it may be: only snapshots of confirmed installations are stored.
    pub is_full: bool,
    /// True if the rows are the history of another server: they confirm no installation, change none that was received as late or
    /// later, and an event may be older than any that is accepted.
    pub is_history: bool,
}

/// The amounts that a sender has added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// The installations that began to count.
    pub installations: u32,
    /// The new events that count.
    pub events: u32,
    /// The installations that are new in the store, bulk included, and those that were in bulk and began to count.
    pub new_installations: u32,
    /// The new events in bulk.
    pub bulk_events: u32,
    /// The bytes that were written, by the estimate of the fold.
    pub bytes: u32,
}

/// The allowance of a sender without limits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unlimited;

impl Allowance for Unlimited {
    fn sender(&self) -> u64 {
        0
    }

    fn room(&self) -> Room {
        Room {
            installations: u32::MAX,
            events: u32::MAX,
            new_installations: u32::MAX,
            new_bulk_installations: u32::MAX,
            bulk_events: u32::MAX,
            values: u32::MAX,
            is_full: false,
            is_history: false,
        }
    }

    fn spend(&self, _: Spent) {}
}
