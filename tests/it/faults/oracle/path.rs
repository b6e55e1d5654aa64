//! The way of one control plane, and which of its stations must have been seen.

use std::collections::BTreeSet;
use std::fmt;

use kamaji_telemetry::catalog::{KubernetesVersion, Status};

use super::{Observation, Outage, Span};
use crate::faults::history::{Life, Revision};
use crate::faults::stored::{Change, FencedJournal};

/// Where a control plane is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JournalStore {
    /// Not yet there.
    Absent,
    /// There, and to have this version.
    At(KubernetesVersion),
    /// Its deletion has begun, or it is gone.
    Ended,
}

/// A place, and when it was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Station {
    pub(super) place: JournalStore,
    /// The revision that reached it.
    pub(super) since: Revision,
    pub(super) sight: Sight,
    /// Where telemetry begins: arriving here is not reported.
    pub(super) first: bool,
}

/// Whether somebody who looks outside the outages has seen a station.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// It can't have been missed.
    Certain,
    /// It was reached and left within one outage.
    Possible,
    /// A version that it was given only when its deletion had begun, which is reported only where that beginning was
    /// missed: then it is the last version, and the first that was seen of the end.
    Late,
}

/// The stations of one control plane, in order, for each time in which telemetry was on.
#[derive(Debug, Clone, Default)]
pub(super) struct Path {
    pub(super) stations: Vec<Station>,
    /// What its deletion may be reported with: what its status ever was before, and that it is not known.
    statuses: BTreeSet<&'static str>,
}

/// What is reported when nothing between the two is seen.
pub(super) fn change(from: JournalStore, to: Station) -> Option<Change> {
    match (from, to.place) {
        _ if to.first => None,
        (JournalStore::Absent, JournalStore::At(version)) => Some(Change::Created(version)),
        (JournalStore::At(old), JournalStore::At(new)) if old != new => Some(Change::Updated(old, new)),
        (JournalStore::At(version), JournalStore::Ended) => Some(Change::Deleted(version)),
        _ => None,
    }
}

impl Path {
    /// The path of `life` as `observation` should have seen it.
    pub(super) fn of(life: &Life, observation: &Observation) -> Self {
        let mut path = Self { stations: Vec::new(), statuses: statuses(life) };
        for span in &observation.spans {
            path.stations.extend(stations(life, *span));
        }
        let outages = merged(&observation.outages);
        for at in 0..path.stations.len() {
            let next = path.stations[at + 1..].iter().find(|next| next.sight != Sight::Late);
            let next = next.filter(|next| !next.first).map(|next| next.since);
            let station = &mut path.stations[at];
            if station.sight != Sight::Late && !station.first && replaced_within(&outages, station.since, next) {
                station.sight = Sight::Possible;
            }
        }
        path.drop_unseen_ends(&outages);
        path
    }

    /// A late version was seen only if its deletion began in the outage in which it came.
    fn drop_unseen_ends(&mut self, outages: &[Outage]) {
        let ends = self.stations.iter().filter(|station| station.place == JournalStore::Ended);
        let ends: Vec<_> = ends.map(|station| station.since).collect();
        self.stations.retain(|station| {
            let began = ends.iter().rev().find(|ended| **ended < station.since);
            let was_seen = began.is_some_and(|began| replaced_within(outages, *began, Some(station.since)));
            station.sight != Sight::Late || was_seen
        });
    }

    /// What is reported when every station is seen, and the revision that it is of.
    pub(super) fn changes(&self) -> impl Iterator<Item = (Revision, Change)> {
        let stations = || self.stations.iter().filter(|station| station.sight != Sight::Late);
        let steps = stations().zip(stations().skip(1));
        steps.filter_map(|(from, to)| Some((to.since, change(from.place, *to)?)))
    }

