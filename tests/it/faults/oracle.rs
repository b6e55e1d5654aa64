//! Judges what was stored by what truly happened: a pure function from a history, what the harness did meanwhile, and
//! the stored events, to a report.
//!
//! For each control plane the stored events must be a coalescing of its history: `created` first if and only if it
//! was born after the baseline, each `old` equal to the `new` before it, the last equal to the end, one `deleted`. Only
//! what a later state replaced within one outage may be missing; the rest is exact.
//!
//! FencedJournal events name no object. Whose they are is in their versions: control plane number i has the minor i and no
//! other, so each belongs to one life, and within a life they must form a walk through its versions.

mod path;
mod walk;

use std::collections::BTreeMap;
use std::fmt;

use kamaji_telemetry::catalog::KubernetesVersion;
use uuid::Uuid;

use super::history::{History, Life, Revision};
use super::stored::{Change, FencedJournal};
use path::Path;
use walk::Tally;

/// What the harness did, in etcd's revisions.
#[derive(Debug, Clone, Default)]
pub(super) struct Observation {
    /// When telemetry was on, in order.
    pub(super) spans: Vec<Span>,
    /// When the agent could not see every state.
    pub(super) outages: Vec<Outage>,
}

/// A time in which telemetry was on: what was committed after its baseline is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// What was there by then is not reported as created.
    pub(super) baseline: Revision,
    /// What was committed after this is not reported.
    pub(super) end: Revision,
}

/// A time in which the agent was down, cut off, or at its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outage {
    /// What was committed by then had been seen.
    pub(super) after: Revision,
    /// What was committed after this was seen again, and so was the state at this revision.
    pub(super) until: Revision,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// Lifecycle changes that truly happened while telemetry was on.
    pub(super) changes: usize,
    /// EventExporter that the backend holds.
    pub(super) stored: usize,
    /// Changes that an outage made one of, or none.
    pub(super) coalesced: usize,
    /// Changes that should be stored, and aren't.
    pub(super) missing: usize,
    /// EventExporter of what is stored already.
    pub(super) repeated: usize,
    /// EventExporter of what never happened.
    pub(super) invented: usize,
    /// The first findings, in words.
    pub(super) findings: Vec<String>,
}

/// How many findings are put into words.
const FINDINGS: usize = 10;

impl Observation {
    /// Telemetry is on from `baseline` on, for good.
    pub(super) fn since(baseline: Revision) -> Self {
        Self { spans: vec![Span { baseline, end: Revision::MAX }], outages: Vec::new() }
    }

    /// Judges `stored` by `history`.
    pub(super) fn judge(&self, history: &History, stored: &[FencedJournal]) -> Report {
        let mut of_number = by_number(stored);
        let mut report = Report { stored: stored.len(), ..Report::default() };
        for life in &history.lives {
            let path = Path::of(life, self);
            let events = of_number.remove(&number(life)).unwrap_or_default();
            report.add(life.uid, &path, &events);
        }
        for (number, events) in of_number {
            report.invented += events.len();
            report.find(|| format!("number {number} never lived: {}", listed(&events)));
        }
        report
    }

    /// The last revision up to which all that happened since the last outage is stored: an outage that begins now
    /// begins there, because what was committed later may not have been seen.
    pub(super) fn settled(&self, history: &History, stored: &[FencedJournal]) -> Revision {
        let of_number = by_number(stored);
        let last_outage = self.outages.iter().map(|outage| outage.until).max().unwrap_or_default();
        let missing = history.lives.iter().filter_map(|life| {
            let events = of_number.get(&number(life)).map_or(&[][..], Vec::as_slice);
            Path::of(life, self).first_not_in(events, last_outage)
        });
        missing.min().map_or(history.last, |revision| revision - 1)
    }
}

impl Report {
    /// Nothing missing, repeated or invented.
    pub(super) fn is_clean(&self) -> bool {
        self.missing + self.repeated + self.invented == 0
    }

    /// What `later` says more than this one.
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

    fn add(&mut self, uid: Uuid, path: &Path, events: &[FencedJournal]) {
        let Tally { changes, coalesced, missing, repeated, invented } = walk::compare(path, events);
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
        if self.findings.len() < FINDINGS {
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

fn listed(events: &[FencedJournal]) -> String {
    let events: Vec<_> = events.iter().map(ToString::to_string).collect();
    if events.is_empty() { "nothing".to_owned() } else { events.join(", ") }
}

/// The number of what has no version that can be read. There is one such control plane at the most.
const UNREADABLE: u16 = 0;

/// Which control plane a version belongs to.
fn number_of(version: KubernetesVersion) -> Option<u16> {
    match version {
        KubernetesVersion::Unknown => None,
        KubernetesVersion::Release(release) => Some(release.minor),
    }
}

/// The number of a life.
fn number(life: &Life) -> u16 {
    let mut numbers = life.states.iter().filter_map(|(_, object)| object.version.and_then(number_of));
    let Some(first) = numbers.next() else { return UNREADABLE };
    assert!(numbers.all(|number| number == first), "a control plane keeps its number: {life:?}");
    first
}

/// The events of each control plane.
fn by_number(stored: &[FencedJournal]) -> BTreeMap<u16, Vec<FencedJournal>> {
    let mut of_number = BTreeMap::<u16, Vec<FencedJournal>>::new();
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
