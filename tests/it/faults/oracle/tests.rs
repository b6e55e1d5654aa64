use proptest::prelude::*;

use super::*;
use crate::faults::history::Object;
use crate::faults::stored::Change::{Created, Deleted, Updated};
use kamaji_telemetry::catalog::Status;

/// Version v1.{number}.{patch}.
fn v(number: u16, patch: u16) -> KubernetesVersion {
    format!("v1.{number}.{patch}").parse().unwrap()
}

/// A life that is `Ready` at each of these patches, from these revisions on.
fn life(number: u16, patches: &[(Revision, u16)], gone: Option<Revision>) -> Life {
    let uid = Uuid::from_u128(number.into());
    let object = |patch| Object { uid, version: Some(v(number, patch)), status: Status::Ready, terminating: false };
    Life { uid, states: patches.iter().map(|(since, patch)| (*since, object(*patch))).collect(), gone }
}

fn history(lives: Vec<Life>) -> History {
    History { lives, last: 1000 }
}

fn stored(changes: &[Change]) -> Vec<StoredEvent> {
    let status = |change| matches!(change, Deleted(_)).then_some(Status::Ready);
    changes.iter().map(|change| StoredEvent { change: *change, status: status(*change) }).collect()
}

/// Baseline 10, and an outage from 100 to 200.
fn observation() -> Observation {
    Observation { outages: vec![Outage { after: 100, until: 200 }], ..Observation::since(10) }
}

/// Coalesced, missing, repeated, invented.
fn compared(lives: Vec<Life>, changes: &[Change]) -> [usize; 4] {
    let report = observation().compare(&history(lives), &stored(changes));
    let Report { changes: happened, stored, coalesced, missing, repeated, invented, ref findings } = report;
    assert_eq!(happened + repeated + invented, stored + coalesced + missing, "the figures add up: {report:?}");
    assert_eq!(findings.is_empty(), report.is_clean(), "what is wrong is put into words: {report:?}");
    [coalesced, missing, repeated, invented]
}

#[test]
fn what_happened_is_what_is_stored() {
    let lives = vec![life(1, &[(20, 0), (21, 1), (22, 2)], Some(30)), life(2, &[(5, 0), (40, 1)], None)];
    let changes = [
        Deleted(v(1, 2)),
        Updated(v(1, 1), v(1, 2)),
        Created(v(1, 0)),
        Updated(v(1, 0), v(1, 1)),
        Updated(v(2, 0), v(2, 1)),
    ];
    assert_eq!(compared(lives, &changes), [0; 4]);
}

#[test]
fn each_event_that_is_not_there_is_missing() {
    let lives = || vec![life(1, &[(20, 0), (21, 1)], Some(30))];
    let all = [Created(v(1, 0)), Updated(v(1, 0), v(1, 1)), Deleted(v(1, 1))];
    for absent in 0..all.len() {
        let mut changes = all.to_vec();
        changes.remove(absent);
        assert_eq!(compared(lives(), &changes), [0, 1, 0, 0], "without {:?}", all[absent]);
    }
    assert_eq!(compared(lives(), &[]), [0, 3, 0, 0]);
}

#[test]
fn each_event_that_is_there_twice_is_repeated() {
    let lives = || vec![life(1, &[(20, 0), (21, 1)], Some(30))];
    let all = [Created(v(1, 0)), Updated(v(1, 0), v(1, 1)), Deleted(v(1, 1))];
    for twice in all {
        assert_eq!(compared(lives(), &[&all[..], &[twice]].concat()), [0, 0, 1, 0], "{twice:?} twice");
    }
}

#[test]
fn what_was_there_before_is_not_created() {
    let lives = vec![life(1, &[(5, 0)], None)];
    assert_eq!(compared(lives.clone(), &[]), [0; 4]);
    assert_eq!(compared(lives, &[Created(v(1, 0))]), [0, 0, 0, 1]);
}

#[test]
fn what_was_terminating_before_is_never_reported() {
    let mut terminating = life(1, &[(5, 0)], Some(30));
    terminating.states[0].1.terminating = true;
    assert_eq!(compared(vec![terminating.clone()], &[]), [0; 4]);
    assert_eq!(compared(vec![terminating], &[Deleted(v(1, 0))]), [0, 0, 0, 1]);
}

