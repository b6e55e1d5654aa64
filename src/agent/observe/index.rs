//! The index of control planes, and the fold of watch events into it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use uuid::Uuid;

use super::backlog::{Backlog, BacklogEntry};
use super::control_plane::{ControlPlane, WatcherEvent};
use super::counts::Counts;
use super::row::{Change, PersistedRow, Row};
use crate::catalog::{ExtendedAttributes, KubernetesVersion, NetworkProfile, Status};

/// The settings of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexOptions {
    /// Adds the attributes of the extended signals to each creation.
    pub extended: bool,
    /// The maximum number of control planes that are reported on: what the journal holds.
    pub limit: usize,
}

/// An index that the fold writes and the gauges read.
pub type SharedIndex = Arc<Mutex<Index>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No list was complete yet. Control planes are recorded without being reported.
    Recording,
    /// A complete list is the baseline. Control planes that appear after it are reported as created.
    Reporting,
    /// The limit was exceeded, and the number has not fallen well below it since. Control planes are recorded without
    /// being reported.
    BeyondLimit,
}

/// The state of all control planes.
#[derive(Debug)]
pub struct Index {
    options: IndexOptions,
    rows: HashMap<Uuid, Row>,
    backlog: Backlog,
    /// The number of the current or last list. Rows with another number were not in it.
    list_generation: u32,
    phase: Phase,
    synced: bool,
    /// True if the persisted part has changed without an event.
    dirty: bool,
    coalesced: u64,
}

impl Index {
    /// Creates an empty index without a baseline.
    pub fn new(options: IndexOptions) -> Self {
        Self::restore(options, false, Vec::new())
    }

    /// Restores an index from the values of [`Index::has_baseline`] and [`Index::persisted_rows`]. It is not synced
    /// until the next list is complete.
    pub fn restore(options: IndexOptions, baseline: bool, rows: Vec<PersistedRow>) -> Self {
        Self {
            options,
            rows: rows.into_iter().map(|row| (row.uid, Row::from_persisted(row))).collect(),
            backlog: Backlog::default(),
            list_generation: 0,
            phase: if baseline { Phase::Reporting } else { Phase::Recording },
            synced: false,
            dirty: false,
            coalesced: 0,
        }
    }

    /// Returns the rows that outlive the process, in no order. There are none without a baseline.
    pub fn persisted_rows(&self) -> Vec<PersistedRow> {
        let rows = self.rows.iter().filter(|_| self.has_baseline());
        rows.filter_map(|(uid, row)| row.to_persisted(*uid)).collect()
    }

    /// Returns whether control planes that appear are reported as created.
    pub fn has_baseline(&self) -> bool {
        self.phase == Phase::Reporting
    }

    /// Returns whether there are more control planes than are reported on, or `None` while no list is complete.
    pub fn is_beyond_limit(&self) -> Option<bool> {
        self.synced.then_some(self.phase == Phase::BeyondLimit)
    }

