//! Whether events form a walk along a path that leaves out only stations that can have been missed.

use std::collections::HashSet;

use super::path::{Path, Sight, change};
use crate::faults::stored::{Change, FencedJournal};

/// How the events of one control plane compare with its path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// All that happened, as far as it counts.
    pub(super) changes: usize,
    pub(super) coalesced: usize,
    pub(super) missing: usize,
    pub(super) repeated: usize,
    pub(super) invented: usize,
}

/// Compares them. Where no walk fits, they are counted against the one that fits best.
pub(super) fn compare(path: &Path, events: &[FencedJournal]) -> Tally {
    let (possible, impossible): (Vec<&FencedJournal>, Vec<&FencedJournal>) =
        events.iter().partition(|event| path.allows(event));
    let stored: Vec<Change> = possible.iter().map(|event| event.change).collect();
    let mut tally = match Search::new(path, &stored).fits() {
        Some(late) => {
            let changes = path.changes().count() + late;
            Tally { changes, coalesced: changes - stored.len(), ..Tally::default() }
        }
        None => against(path, &best(path, &stored), stored),
    };
    tally.invented += impossible.len();
    tally
}

/// What is reported by somebody who sees some of the stations.
#[derive(Debug, Default)]
struct Walk {
    steps: Vec<Change>,
    /// How many of those stations are late.
    late: usize,
}

/// Looks for a walk that uses every event once.
struct Search<'a> {
    path: &'a Path,
    /// The different events, and how many of each are left.
    kinds: Vec<Change>,
    left: Vec<usize>,
    /// Where it was in vain: the same events can be left after different walks.
    in_vain: HashSet<(usize, Vec<usize>)>,
}

impl<'a> Search<'a> {
    fn new(path: &'a Path, stored: &[Change]) -> Self {
        let mut kinds = stored.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        let left = kinds.iter().map(|kind| stored.iter().filter(|change| *change == kind).count()).collect();
        Self { path, kinds, left, in_vain: HashSet::new() }
    }

    /// `None` where no walk fits, or how many late stations are on it.
    fn fits(&mut self) -> Option<usize> {
        if self.path.stations.is_empty() {
            return self.kinds.is_empty().then_some(0);
        }
        self.goes_on_from(0)
    }

    fn goes_on_from(&mut self, at: usize) -> Option<usize> {
        if at + 1 == self.path.stations.len() {
            return self.left.iter().all(|left| *left == 0).then_some(0);
        }
        if self.in_vain.contains(&(at, self.left.clone())) {
            return None;
        }
        for next in next_stations(self.path, at) {
            let step = change(self.path.stations[at].place, self.path.stations[next]);
            let Some(used) = self.take(step) else { continue };
            if let Some(late) = self.goes_on_from(next) {
                return Some(late + usize::from(self.path.stations[next].sight == Sight::Late));
            }
            if let Some(kind) = used {
                self.left[kind] += 1;
            }
        }
        self.in_vain.insert((at, self.left.clone()));
        None
    }

    /// Uses one event for a step, or none where the step is not reported; `None` where there is no such event left.
    #[expect(clippy::option_option, reason = "a step that is not reported needs no event")]
    fn take(&mut self, step: Option<Change>) -> Option<Option<usize>> {
        let Some(step) = step else { return Some(None) };
        let kind = self.kinds.binary_search(&step).ok().filter(|kind| self.left[*kind] > 0)?;
        self.left[kind] -= 1;
        Some(Some(kind))
    }
}

/// The stations that can be the next one that is seen: up to the first that can't have been missed. Of the late ones
/// there is one at the most, since the end is seen with it.
fn next_stations(path: &Path, at: usize) -> impl Iterator<Item = usize> {
    let stations = &path.stations;
    let certain = (at + 1..stations.len()).find(|next| stations[*next].sight == Sight::Certain);
    let was_late = stations[at].sight == Sight::Late;
    let next = at + 1..=certain.unwrap_or(stations.len() - 1);
    next.filter(move |next| !was_late || stations[*next].sight != Sight::Late)
}

/// The walk that uses the most of what is stored with the fewest steps that are not; of those, the one that leaves out
/// the fewest stations.
fn best(path: &Path, stored: &[Change]) -> Walk {
    let mut walk = Walk::default();
    let stations = path.stations.len();
    if stations == 0 {
        return walk;
    }
    // From each station to the end: what is against the walk, stations left out, and the next station.
    let mut onward = vec![(0_isize, 0, 0); stations];
    for at in (0..stations - 1).rev() {
        let cost = |next: usize| {
            // What is stored is most probably true, and the rest yet to come.
            let against = match change(path.stations[at].place, path.stations[next]) {
                None => 0,
                Some(step) if stored.contains(&step) => -2,
                Some(_) => 1,
            };
            let (onward_against, left_out, _) = onward[next];
            (onward_against + against, left_out + next - at - 1, next)
        };
        onward[at] = next_stations(path, at).map(cost).min().expect("there is a next station");
    }
    let (mut at, mut from) = (0, path.stations[0].place);
    while at + 1 < stations {
        at = onward[at].2;
        walk.steps.extend(change(from, path.stations[at]));
        walk.late += usize::from(path.stations[at].sight == Sight::Late);
        from = path.stations[at].place;
    }
    walk
}

/// Counts what is stored against one walk.
fn against(path: &Path, walk: &Walk, mut stored: Vec<Change>) -> Tally {
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
    Tally { changes, coalesced, missing, repeated, invented: stored.len() - repeated }
}
