//! From watch events to counts and changes: a pure fold.
//!
//! The view holds one small row a control plane: what was last reported of it, and its status. Whatever happens to
//! one, the row is compared with the object, which yields the events in between. Where there is no room for them, the
//! object waits as it was last seen and is compared again later: so A→B→C becomes A→C, and what was created and
//! deleted in between vanishes. What happened while nobody watched coalesces the same way.
//!
//! Before the first complete list of a new state, and while there are more control planes than the journal holds, the
//! view only records what is there: it counts, and reports nothing.

mod counts;
mod row;
mod backlog;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use uuid::Uuid;

use backlog::{Backlog, BacklogEntry};
use row::Row;

use crate::catalog::{CreatedWith, Event, KubernetesVersion, NetworkProfile, Status};

pub use counts::Counts;
pub use row::PersistedRow;

/// A control plane as it was last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlPlane {
    /// The object's UID, which never leaves the cluster.
    pub uid: Uuid,
    /// `metadata.creationTimestamp`
    pub created: Option<Timestamp>,
    /// `metadata.deletionTimestamp`
    pub deleted: Option<Timestamp>,
    /// The desired version; `None` where it could not be read.
    pub tcp_version: Option<KubernetesVersion>,
    /// The status; `None` where it could not be read.
    pub status: Option<Status>,
    /// What only the extended signals say.
    pub with: CreatedWith,
}

/// What a watch says: a relist is `Restart`, an `Apply` for each object, and `Complete`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatcherEvent {
    /// A list from the start follows.
    Init,
    /// This object is there, like this.
    Apply(ControlPlane),
    /// The object with this UID is gone.
    Delete(Uuid),
    /// The list is complete: what it did not name is gone.
    InitDone,
}

/// An event, and when it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    pub event: Event,
}

/// What a view is told at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexOptions {
    /// A creation says what only the extended signals say.
    pub extended: bool,
    /// The most control planes that are reported of: what the journal holds.
    pub limit: usize,
}

/// A view that the fold writes and the gauges read.
pub type SharedIndex = Arc<Mutex<Index>>;

/// What a view does with what it sees, beside counting it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No complete list was seen yet: what is there is recorded.
    Recording,
    /// A complete list was recorded: what appears from here on was created.
    Reporting,
    /// There were more than the limit, and not yet well below it since: what is there is recorded.
    BeyondLimit,
}

/// Everything that is known of the control planes.
#[derive(Debug)]
pub struct Index {
    options: IndexOptions,
    rows: HashMap<Uuid, Row>,
    waiting: Backlog,
    /// Counts the lists, so that a row can say which was the last to name it.
    list: u32,
    phase: Phase,
    synced: bool,
    /// What is kept has changed without an event.
    unsaved: bool,
    coalesced: u64,
}

impl Index {
    /// Nothing is known yet.
    pub fn new(options: IndexOptions) -> Self {
        Self::restore(options, false, Vec::new())
    }

    /// What was kept is known, and nothing was seen since. `baseline` is what [`Index::has_baseline`] was.
    pub fn restore(options: IndexOptions, baseline: bool, rows: Vec<PersistedRow>) -> Self {
        Self {
            options,
            rows: rows.into_iter().map(|kept| (kept.uid, Row::restored(kept))).collect(),
            waiting: Backlog::default(),
            list: 0,
            phase: if baseline { Phase::Reporting } else { Phase::Recording },
            synced: false,
            unsaved: false,
            coalesced: 0,
        }
    }

    /// What is to outlive the process; nothing where there is no baseline.
    pub fn kept(&self) -> Vec<PersistedRow> {
        let rows = self.rows.iter().filter(|_| self.has_baseline());
        rows.filter_map(|(uid, row)| row.kept(*uid)).collect()
    }

    /// Says whether what appears is reported as created.
    pub fn has_baseline(&self) -> bool {
        self.phase == Phase::Reporting
    }

    /// Says whether there are more control planes than are reported of; `None` until a list is complete.
    pub fn is_beyond_limit(&self) -> Option<bool> {
        self.synced.then_some(self.phase == Phase::BeyondLimit)
    }

    /// Says whether what is kept has changed without an event since this was last asked.
    pub fn take_unsaved(&mut self) -> bool {
        std::mem::take(&mut self.unsaved)
    }

    /// How many states of control planes were superseded, since the start, before there was room to report them.
    pub fn coalesced(&self) -> u64 {
        self.coalesced
    }

    /// Takes in what the watch said at `now`, and yields at most `room` events, in order.
    pub fn fold(&mut self, seen: WatcherEvent, now: Timestamp, room: usize) -> Vec<Change> {
        let changes = match seen {
            WatcherEvent::Init => {
                self.synced = false;
                self.list = self.list.wrapping_add(1);
                Vec::new()
            }
            WatcherEvent::Apply(object) => self.apply(object, now, room),
            WatcherEvent::Delete(uid) => self.gone(uid, now, room),
            WatcherEvent::InitDone => self.complete(now, room),
        };
        self.heed_limit();
        changes
    }