#[test]
fn a_deletion_counts_once_and_nothing_after_it() {
    let mut held = life(1, &[(20, 0), (21, 0), (22, 1)], Some(30));
    held.states[1].1.terminating = true;
    held.states[2].1.terminating = true;
    let all = [Created(v(1, 0)), Deleted(v(1, 0))];
    assert_eq!(compared(vec![held.clone()], &all), [0; 4]);
    assert_eq!(compared(vec![held.clone()], &[&all[..], &[Deleted(v(1, 0))]].concat()), [0, 0, 1, 0]);
    assert_eq!(compared(vec![held], &[&all[..], &[Updated(v(1, 0), v(1, 1))]].concat()), [0, 0, 0, 1]);
}

#[test]
fn a_version_that_came_after_the_deletion_is_the_last_one_where_both_were_missed() {
    let life = |deleted: Revision, changed: Revision| {
        let mut life = life(1, &[(5, 0), (deleted, 0), (changed, 1)], None);
        life.states[1].1.terminating = true;
        life.states[2].1.terminating = true;
        vec![life]
    };
    let late = [Updated(v(1, 0), v(1, 1)), Deleted(v(1, 1))];
    assert_eq!(compared(life(110, 120), &late), [0; 4]);
    assert_eq!(compared(life(110, 120), &[Deleted(v(1, 0))]), [0; 4]);
    assert_ne!(compared(life(90, 120), &late)[1..], [0; 3], "its deletion was seen before");
    assert_ne!(compared(life(210, 220), &late)[1..], [0; 3], "its deletion was seen before");
    assert_ne!(compared(life(110, 120), &[Updated(v(1, 0), v(1, 1))])[1..], [0; 3], "it was deleted");
}

#[test]
fn an_old_version_that_is_not_the_new_one_before_is_invented() {
    let lives = vec![life(1, &[(20, 0), (21, 1), (22, 2)], None)];
    let changes = [Created(v(1, 0)), Updated(v(1, 0), v(1, 1)), Updated(v(1, 0), v(1, 2))];
    assert_eq!(compared(lives, &changes), [0, 1, 0, 1]);
}

#[test]
fn an_event_of_nobody_is_invented() {
    assert_eq!(compared(vec![], &[Created(v(1, 0))]), [0, 0, 0, 1]);
    assert_eq!(compared(vec![], &[Created(KubernetesVersion::Unknown)]), [0, 0, 0, 1]);
}

#[test]
fn the_last_version_is_the_end() {
    let lives = || vec![life(1, &[(20, 0), (110, 1), (120, 2)], None)];
    let created = Created(v(1, 0));
    assert_eq!(compared(lives(), &[created, Updated(v(1, 0), v(1, 2))]), [1, 0, 0, 0]);
    assert_eq!(compared(lives(), &[created, Updated(v(1, 0), v(1, 1))])[1..], [1, 0, 0], "v1.1.2 was never reached");
    let deleted = || vec![life(1, &[(20, 0), (110, 1)], Some(120))];
    assert_eq!(compared(deleted(), &[created, Deleted(v(1, 0))]), [1, 0, 0, 0]);
    assert_eq!(compared(deleted(), &[created, Updated(v(1, 0), v(1, 1)), Deleted(v(1, 1))]), [0; 4]);
    let torn = [created, Updated(v(1, 0), v(1, 1)), Deleted(v(1, 0))];
    assert_ne!(compared(deleted(), &torn)[1..], [0; 3], "it was not at v1.1.0 any more");
}

#[test]
fn what_an_outage_saw_come_and_go_may_vanish() {
    assert_eq!(compared(vec![life(1, &[(110, 0), (111, 1)], Some(112))], &[]), [3, 0, 0, 0]);
    assert_eq!(compared(vec![life(1, &[(20, 0), (110, 1), (111, 0)], None)], &[Created(v(1, 0))]), [2, 0, 0, 0]);
    let appeared = vec![life(1, &[(110, 0), (111, 1)], None)];
    assert_eq!(compared(appeared.clone(), &[Created(v(1, 1))]), [1, 0, 0, 0]);
    assert_eq!(compared(appeared, &[]), [1, 1, 0, 0]);
}