    /// Returns whether the persisted part has changed without an event since the last call.
    pub fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.dirty)
    }

    /// Returns how many states of control planes were superseded before the outbox had room for them, since the index
    /// was created.
    pub fn coalesced(&self) -> u64 {
        self.coalesced
    }

    /// Applies an event of the watch that was received at `now`, and returns at most `remaining_capacity` changes, in
    /// order. Further changes go to the backlog.
    pub fn fold(&mut self, event: WatcherEvent, now: Timestamp, remaining_capacity: usize) -> Vec<Change> {
        let changes = match event {
            WatcherEvent::Init => {
                self.synced = false;
                self.list_generation = self.list_generation.wrapping_add(1);
                Vec::new()
            }
            WatcherEvent::Apply(object) => self.apply(object, now, remaining_capacity),
            WatcherEvent::Delete(uid) => self.delete(uid, now, remaining_capacity),
            WatcherEvent::InitDone => self.finish_list(now, remaining_capacity),
            // What is known stays as it is, and is brought up to date by what follows.
            WatcherEvent::Interrupted | WatcherEvent::Resumed => Vec::new(),
        };
        self.enforce_limit();
        changes
    }

    /// Returns at most `remaining_capacity` changes of the backlog, oldest first.
    pub fn report_backlog(&mut self, now: Timestamp, remaining_capacity: usize) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some((uid, object)) = self.backlog.oldest() {
            let reported = self.reconcile(uid, object, now, remaining_capacity - changes.len());
            // Still queued: its changes exceed the remaining capacity.
            if reported.is_empty() && self.backlog.contains(&uid) {
                break;
            }
            changes.extend(reported);
        }
        changes
    }

    /// Returns the number of control planes in the backlog.
    pub fn backlog_len(&self) -> usize {
        self.backlog.len()
    }

    /// Returns the version and the status of one control plane, and an example of the attributes of the extended
    /// signals if those are on. The same control plane is chosen each time.
    pub fn sample(&self) -> Option<(KubernetesVersion, Status, Option<ExtendedAttributes>)> {
        let (_, row) = self.rows.iter().min_by_key(|(uid, _)| **uid)?;
        let extended = ExtendedAttributes { cluster_api: false, network_profile: Some(NetworkProfile::LoadBalancer) };
        Some((
            row.reported.unwrap_or(KubernetesVersion::Unknown),
            row.status,
            self.options.extended.then_some(extended),
        ))
    }

    /// Returns whether `object` has become unreadable, or is unreadable and new.
    pub fn is_newly_unreadable(&self, object: &ControlPlane) -> bool {
        object.is_unreadable() && !self.rows.get(&object.uid).is_some_and(|row| row.unreadable)
    }

    /// Returns the counts, or `None` before the first complete list and during a relist.
    pub fn counts(&self) -> Option<Counts> {
        self.synced.then(|| self.rows.values().filter(|row| row.present).fold(Counts::default(), Counts::add))
    }

    fn apply(&mut self, object: ControlPlane, now: Timestamp, remaining_capacity: usize) -> Vec<Change> {
        let known = self.has_baseline().then(|| self.rows.get(&object.uid)).flatten();
        let row = match known {
            Some(row) => row.with_status_of(&object, self.list_generation),
            None if self.has_baseline() => Row::unreported().with_status_of(&object, self.list_generation),
            None => Row::recorded(&object).with_status_of(&object, self.list_generation),
        };
        self.rows.insert(object.uid, row);
        self.reconcile(object.uid, Some(object), now, remaining_capacity)
    }

    fn delete(&mut self, uid: Uuid, now: Timestamp, remaining_capacity: usize) -> Vec<Change> {
        if !self.has_baseline() {
            self.rows.remove(&uid);
            return Vec::new();
        }
        let Some(row) = self.rows.get_mut(&uid) else { return Vec::new() };
        row.present = false;
        self.reconcile(uid, None, now, remaining_capacity)
    }

    /// Deletes the rows that the list did not contain: a deletion during an outage of the watch shows in no other way.
    fn finish_list(&mut self, now: Timestamp, remaining_capacity: usize) -> Vec<Change> {
        let missing = self.rows.iter().filter(|(_, row)| row.present && row.list_generation != self.list_generation);
        let missing: Vec<Uuid> = missing.map(|(uid, _)| *uid).collect();
        let mut changes = Vec::new();
        for uid in missing {
            changes.extend(self.delete(uid, now, remaining_capacity - changes.len()));
        }
        self.synced = true;
        changes
    }

    /// Stops reporting above the limit, and begins again with a new baseline when the number has fallen a tenth below
    /// it. The distance keeps a number that varies around the limit from discarding the baseline again and again.
    fn enforce_limit(&mut self) {
        let IndexOptions { limit, .. } = self.options;
        // A relist may add new objects before the missing ones are removed, so only complete lists are measured.
        if !self.synced {
            return;
        }
        let max_rows = if self.phase == Phase::BeyondLimit { limit - limit / 10 - 1 } else { limit };
        match (self.rows.len() > max_rows, self.phase) {
            (true, Phase::Reporting) => self.discard_baseline(),
            (true, _) => self.phase = Phase::BeyondLimit,
            (false, Phase::Reporting) => {}
            (false, _) => self.begin_reporting(),
        }
    }

    fn begin_reporting(&mut self) {
        self.phase = Phase::Reporting;
        self.dirty = true;
    }

    /// Stops reporting. Changes in the backlog are recorded instead.
    fn discard_baseline(&mut self) {
        self.coalesced += self.backlog.len() as u64;
        while let Some((uid, object)) = self.backlog.oldest() {
            self.backlog.remove(&uid);
            match object {
                Some(object) => {
                    self.rows.insert(uid, Row::recorded(&object).with_status_of(&object, self.list_generation));
                }
                None => {
                    self.rows.remove(&uid);
                }
            }
        }
        for row in self.rows.values_mut() {
            row.reported.get_or_insert(KubernetesVersion::Unknown);
        }
        self.phase = Phase::BeyondLimit;
        self.dirty = true;
    }

    /// Compares the row of a control plane with its object; `None` stands for one that is gone.
    ///
    /// Returns all changes and updates the row if they fit into `remaining_capacity`. Otherwise the object goes to the
    /// backlog, where it keeps the position that it may already have.
    fn reconcile(
        &mut self,
        uid: Uuid,
        object: Option<ControlPlane>,
        now: Timestamp,
        remaining_capacity: usize,
    ) -> Vec<Change> {
        let Some(row) = self.rows.get_mut(&uid) else { return Vec::new() };
        let (changes, next) = row.compare(object.as_ref(), now, self.options.extended);
        let superseded = if changes.len() > remaining_capacity {
            self.backlog.upsert(uid, object)
        } else {
            self.backlog.remove(&uid)
        };
        self.coalesced +=
            u64::from(superseded.is_some_and(|BacklogEntry(queued)| !is_same_report(queued.as_ref(), object.as_ref())));
        if changes.len() > remaining_capacity {
            return Vec::new();
        }
        if let Some(next) = next {
            *row = next;
        } else {
            self.rows.remove(&uid);
            self.dirty = true;
        }
        changes
    }
}

/// Returns whether two states of an object yield the same report; `None` stands for an object that is gone.
fn is_same_report(one: Option<&ControlPlane>, other: Option<&ControlPlane>) -> bool {
    let reported = |object: &ControlPlane| (object.tcp_version, object.deleted.is_some());
    one.map(reported) == other.map(reported)
}

#[cfg(test)]
mod tests;