    /// Yields at most `room` events of what there was no room for before, oldest first.
    pub fn report_waiting(&mut self, now: Timestamp, room: usize) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some((uid, object)) = self.waiting.oldest() {
            let settled = self.settle(uid, object, now, room - changes.len());
            if settled.is_empty() && self.waiting.contains(&uid) {
                break;
            }
            changes.extend(settled);
        }
        changes
    }

    /// The version and the status of one control plane, the same each time; with the extended signals, an example of
    /// what they say.
    pub fn sample(&self) -> Option<(KubernetesVersion, Status, Option<CreatedWith>)> {
        let (_, row) = self.rows.iter().min_by_key(|(uid, _)| **uid)?;
        let with = CreatedWith { cluster_api: false, network_profile: Some(NetworkProfile::LoadBalancer) };
        Some((row.reported.unwrap_or(KubernetesVersion::Unknown), row.status, self.options.extended.then_some(with)))
    }

    /// How many control planes have something to report that there was no room for.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Says whether something of `object` can't be read that could before, or that was not known before.
    pub fn is_newly_unreadable(&self, object: &ControlPlane) -> bool {
        object.is_unreadable() && !self.rows.get(&object.uid).is_some_and(|row| row.unreadable)
    }

    /// The counts; `None` before the first complete list, and from the start of a relist until its end.
    pub fn counts(&self) -> Option<Counts> {
        self.synced.then(|| self.rows.values().filter(|row| row.present).fold(Counts::default(), Counts::with))
    }

    fn apply(&mut self, object: ControlPlane, now: Timestamp, room: usize) -> Vec<Change> {
        let seen_before = self.has_baseline().then(|| self.rows.get(&object.uid)).flatten();
        let row = match seen_before {
            Some(row) => row.seen(&object, self.list),
            None if self.has_baseline() => Row::unreported().seen(&object, self.list),
            None => Row::recorded(&object).seen(&object, self.list),
        };
        self.rows.insert(object.uid, row);
        self.settle(object.uid, Some(object), now, room)
    }

    fn gone(&mut self, uid: Uuid, now: Timestamp, room: usize) -> Vec<Change> {
        if !self.has_baseline() {
            self.rows.remove(&uid);
            return Vec::new();
        }
        let Some(row) = self.rows.get_mut(&uid) else { return Vec::new() };
        row.present = false;
        self.settle(uid, None, now, room)
    }

    /// A deletion that was missed shows only as absence from a complete list.
    fn complete(&mut self, now: Timestamp, room: usize) -> Vec<Change> {
        let missed = self.rows.iter().filter(|(_, row)| row.present && row.list != self.list);
        let missed: Vec<Uuid> = missed.map(|(uid, _)| *uid).collect();
        let mut changes = Vec::new();
        for uid in missed {
            changes.extend(self.gone(uid, now, room - changes.len()));
        }
        self.synced = true;
        changes
    }

    /// Beyond the limit nothing is reported; well below it, what is there then is a new baseline. A relist may name
    /// what is new before it is known what is gone, so only complete lists are measured.
    fn heed_limit(&mut self) {
        let IndexOptions { limit, .. } = self.options;
        if !self.synced {
            return;
        }
        let bound = if self.phase == Phase::BeyondLimit { limit - limit / 10 - 1 } else { limit };
        match (self.rows.len() > bound, self.phase) {
            (true, Phase::Reporting) => self.end_baseline(),
            (true, _) => self.phase = Phase::BeyondLimit,
            (false, Phase::Reporting) => {}
            (false, _) => self.begin_baseline(),
        }
    }

    fn begin_baseline(&mut self) {
        self.phase = Phase::Reporting;
        self.unsaved = true;
    }

    /// Whatever was still to be reported is recorded instead.
    fn end_baseline(&mut self) {
        self.coalesced += self.waiting.len() as u64;
        while let Some((uid, object)) = self.waiting.oldest() {
            self.waiting.remove(&uid);
            match object {
                Some(object) => drop(self.rows.insert(uid, Row::recorded(&object).seen(&object, self.list))),
                None => drop(self.rows.remove(&uid)),
            }
        }
        for row in self.rows.values_mut() {
            row.reported.get_or_insert(KubernetesVersion::Unknown);
        }
        self.phase = Phase::BeyondLimit;
        self.unsaved = true;
    }

    /// Compares a row with its object (`None`: it is gone) and moves the row on, if there is room for all that is to
    /// be reported; otherwise the object waits, in the place it has in the queue already or else in the last.
    fn settle(&mut self, uid: Uuid, object: Option<ControlPlane>, now: Timestamp, room: usize) -> Vec<Change> {
        let Some(row) = self.rows.get_mut(&uid) else { return Vec::new() };
        let (changes, next) = row.compare(object.as_ref(), now, self.options.extended);
        let waited = if changes.len() > room { self.waiting.put(uid, object) } else { self.waiting.remove(&uid) };
        self.coalesced +=
            u64::from(waited.is_some_and(|BacklogEntry(waited)| !reports_alike(waited.as_ref(), object.as_ref())));
        if changes.len() > room {
            return Vec::new();
        }
        if let Some(next) = next {
            *row = next;
        } else {
            self.rows.remove(&uid);
            self.unsaved = true;
        }
        changes
    }
}

/// Says whether there is the same to report of an object (`None`: it is gone) in two states.
fn reports_alike(one: Option<&ControlPlane>, other: Option<&ControlPlane>) -> bool {
    let reported = |object: &ControlPlane| (object.tcp_version, object.deleted.is_some());
    one.map(reported) == other.map(reported)
}

impl ControlPlane {
    fn is_unreadable(&self) -> bool {
        self.tcp_version.is_none() || self.status.is_none()
    }
}

#[cfg(test)]
mod tests;
