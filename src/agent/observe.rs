//! From watch events to counts and changes: a pure fold.
//!
//! The view holds one small row a control plane: what was last reported of it, and its status. Whatever happens to
//! one, the row is compared with the object, which yields the events in between. Where there is no room for them, the
//! object waits as it was last seen and is compared again later: so A→B→C becomes A→C, and what was created and
//! deleted in between vanishes. What happened while nobody watched coalesces the same way.

mod row;
mod waiting;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use uuid::Uuid;

use row::Row;
use waiting::Waiting;

use crate::signals::{CreatedWith, Event, KubernetesMinor, KubernetesVersion, NetworkProfile, State, Status};

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
pub enum Seen {
    /// A list from the start follows.
    Restart,
    /// This object is there, like this.
    Apply(ControlPlane),
    /// The object with this UID is gone.
    Gone(Uuid),
    /// The list is complete: what it did not name is gone.
    Complete,
}

/// An event, and when it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    pub event: Event,
}

/// How many control planes count as each state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// The API answers.
    pub running: u32,
    /// Scaled to zero.
    pub sleeping: u32,
    /// Does not work, or not yet.
    pub not_ready: u32,
    /// Changes its version.
    pub upgrading: u32,
    /// All of them by the minor of their desired version.
    pub by_version: BTreeMap<KubernetesMinor, u32>,
}

/// Everything that is known of the control planes.
#[derive(Debug)]
pub struct View {
    extended: bool,
    rows: HashMap<Uuid, Row>,
    waiting: Waiting,
    /// Counts the lists, so that a row can say which was the last to name it.
    list: u32,
    /// The first complete list has been seen: what appears from here on was created.
    baseline: bool,
    synced: bool,
}

impl View {
    /// Nothing is known yet. With `extended`, a creation says what only the extended signals say.
    pub fn new(extended: bool) -> Self {
        Self { extended, rows: HashMap::new(), waiting: Waiting::default(), list: 0, baseline: false, synced: false }
    }

    /// Takes in what the watch said at `now`, and yields at most `room` events, in order.
    pub fn fold(&mut self, seen: Seen, now: Timestamp, room: usize) -> Vec<Change> {
        match seen {
            Seen::Restart => {
                self.synced = false;
                self.list = self.list.wrapping_add(1);
                Vec::new()
            }
            Seen::Apply(object) => self.apply(object, now, room),
            Seen::Gone(uid) => self.gone(uid, now, room),
            Seen::Complete => self.complete(now, room),
        }
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
        Some((row.reported.unwrap_or(KubernetesVersion::Unknown), row.status, self.extended.then_some(with)))
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
        let seen_before = self.baseline.then(|| self.rows.get(&object.uid)).flatten();
        let row = match seen_before {
            Some(row) => row.seen(&object, self.list),
            None if self.baseline => Row::unreported().seen(&object, self.list),
            None => Row::recorded(&object).seen(&object, self.list),
        };
        self.rows.insert(object.uid, row);
        self.settle(object.uid, Some(object), now, room)
    }

    fn gone(&mut self, uid: Uuid, now: Timestamp, room: usize) -> Vec<Change> {
        if !self.baseline {
            self.rows.remove(&uid);
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
        self.baseline = true;
        self.synced = true;
        changes
    }

    /// Compares a row with its object (`None`: it is gone) and moves the row on, if there is room for all that is to
    /// be reported; otherwise the object waits, in the place it has in the queue already or else in the last.
    fn settle(&mut self, uid: Uuid, object: Option<ControlPlane>, now: Timestamp, room: usize) -> Vec<Change> {
        let Some(row) = self.rows.get_mut(&uid) else { return Vec::new() };
        let (changes, next) = row.compare(object.as_ref(), now, self.extended);
        if changes.len() > room {
            self.waiting.put(uid, object);
            return Vec::new();
        }
        self.waiting.remove(&uid);
        match next {
            Some(next) => *row = next,
            None => drop(self.rows.remove(&uid)),
        }
        changes
    }
}

impl ControlPlane {
    fn is_unreadable(&self) -> bool {
        self.tcp_version.is_none() || self.status.is_none()
    }
}

impl Counts {
    fn with(mut self, row: &Row) -> Self {
        let count = match row.status.state() {
            State::Running => &mut self.running,
            State::Sleeping => &mut self.sleeping,
            State::NotReady => &mut self.not_ready,
            State::Upgrading => &mut self.upgrading,
        };
        *count += 1;
        let version = row.reported.unwrap_or(KubernetesVersion::Unknown);
        *self.by_version.entry(version.to_minor()).or_default() += 1;
        self
    }
}

#[cfg(test)]
mod tests;