#[test]
fn outside_an_outage_nothing_may_be_coalesced() {
    for revisions in [[20, 21], [210, 211]] {
        let [first, second] = revisions;
        let lives = vec![life(1, &[(5, 0), (first, 1), (second, 2)], None)];
        let [_, missing, _, invented] = compared(lives, &[Updated(v(1, 0), v(1, 2))]);
        assert!(missing > 0 && invented > 0, "{revisions:?}");
    }
}

#[test]
fn the_states_at_both_ends_of_an_outage_were_seen() {
    // Replaced only after the outage: it was seen when that ended.
    let after = vec![life(1, &[(5, 0), (150, 1), (201, 2)], None)];
    assert_ne!(compared(after, &[Updated(v(1, 0), v(1, 2))])[1], 0);
    // Committed before the outage.
    let before = vec![life(1, &[(5, 0), (100, 1), (150, 2)], None)];
    assert_ne!(compared(before, &[Updated(v(1, 0), v(1, 2))])[1], 0);
}

#[test]
fn versions_that_repeat_form_a_walk() {
    let lives = || vec![life(1, &[(5, 0), (20, 1), (21, 0), (22, 1)], None)];
    let (up, down) = (Updated(v(1, 0), v(1, 1)), Updated(v(1, 1), v(1, 0)));
    assert_eq!(compared(lives(), &[up, up, down]), [0; 4]);
    assert_eq!(compared(lives(), &[up, down]), [0, 1, 0, 0]);
    assert_eq!(compared(lives(), &[up, up, down, down]), [0, 0, 1, 0]);
    let unseen = || vec![life(1, &[(5, 0), (120, 1), (121, 0), (122, 1)], None)];
    assert_eq!(compared(unseen(), &[up]), [2, 0, 0, 0]);
    assert_eq!(compared(unseen(), &[up, up, down]), [0; 4]);
    assert_ne!(compared(unseen(), &[up, down])[1..], [0; 3], "that walk ends elsewhere");
}

#[test]
fn a_status_that_it_never_had_is_invented() {
    let deleted = |status| StoredEvent { change: Deleted(v(1, 0)), status: Some(status) };
    let lives = history(vec![life(1, &[(5, 0)], Some(20))]);
    let invented = |status| observation().compare(&lives, &[deleted(status)]).invented;
    assert_eq!([Status::Ready, Status::Unknown, Status::Sleeping].map(invented), [0, 0, 1]);
}

#[test]
fn what_can_not_be_read_is_not_reported_until_it_can() {
    let mut life = life(1, &[(20, 0), (21, 1)], Some(30));
    life.states[0].1.version = None;
    assert_eq!(compared(vec![life], &[Created(v(1, 1)), Deleted(v(1, 1))]), [0; 4]);
}

#[test]
fn what_happened_while_telemetry_was_off_is_not_reported() {
    let spans = vec![Span { baseline: 10, end: 50 }, Span { baseline: 80, end: Revision::MAX }];
    let observation = Observation { spans, ..Observation::default() };
    let lives = history(vec![
        life(1, &[(20, 0), (60, 1), (90, 2)], None),
        life(2, &[(5, 0)], Some(70)),
        life(3, &[(60, 0)], Some(90)),
    ]);
    let right = [Created(v(1, 0)), Updated(v(1, 1), v(1, 2)), Deleted(v(3, 0))];
    assert!(observation.compare(&lives, &stored(&right)).is_clean());
    for wrong in [Updated(v(1, 0), v(1, 1)), Deleted(v(2, 0)), Created(v(3, 0))] {
        let report = observation.compare(&lives, &stored(&[&right[..], &[wrong]].concat()));
        assert_eq!(report.invented, 1, "{wrong:?}");
    }
}

#[test]
fn an_outage_begins_where_something_is_not_stored_yet() {
    let lives = history(vec![life(1, &[(20, 0), (210, 1)], None), life(2, &[(5, 0), (220, 1)], None)]);
    let delivered_until = |changes: &[Change]| observation().delivered_until(&lives, &stored(changes));
    let (first, second) = (Updated(v(1, 0), v(1, 1)), Updated(v(2, 0), v(2, 1)));
    assert_eq!(delivered_until(&[Created(v(1, 0)), first, second]), 1000, "all that is known");
    assert_eq!(delivered_until(&[Created(v(1, 0)), second]), 209);
    assert_eq!(delivered_until(&[Created(v(1, 0)), first]), 219);
}

