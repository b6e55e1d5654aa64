//! The shares of what is new: how much of a sender is in the figures, and how much of all senders is stored.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::{ClientKey, TokenBuckets};
use crate::backend::store::{Room, Spent};

/// Bounds on what is new in a day. Zero is unlimited. A whole day's may arrive at once, and comes back over a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareLimits {
    /// New installations of one client that are in the figures. Further ones are stored in bulk.
    pub installations: u32,
    /// Events of one client that are in the figures. Further ones are stored in bulk.
    pub events: u32,
    /// New installations of all clients together. Further ones are not stored.
    pub new_installations: u32,
    /// Events in bulk of all clients together. Further ones are not stored.
    pub bulk_events: u32,
    /// Values of a column in an hour. Further ones are stored as `other`.
    pub values: u32,
}

/// The amounts that each client, and all together, have added in the last day.
#[derive(Debug)]
pub(super) struct DailyShares {
    installations: TokenBuckets<ClientKey>,
    events: TokenBuckets<ClientKey>,
    new_installations: TokenBuckets<()>,
    /// The part of a day's new installations that only those that count may take.
    reserved: u32,
    bulk_events: TokenBuckets<()>,
    values: u32,
    is_full: AtomicBool,
    /// Random for each process.
    state: RandomState,
}

impl Default for ShareLimits {
    /// Returns the default shares, which docs/backend.md derives.
    fn default() -> Self {
        Self { installations: 20, events: 1_000, new_installations: 5_000, bulk_events: 200_000, values: 256 }
    }
}

impl DailyShares {
    pub(super) fn new(limits: &ShareLimits) -> Self {
        let ShareLimits { installations, events, new_installations, bulk_events, values } = limits;
        Self {
            installations: TokenBuckets::daily(*installations),
            events: TokenBuckets::daily(*events),
            new_installations: TokenBuckets::daily(*new_installations),
            reserved: new_installations / 2,
            bulk_events: TokenBuckets::daily(*bulk_events),
            values: if *values == 0 { u32::MAX } else { *values },
            is_full: AtomicBool::new(false),
            state: RandomState::new(),
        }
    }

    /// Returns a number for a client, which is another one in each process.
    pub(super) fn sender(&self, client: ClientKey) -> u64 {
        self.state.hash_one(client)
    }

    pub(super) fn room(&self, client: ClientKey, now: Instant) -> Room {
        let new_installations = self.new_installations.left(&(), now);
        Room {
            installations: self.installations.left(&client, now),
            events: self.events.left(&client, now),
            new_installations,
            new_bulk_installations: new_installations.saturating_sub(self.reserved),
            bulk_events: self.bulk_events.left(&(), now),
            values: self.values,
            is_full: self.is_full(),
            is_history: false,
        }
    }

    /// Takes what a client has added.
    pub(super) fn spend(&self, client: ClientKey, spent: Spent, now: Instant) {
        let Spent { installations, events, new_installations, bulk_events, bytes: _ } = spent;
        self.installations.charge(client, installations, now);
        self.events.charge(client, events, now);
        self.new_installations.charge((), new_installations, now);
        self.bulk_events.charge((), bulk_events, now);
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    pub(super) fn set_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::Relaxed);
    }

    pub(super) fn evict(&self, now: Instant) {
        self.installations.evict(now);
        self.events.evict(now);
        self.new_installations.evict(now);
        self.bulk_events.evict(now);
    }
}