    /// The first change after `last_outage` that is not among `events`.
    pub(super) fn first_not_in(&self, events: &[FencedJournal], last_outage: Revision) -> Option<Revision> {
        let is_stored = |change: Change| {
            // One that happened more than once may be stored for an earlier time: it must be there as often.
            let happened = self.changes().filter(|(_, other)| *other == change).count();
            events.iter().filter(|event| event.change == change).count() >= happened
        };
        self.changes().find(|(since, change)| *since > last_outage && !is_stored(*change)).map(|(since, _)| since)
    }

    /// Whether a deletion can be reported with this status.
    pub(super) fn allows(&self, event: &FencedJournal) -> bool {
        event.status.is_none_or(|status| self.statuses.contains(status.as_str()))
    }
}

/// The stations within one span; none where nothing is to be reported of it.
fn stations(life: &Life, Span { baseline, end }: Span) -> Vec<Station> {
    let station = |place, since| Station { place, since, sight: Sight::Certain, first: false };
    let at_baseline = life.states.iter().rev().find(|(since, _)| *since <= baseline);
    let start = match at_baseline {
        None => JournalStore::Absent,
        Some((_, object)) if object.terminating || life.gone.is_some_and(|gone| gone <= baseline) => return Vec::new(),
        Some((_, object)) => JournalStore::At(object.version.unwrap_or(KubernetesVersion::Unknown)),
    };
    let mut stations = vec![Station { first: true, ..station(start, baseline) }];
    let within = |since: &Revision| *since > baseline && *since <= end;
    let mut late = Vec::new();
    for (since, object) in life.states.iter().filter(|(since, _)| within(since)) {
        let Some(last) = stations.last().map(|station| station.place) else { break };
        let place = object.version.map(JournalStore::At);
        match place {
            _ if object.terminating && last != JournalStore::Ended => {
                stations.push(station(JournalStore::Ended, *since))
            }
            Some(place) if object.terminating => late.push(Station { sight: Sight::Late, ..station(place, *since) }),
            Some(place) if place != last => stations.push(station(place, *since)),
            _ => {}
        }
    }
    let has_ended = stations.last().is_some_and(|last| last.place == JournalStore::Ended);
    if let Some(gone) = life.gone.filter(within).filter(|_| !has_ended) {
        stations.push(station(JournalStore::Ended, gone));
    }
    // Before the end, though they came after it.
    let at = stations.len() - usize::from(has_ended);
    stations.splice(at..at, late);
    stations
}

fn statuses(life: &Life) -> BTreeSet<&'static str> {
    let before = life.states.iter().take_while(|(_, object)| !object.terminating);
    before.map(|(_, object)| sent(object.status)).chain(["Unknown"]).collect()
}

/// A status that Kamaji does not define leaves as `Unknown`.
fn sent(status: Status) -> &'static str {
    match status {
        Status::Undefined => Status::Unknown.as_str(),
        status => status.as_str(),
    }
}

/// Outages that overlap are one: nobody looked in between.
fn merged(outages: &[Outage]) -> Vec<Outage> {
    let mut sorted = outages.to_vec();
    sorted.sort_by_key(|outage| outage.after);
    let mut merged: Vec<Outage> = Vec::new();
    for outage in sorted {
        match merged.last_mut().filter(|last| outage.after < last.until) {
            Some(last) => last.until = last.until.max(outage.until),
            None => merged.push(outage),
        }
    }
    merged
}

/// Whether a station was reached and left within one outage. The last station was never left.
fn replaced_within(outages: &[Outage], since: Revision, next: Option<Revision>) -> bool {
    let Some(next) = next else { return false };
    outages.iter().any(|outage| since > outage.after && next <= outage.until)
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Station { place, since, sight, first: _ } in &self.stations {
            let optional = match sight {
                Sight::Certain => "",
                Sight::Possible => "?",
                Sight::Late => " late",
            };
            match place {
                JournalStore::Absent => write!(f, "absent{optional}")?,
                JournalStore::At(version) => write!(f, " →{since} {version}{optional}")?,
                JournalStore::Ended => write!(f, " →{since} ended{optional}")?,
            }
        }
        Ok(())
    }
}
