//! The comparison of events with a path: they must form a walk that skips only states that can have been missed.

use std::collections::HashSet;

use super::path::{Path, Visibility, change};
use crate::faults::stored::{Change, StoredEvent};

/// The result of comparing the events of a control plane with its path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    /// The changes that must be reported.
    pub(super) changes: usize,
    pub(super) coalesced: usize,
    pub(super) missing: usize,
    pub(super) repeated: usize,
    pub(super) invented: usize,
}

/// Compares events with a path. If no walk fits, they are counted against the walk that fits best.
pub(super) fn compare(path: &Path, events: &[StoredEvent]) -> Comparison {
    let (possible, impossible): (Vec<&StoredEvent>, Vec<&StoredEvent>) =
        events.iter().partition(|event| path.allows(event));
    let stored: Vec<Change> = possible.iter().map(|event| event.change).collect();
    let mut comparison = match Search::new(path, &stored).fits() {
        Some(late) => {
            let changes = path.changes().count() + late;
            Comparison { changes, coalesced: changes - stored.len(), ..Comparison::default() }
        }
        None => against(path, &best(path, &stored), stored),
    };
    comparison.invented += impossible.len();
    comparison
}

/// The changes that are reported if some of the states are observed.
#[derive(Debug, Default)]
struct Walk {
    steps: Vec<Change>,
    /// The number of late versions among those states.
    late: usize,
}

/// A search for a walk that uses every event once.
struct Search<'a> {
    path: &'a Path,
    /// The distinct events; `left` has the number of unused events of each.
    kinds: Vec<Change>,
    left: Vec<usize>,
    /// The positions and unused events from which no walk fits. Different walks can lead to the same.
    dead_ends: HashSet<(usize, Vec<usize>)>,
}

impl<'a> Search<'a> {
    fn new(path: &'a Path, stored: &[Change]) -> Self {
        let mut kinds = stored.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        let left = kinds.iter().map(|kind| stored.iter().filter(|change| *change == kind).count()).collect();
        Self { path, kinds, left, dead_ends: HashSet::new() }
    }

    /// Returns the number of late versions on a walk that fits, or `None` if none does.
    fn fits(&mut self) -> Option<usize> {
        if self.path.waypoints.is_empty() {
            return self.kinds.is_empty().then_some(0);
        }
        self.goes_on_from(0)
    }

    fn goes_on_from(&mut self, at: usize) -> Option<usize> {
        if at + 1 == self.path.waypoints.len() {
            return self.left.iter().all(|left| *left == 0).then_some(0);
        }
        if self.dead_ends.contains(&(at, self.left.clone())) {
            return None;
        }
        for next in next_stations(self.path, at) {
            let step = change(self.path.waypoints[at].position, self.path.waypoints[next]);
            let Some(used) = self.take(step) else { continue };
            if let Some(late) = self.goes_on_from(next) {
                return Some(late + usize::from(self.path.waypoints[next].visibility == Visibility::Late));
            }
            if let Some(kind) = used {
                self.left[kind] += 1;
            }
        }
        self.dead_ends.insert((at, self.left.clone()));
        None
    }

    /// Uses an event for a step, unless the step is not reported. Returns `None` if no such event is left.
    #[expect(clippy::option_option, reason = "a step that is not reported needs no event")]
    fn take(&mut self, step: Option<Change>) -> Option<Option<usize>> {
        let Some(step) = step else { return Some(None) };
        let kind = self.kinds.binary_search(&step).ok().filter(|kind| self.left[*kind] > 0)?;
        self.left[kind] -= 1;
        Some(Some(kind))
    }
}

/// Returns the states that can be observed next, up to the first that can't have been missed. At most one of them is
/// late, since the end of the control plane is observed with it.
fn next_stations(path: &Path, at: usize) -> impl Iterator<Item = usize> {
    let waypoints = &path.waypoints;
    let certain = (at + 1..waypoints.len()).find(|next| waypoints[*next].visibility == Visibility::Certain);
    let was_late = waypoints[at].visibility == Visibility::Late;
    let next = at + 1..=certain.unwrap_or(waypoints.len() - 1);
    next.filter(move |next| !was_late || waypoints[*next].visibility != Visibility::Late)
}

/// Returns the walk that uses the most stored events with the fewest steps that are not stored, and among those, the
/// walk that skips the fewest states.
fn best(path: &Path, stored: &[Change]) -> Walk {
    let mut walk = Walk::default();
    let waypoints = path.waypoints.len();
    if waypoints == 0 {
        return walk;
    }
    // From each waypoint to the end: what is against the walk, waypoints left out, and the next waypoint.
    let mut onward = vec![(0_isize, 0, 0); waypoints];
    for at in (0..waypoints - 1).rev() {
        let cost = |next: usize| {
            // What is stored is most probably true, and the rest yet to come.
            let against = match change(path.waypoints[at].position, path.waypoints[next]) {
                None => 0,
                Some(step) if stored.contains(&step) => -2,
                Some(_) => 1,
            };
            let (onward_against, left_out, _) = onward[next];
            (onward_against + against, left_out + next - at - 1, next)
        };
        onward[at] = next_stations(path, at).map(cost).min().expect("there is a next waypoint");
    }
    let (mut at, mut from) = (0, path.waypoints[0].position);
    while at + 1 < waypoints {
        at = onward[at].2;
        walk.steps.extend(change(from, path.waypoints[at]));
        walk.late += usize::from(path.waypoints[at].visibility == Visibility::Late);
        from = path.waypoints[at].position;
    }
    walk
}

/// Compares stored events with one walk.
fn against(path: &Path, walk: &Walk, mut stored: Vec<Change>) -> Comparison {
    let changes = path.changes().count() + walk.late;
    let coalesced = changes - walk.steps.len();
    let mut missing = 0;
    for step in &walk.steps {
        match stored.iter().position(|change| change == step) {
            Some(at) => drop(stored.swap_remove(at)),
            None => missing += 1,
        }
    }
    // What is left over is of no use: it either happened, and is there already, or it never did.
    let repeated = stored.iter().filter(|change| walk.steps.contains(change)).count();
    Comparison { changes, coalesced, missing, repeated, invented: stored.len() - repeated }
}
