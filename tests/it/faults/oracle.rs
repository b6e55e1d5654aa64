//! Compares the stored events with the recorded history. It is a pure function of the history, the outages and the
//! stored events.
//!
//! For each control plane, the stored events must be a coalesced form of its history. `created` is the first if and
//! only if the control plane was created after the baseline, each `old` version equals the `new` one before it, the
//! last version equals the final one, and there is one `deleted`. Only a state that was replaced within one outage may
//! be missing.
//!
//! Stored events do not name an object. Their versions identify it: control plane number i has only versions with the
//! minor i. The events of a life must form a walk through its versions.

mod path;
mod walk;

use std::collections::BTreeMap;
use std::fmt;

use kamaji_telemetry::catalog::KubernetesVersion;
use uuid::Uuid;

use super::history::{History, Life, Revision};
use super::stored::{Change, StoredEvent};
use path::Path;
use walk::Comparison;

/// The actions of the tests that affect the agent, in revisions of etcd.
#[derive(Debug, Clone, Default)]
pub(super) struct Observation {
    /// The spans in which telemetry was on, in order.
    pub(super) spans: Vec<Span>,
    /// The outages, in which the agent could miss states.
    pub(super) outages: Vec<Outage>,
    /// The events of histories that a restore has undone. They were true when they were stored.
    pub(super) undone: Vec<StoredEvent>,
}

/// A span in which telemetry was on. Commits after its baseline are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Control planes that exist at this revision are not reported as created.
    pub(super) baseline: Revision,
    /// Commits after this revision are not reported.
    pub(super) end: Revision,
}

/// An outage, in which the agent was down, disconnected, or at the limit of its outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outage {
    /// Commits up to this revision were observed.
    pub(super) after: Revision,
    /// The state at this revision was observed, and every commit after it.
    pub(super) until: Revision,
}

/// The result of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// Lifecycle changes in the history while telemetry was on.
    pub(super) changes: usize,
    /// Stored events.
    pub(super) stored: usize,
    /// Changes that were coalesced with others by an outage.
    pub(super) coalesced: usize,
    /// Changes without their stored event.
    pub(super) missing: usize,
    /// Stored events that repeat another.
    pub(super) repeated: usize,
    /// Stored events without a change.
    pub(super) invented: usize,
    /// Descriptions of the first findings.
    pub(super) findings: Vec<String>,
}

/// The largest number of findings that are described.
const MAX_FINDINGS: usize = 10;

impl Observation {
    /// Returns an observation with telemetry on from `baseline` on.
    pub(super) fn since(baseline: Revision) -> Self {
        Self { spans: vec![Span { baseline, end: Revision::MAX }], ..Self::default() }
    }

    /// Records that etcd was restored to `backup`, and that `undone` was stored of what followed the backup. The history
    /// is from now on the one up to the backup and what follows the restore.
    pub(super) fn restore(&mut self, backup: Revision, undone: Vec<StoredEvent>) {
        self.undone.extend(undone);
        for outage in &mut self.outages {
            *outage = Outage { after: outage.after.min(backup), until: outage.until.min(backup) };
        }
    }

    /// Compares `stored` with `history`.
    pub(super) fn compare(&self, history: &History, stored: &[StoredEvent]) -> Report {
        let stored = &without(stored, &self.undone);
        let mut of_number = by_number(stored);
        let mut report = Report { stored: stored.len(), ..Report::default() };
        for life in &history.lives {
            let path = Path::of(life, self);
            let events = of_number.remove(&number(life)).unwrap_or_default();
            report.add(life.uid, &path, &events);
        }
        for (number, events) in of_number {
            report.invented += events.len();
            report.find(|| format!("number {number} never existed: {}", listed(&events)));
        }
        report
    }

    /// Returns the last revision up to which every change since the last outage is stored. An outage that begins now
    /// begins there, because later commits may not have been observed.
    pub(super) fn delivered_until(&self, history: &History, stored: &[StoredEvent]) -> Revision {
        let of_number = by_number(&without(stored, &self.undone));
        let last_outage = self.outages.iter().map(|outage| outage.until).max().unwrap_or_default();
        let missing = history.lives.iter().filter_map(|life| {
            let events = of_number.get(&number(life)).map_or(&[][..], Vec::as_slice);
            Path::of(life, self).first_not_in(events, last_outage)
        });
        missing.min().map_or(history.last, |revision| revision - 1)
    }
}

impl Report {
    /// Returns whether nothing is missing, repeated or invented.
    pub(super) fn is_clean(&self) -> bool {
        self.missing + self.repeated + self.invented == 0
    }

    /// Returns the difference of the counts of `later` and this report.
    pub(super) fn until(self, later: &Self) -> Self {
        Self {
            changes: later.changes - self.changes,
            stored: later.stored - self.stored,
            coalesced: later.coalesced - self.coalesced,
            missing: later.missing - self.missing,
            repeated: later.repeated - self.repeated,
            invented: later.invented - self.invented,
            findings: later.findings.clone(),
        }
    }

    fn add(&mut self, uid: Uuid, path: &Path, events: &[StoredEvent]) {
        let Comparison { changes, coalesced, missing, repeated, invented } = walk::compare(path, events);
        self.changes += changes;
        self.coalesced += coalesced;
        self.missing += missing;
        self.repeated += repeated;
        self.invented += invented;
        if missing + repeated + invented > 0 {
            self.find(|| format!("{uid}: {path} is stored as {}", listed(events)));
        }
    }

    fn find(&mut self, finding: impl FnOnce() -> String) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding());
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { changes, stored, coalesced, missing, repeated, invented, findings: _ } = self;
        write!(
            f,
            "changes {changes}, stored {stored}, coalesced {coalesced}, missing {missing}, repeated {repeated}, \
             invented {invented}"
        )
    }
}

/// Returns `stored` without `events`, each of which is removed once.
pub(super) fn without(stored: &[StoredEvent], events: &[StoredEvent]) -> Vec<StoredEvent> {
    let mut rest = stored.to_vec();
    for event in events {
        if let Some(at) = rest.iter().position(|other| other == event) {
            rest.swap_remove(at);
        }
    }
    rest
}

fn listed(events: &[StoredEvent]) -> String {
    let events: Vec<_> = events.iter().map(ToString::to_string).collect();
    if events.is_empty() { "nothing".to_owned() } else { events.join(", ") }
}

/// The number of a control plane without a readable version. A test has at most one.
const UNREADABLE: u16 = 0;

/// Returns the number of the control plane that a version belongs to.
fn number_of(version: KubernetesVersion) -> Option<u16> {
    match version {
        KubernetesVersion::Unknown | KubernetesVersion::Other => None,
        KubernetesVersion::Release(release) => Some(release.minor),
    }
}

/// Returns the number of a control plane.
fn number(life: &Life) -> u16 {
    let mut numbers = life.states.iter().filter_map(|(_, object)| object.version.and_then(number_of));
    let Some(first) = numbers.next() else { return UNREADABLE };
    assert!(numbers.all(|number| number == first), "a control plane keeps its number: {life:?}");
    first
}

/// Groups events by the number of their control plane.
fn by_number(stored: &[StoredEvent]) -> BTreeMap<u16, Vec<StoredEvent>> {
    let mut of_number = BTreeMap::<u16, Vec<StoredEvent>>::new();
    for event in stored {
        let number = match event.change {
            Change::Created(version) | Change::Deleted(version) => number_of(version),
            Change::Updated(old, new) => number_of(new).or(number_of(old)),
        };
        of_number.entry(number.unwrap_or(UNREADABLE)).or_default().push(*event);
    }
    of_number
}

#[cfg(test)]
mod tests;
