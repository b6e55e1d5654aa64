//! The path of a control plane through its states, and the states that the agent must have observed.

use std::collections::BTreeSet;
use std::fmt;

use kamaji_telemetry::catalog::{KubernetesVersion, Status};

use super::{Observation, Outage, Span};
use crate::faults::history::{Life, Revision};
use crate::faults::stored::{Change, StoredEvent};

/// The state of a control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    /// The control plane does not exist yet.
    Absent,
    /// The control plane has this desired version.
    At(KubernetesVersion),
    /// The deletion has begun, or the control plane is removed.
    Ended,
}

/// A state, and the revision that led to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waypoint {
    pub(super) position: Position,
    /// The first revision with this state.
    pub(super) since: Revision,
    pub(super) visibility: Visibility,
    /// The first state after telemetry was turned on, which is not reported.
    pub(super) first: bool,
}

/// The visibility of a state to an agent that observes all commits outside the outages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visibility {
    /// The state was observed.
    Certain,
    /// The state was reached and left within one outage.
    Possible,
    /// A version that was set after the deletion had begun. It is reported as the last version only if the beginning of
    /// the deletion was missed.
    Late,
}

/// The states of a control plane, in order, for each span in which telemetry was on.
#[derive(Debug, Clone, Default)]
pub(super) struct Path {
    pub(super) waypoints: Vec<Waypoint>,
    /// The statuses that its deletion may be reported with: every earlier one, and `Unknown`.
    statuses: BTreeSet<&'static str>,
}

/// Returns the change that is reported if nothing between the two states is observed.
pub(super) fn change(from: Position, to: Waypoint) -> Option<Change> {
    match (from, to.position) {
        _ if to.first => None,
        (Position::Absent, Position::At(version)) => Some(Change::Created(version)),
        (Position::At(old), Position::At(new)) if old != new => Some(Change::Updated(old, new)),
        (Position::At(version), Position::Ended) => Some(Change::Deleted(version)),
        _ => None,
    }
}

impl Path {
    /// Returns the path of `life` under `observation`.
    pub(super) fn of(life: &Life, observation: &Observation) -> Self {
        let mut path = Self { waypoints: Vec::new(), statuses: statuses(life) };
        for span in &observation.spans {
            path.waypoints.extend(waypoints(life, *span));
        }
        let outages = merged(&observation.outages);
        for at in 0..path.waypoints.len() {
            let next = path.waypoints[at + 1..].iter().find(|next| next.visibility != Visibility::Late);
            let next = next.filter(|next| !next.first).map(|next| next.since);
            let waypoint = &mut path.waypoints[at];
            if waypoint.visibility != Visibility::Late
                && !waypoint.first
                && replaced_within(&outages, waypoint.since, next)
            {
                waypoint.visibility = Visibility::Possible;
            }
        }
        path.drop_unseen_ends(&outages);
        path
    }

    /// Removes the late versions that can't have been observed: all whose deletion did not begin in the same outage.
    fn drop_unseen_ends(&mut self, outages: &[Outage]) {
        let ends = self.waypoints.iter().filter(|waypoint| waypoint.position == Position::Ended);
        let ends: Vec<_> = ends.map(|waypoint| waypoint.since).collect();
        self.waypoints.retain(|waypoint| {
            let began = ends.iter().rev().find(|ended| **ended < waypoint.since);
            let was_seen = began.is_some_and(|began| replaced_within(outages, *began, Some(waypoint.since)));
            waypoint.visibility != Visibility::Late || was_seen
        });
    }

    /// Returns the changes that are reported if every state is observed, with their revisions.
    pub(super) fn changes(&self) -> impl Iterator<Item = (Revision, Change)> {
        let waypoints = || self.waypoints.iter().filter(|waypoint| waypoint.visibility != Visibility::Late);
        let steps = waypoints().zip(waypoints().skip(1));
        steps.filter_map(|(from, to)| Some((to.since, change(from.position, *to)?)))
    }