#[test]
fn what_was_stored_of_a_history_that_a_restore_has_undone_is_allowed_once() {
    // Upgraded at 20 and again at 60. The first upgrade, the deletion of another and a creation were undone.
    let lives = history(vec![life(1, &[(5, 0), (60, 1)], None), life(2, &[(5, 0)], None)]);
    let undone = [Updated(v(1, 0), v(1, 1)), Deleted(v(2, 0)), Created(v(3, 0))];
    let mut observation = Observation { outages: vec![Outage { after: 30, until: 70 }], ..Observation::since(10) };
    observation.restore(15, stored(&undone));
    assert_eq!(observation.outages, [Outage { after: 15, until: 15 }], "the outage was undone too");
    let right = [&undone[..], &[Updated(v(1, 0), v(1, 1))]].concat();
    let report = observation.compare(&lives, &stored(&right));
    assert!(report.is_clean() && (report.changes, report.stored) == (1, 1), "{report:?}");
    assert_eq!(observation.delivered_until(&lives, &stored(&undone)), 59);
    for wrong in [Updated(v(1, 1), v(1, 0)), Created(v(2, 0)), Deleted(v(3, 0)), Created(v(3, 0))] {
        let report = observation.compare(&lives, &stored(&[&right[..], &[wrong]].concat()));
        assert_eq!(report.repeated + report.invented, 1, "{wrong:?}");
    }
}

/// A random life with repeating versions, and which of its states somebody saw that missed only what can be missed.
fn seen_life() -> impl Strategy<Value = (Life, Vec<bool>)> {
    let steps = prop::collection::vec((1_u64..40, 0_u16..3), 1..10);
    (steps, any::<bool>(), prop::collection::vec(any::<bool>(), 12)).prop_map(|(steps, gone, seen)| {
        let mut since = 0;
        let patches: Vec<_> = steps
            .into_iter()
            .map(|(gap, patch)| {
                since += gap;
                (since, patch)
            })
            .collect();
        (life(1, &patches, gone.then_some(since + 1)), seen)
    })
}

/// Returns the report of an observer that sees every required state, and of the others those in `seen`.
fn reported(path: &Path, seen: &[bool]) -> Vec<Change> {
    let Some(first) = path.waypoints.first() else { return Vec::new() };
    let mut position = first.position;
    let mut changes = Vec::new();
    for (at, waypoint) in path.waypoints.iter().enumerate().skip(1) {
        if waypoint.visibility == path::Visibility::Certain || seen[at] {
            changes.extend(path::change(position, *waypoint));
            position = waypoint.position;
        }
    }
    changes
}

proptest! {
    #[test]
    fn whoever_misses_only_what_can_be_missed_is_right((life, seen) in seen_life()) {
        let changes = reported(&Path::of(&life, &observation()), &seen);
        prop_assert_eq!(compared(vec![life], &changes)[1..].to_vec(), vec![0; 3]);
    }

    #[test]
    fn one_more_of_what_happened_once_is_noticed((life, seen) in seen_life(), at in any::<prop::sample::Index>()) {
        let path = Path::of(&life, &observation());
        let mut changes = reported(&path, &seen);
        prop_assume!(!changes.is_empty());
        let twice = changes[at.index(changes.len())];
        prop_assume!(path.changes().filter(|(_, change)| *change == twice).count() == 1);
        prop_assume!(matches!(twice, Created(_) | Deleted(_)));
        changes.push(twice);
        prop_assert_ne!(compared(vec![life], &changes)[1..].to_vec(), vec![0; 3]);
    }

    #[test]
    fn with_no_outage_any_change_of_what_is_stored_is_noticed(
        (life, seen) in seen_life(), at in any::<prop::sample::Index>(), add in any::<bool>(),
    ) {
        let exact = Observation::since(10);
        let mut changes = reported(&Path::of(&life, &exact), &seen);
        prop_assume!(!changes.is_empty());
        let at = at.index(changes.len());
        if add {
            changes.push(changes[at]);
        } else {
            changes.remove(at);
        }
        prop_assert!(!exact.compare(&history(vec![life]), &stored(&changes)).is_clean());
    }
}
