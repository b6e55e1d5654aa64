//! What a store gives up: by age, and on request.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// Up to where [`Store::prune`](super::Store::prune) deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cutoffs {
    /// Events before it lose everything but their uid and their hour.
    pub events: Timestamp,
    /// Events before it lose that too. No later than `events`, and no later than the oldest event that is accepted: a
    /// repeat of one that was forgotten would be stored again.
    pub uids: Timestamp,
    /// The first day that is kept, with the installations that were seen since.
    pub days: Date,
}

/// How much [`Store::prune`](super::Store::prune) deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Events, whether their uids are still known or not.
    pub events: u64,
    /// Uids of events that had been deleted before.
    pub uids: u64,
    /// Days of installations.
    pub days: u64,
    /// Points of extended gauges.
    pub dimensions: u64,
    /// Installations that were not seen since.
    pub installations: u64,
}

/// What [`Store::erase`](super::Store::erase) deleted of an installation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    /// Whether there was a latest state of it.
    pub latest: bool,
    /// Its days.
    pub days: u64,
    /// Its points of extended gauges.
    pub dimensions: u64,
}