    /// Returns the revision of the first change after `last_outage` without its event.
    pub(super) fn first_not_in(&self, events: &[StoredEvent], last_outage: Revision) -> Option<Revision> {
        let is_stored = |change: Change| {
            // A change that occurs several times must be stored as often, since an event may be of an earlier one.
            let happened = self.changes().filter(|(_, other)| *other == change).count();
            events.iter().filter(|event| event.change == change).count() >= happened
        };
        self.changes().find(|(since, change)| *since > last_outage && !is_stored(*change)).map(|(since, _)| since)
    }

    /// Returns whether a deletion can be reported with this status.
    pub(super) fn allows(&self, event: &StoredEvent) -> bool {
        event.status.is_none_or(|status| self.statuses.contains(status.as_str()))
    }
}

/// Returns the states within one span, or none if nothing is reported of it.
fn waypoints(life: &Life, Span { baseline, end }: Span) -> Vec<Waypoint> {
    let waypoint = |position, since| Waypoint { position, since, visibility: Visibility::Certain, first: false };
    let at_baseline = life.states.iter().rev().find(|(since, _)| *since <= baseline);
    let start = match at_baseline {
        None => Position::Absent,
        Some((_, object)) if object.terminating || life.gone.is_some_and(|gone| gone <= baseline) => return Vec::new(),
        Some((_, object)) => Position::At(object.version.unwrap_or(KubernetesVersion::Unknown)),
    };
    let mut waypoints = vec![Waypoint { first: true, ..waypoint(start, baseline) }];
    let within = |since: &Revision| *since > baseline && *since <= end;
    let mut late = Vec::new();
    for (since, object) in life.states.iter().filter(|(since, _)| within(since)) {
        let Some(last) = waypoints.last().map(|waypoint| waypoint.position) else { break };
        let position = object.version.map(Position::At);
        match position {
            _ if object.terminating && last != Position::Ended => waypoints.push(waypoint(Position::Ended, *since)),
            Some(position) if object.terminating => {
                late.push(Waypoint { visibility: Visibility::Late, ..waypoint(position, *since) });
            }
            Some(position) if position != last => waypoints.push(waypoint(position, *since)),
            _ => {}
        }
    }
    let has_ended = waypoints.last().is_some_and(|last| last.position == Position::Ended);
    if let Some(gone) = life.gone.filter(within).filter(|_| !has_ended) {
        waypoints.push(waypoint(Position::Ended, gone));
    }
    // They are placed before the end, although they were set after it.
    let at = waypoints.len() - usize::from(has_ended);
    waypoints.splice(at..at, late);
    waypoints
}

fn statuses(life: &Life) -> BTreeSet<&'static str> {
    let before = life.states.iter().take_while(|(_, object)| !object.terminating);
    before.map(|(_, object)| sent(object.status)).chain(["Unknown"]).collect()
}

/// Returns the status as it is sent: one that Kamaji does not define is `Unknown`.
fn sent(status: Status) -> &'static str {
    match status {
        Status::Undefined => Status::Unknown.as_str(),
        status => status.as_str(),
    }
}

/// Merges outages that overlap.
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

/// Returns whether a state was reached and left within one outage. The last state is never left.
fn replaced_within(outages: &[Outage], since: Revision, next: Option<Revision>) -> bool {
    let Some(next) = next else { return false };
    outages.iter().any(|outage| since > outage.after && next <= outage.until)
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Waypoint { position, since, visibility, first: _ } in &self.waypoints {
            let optional = match visibility {
                Visibility::Certain => "",
                Visibility::Possible => "?",
                Visibility::Late => " late",
            };
            match position {
                Position::Absent => write!(f, "absent{optional}")?,
                Position::At(version) => write!(f, " →{since} {version}{optional}")?,
                Position::Ended => write!(f, " →{since} ended{optional}")?,
            }
        }
        Ok(())
    }
}
