//! The fold, driven by hand.

use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const ROOM: usize = 100;
const OPTIONS: Options = Options { extended: false, limit: 1_000 };

fn born() -> Timestamp {
    "2026-11-22T22:16:03Z".parse().unwrap()
}

fn ended() -> Timestamp {
    "2026-11-23T01:00:00Z".parse().unwrap()
}

fn version(text: &str) -> KubernetesVersion {
    KubernetesVersion::normalise(text)
}

/// A control plane that is Ready at v1.35.1.
fn tcp(uid: u128) -> ControlPlane {
    ControlPlane {
        uid: Uuid::from_u128(uid),
        created: Some(born()),
        deleted: None,
        tcp_version: Some(version("v1.35.1")),
        status: Some(Status::Ready),
        with: CreatedWith { cluster_api: false, network_profile: None },
    }
}

impl ControlPlane {
    fn at(self, text: &str) -> Self {
        Self { tcp_version: Some(version(text)), ..self }
    }

    fn status(self, status: Status) -> Self {
        Self { status: Some(status), ..self }
    }

    fn deleting(self) -> Self {
        Self { deleted: Some(ended()), ..self }
    }

    fn unreadable(self) -> Self {
        Self { tcp_version: None, status: None, ..self }
    }
}

fn list(view: &mut View, objects: &[ControlPlane]) -> Vec<Event> {
    let mut events = fold(view, Seen::Restart);
    events.extend(objects.iter().flat_map(|object| fold(view, Seen::Apply(*object))));
    events.extend(fold(view, Seen::Complete));
    events
}

fn fold(view: &mut View, seen: Seen) -> Vec<Event> {
    view.fold(seen, NOW, ROOM).into_iter().map(|change| change.event).collect()
}

fn apply(view: &mut View, object: ControlPlane) -> Vec<Event> {
    fold(view, Seen::Apply(object))
}

/// A view that has seen a complete list of these.
fn synced(objects: &[ControlPlane]) -> View {
    let mut view = View::new(OPTIONS);
    assert_eq!(list(&mut view, objects), []);
    view
}

fn created(text: &str) -> Event {
    Event::Created { tcp_version: version(text), with: None }
}

fn updated(old: &str, new: &str) -> Event {
    Event::Updated { old_tcp_version: version(old), new_tcp_version: version(new) }
}

fn deleted(status: Status, text: &str) -> Event {
    Event::Deleted { status, tcp_version: version(text) }
}

#[test]
fn what_the_first_complete_list_names_is_not_created() {
    let view = synced(&[tcp(1), tcp(2).status(Status::Sleeping), tcp(3).deleting()]);
    let counts = view.counts().unwrap();
    assert_eq!((counts.running, counts.sleeping), (2, 1));
}

#[test]
fn there_are_no_counts_before_a_list_is_complete() {
    let mut view = View::new(OPTIONS);
    assert_eq!(view.counts(), None);
    fold(&mut view, Seen::Restart);
    apply(&mut view, tcp(1));
    assert_eq!(view.counts(), None);
    fold(&mut view, Seen::Complete);
    assert_eq!(view.counts().unwrap().running, 1);
    fold(&mut view, Seen::Restart);
    assert_eq!(view.counts(), None);
}

#[test]
fn a_first_list_that_breaks_off_leaves_no_trace() {
    let mut view = View::new(OPTIONS);
    fold(&mut view, Seen::Restart);
    apply(&mut view, tcp(1));
    apply(&mut view, tcp(2));
    assert_eq!(list(&mut view, &[tcp(2).at("v1.36.0"), tcp(3)]), []);
    assert_eq!(view.counts().unwrap().running, 2);
    assert_eq!(apply(&mut view, tcp(2).at("v1.36.1")), [updated("v1.36.0", "v1.36.1")]);
}

#[test]
fn a_life_is_reported_once_each() {
    let mut view = synced(&[]);
    assert_eq!(view.fold(Seen::Apply(tcp(1)), NOW, ROOM), [Change { time: born(), event: created("v1.35.1") }]);
    assert_eq!(apply(&mut view, tcp(1)), []);
    assert_eq!(
        view.fold(Seen::Apply(tcp(1).at("v1.36.0")), NOW, ROOM),
        [Change { time: NOW, event: updated("v1.35.1", "v1.36.0") }]
    );
    let deleting = tcp(1).at("v1.36.0").status(Status::NotReady).deleting();
    assert_eq!(
        view.fold(Seen::Apply(deleting), NOW, ROOM),
        [Change { time: ended(), event: deleted(Status::Ready, "v1.36.0") }]
    );
    assert_eq!(apply(&mut view, deleting.at("v1.37.0")), []);
    assert_eq!(fold(&mut view, Seen::Gone(tcp(1).uid)), []);
    assert_eq!(view.counts().unwrap(), Counts::default());
}

#[test]
fn a_status_or_a_label_is_no_event() {
    let mut view = synced(&[tcp(1)]);
    assert_eq!(apply(&mut view, tcp(1).status(Status::Upgrading)), []);
    assert_eq!(view.counts().unwrap().upgrading, 1);
}

#[test]
fn a_change_of_private_suffix_alone_is_no_event() {
    let mut view = synced(&[tcp(1).at("v1.35.1-acme.1")]);
    assert_eq!(apply(&mut view, tcp(1).at("v1.35.1-acme.2")), []);
}

#[test]
fn what_was_being_deleted_at_the_baseline_is_never_reported() {
    let mut view = synced(&[tcp(1).deleting()]);
    assert_eq!(apply(&mut view, tcp(1).deleting().status(Status::NotReady)), []);
    assert_eq!(fold(&mut view, Seen::Gone(tcp(1).uid)), []);
}

#[test]
fn a_gap_coalesces() {
    let mut view = synced(&[tcp(1), tcp(2), tcp(3), tcp(4)]);
    let events = list(&mut view, &[tcp(1).at("v1.37.0"), tcp(3), tcp(4).at("v1.36.0").deleting(), tcp(5)]);
    assert_eq!(
        events,
        [
            updated("v1.35.1", "v1.37.0"),
            updated("v1.35.1", "v1.36.0"),
            deleted(Status::Ready, "v1.36.0"),
            created("v1.35.1"),
            deleted(Status::Ready, "v1.35.1"),
        ]
    );
    assert_eq!(view.counts().unwrap().running, 4);
}

#[test]
fn one_first_seen_while_it_is_deleted_is_created_and_deleted() {
    let mut view = synced(&[]);
    assert_eq!(apply(&mut view, tcp(1).deleting()), [created("v1.35.1"), deleted(Status::Unknown, "v1.35.1")]);
}

#[test]
fn an_unreadable_object_counts_and_waits_for_its_event() {
    let mut view = synced(&[tcp(1)]);
    let unreadable = tcp(1).unreadable();
    assert!(view.is_newly_unreadable(&unreadable));
    assert_eq!(apply(&mut view, unreadable), []);
    assert!(!view.is_newly_unreadable(&unreadable));
    assert_eq!(list(&mut view, &[unreadable]), [], "it must not look deleted");
    assert_eq!(view.counts().unwrap().running, 1, "its last status stays");
    assert_eq!(apply(&mut view, tcp(1).at("v1.36.0")), [updated("v1.35.1", "v1.36.0")]);

    assert_eq!(apply(&mut view, tcp(2).unreadable()), []);
    assert_eq!(view.counts().unwrap().not_ready, 1);
    assert_eq!(apply(&mut view, tcp(2)), [created("v1.35.1")]);
}

#[test]
fn without_room_changes_wait_and_coalesce() {
    let mut view = synced(&[tcp(1), tcp(2)]);
    for object in [tcp(1).at("v1.36.0"), tcp(3), tcp(1).at("v1.37.0"), tcp(4), tcp(2).deleting()] {
        assert_eq!(view.fold(Seen::Apply(object), NOW, 0), []);
    }
    assert_eq!(view.fold(Seen::Gone(tcp(3).uid), NOW, 0), []);
    assert_eq!(view.fold(Seen::Gone(tcp(2).uid), NOW, 0), []);
    assert_eq!(view.waiting(), 3, "what was created and deleted in between has vanished");
    assert_eq!(view.counts().unwrap().running, 2, "the counts do not wait");

    let first: Vec<_> = view.report_waiting(NOW, 1).into_iter().map(|change| change.event).collect();
    assert_eq!(first, [updated("v1.35.1", "v1.37.0")]);
    let rest: Vec<_> = view.report_waiting(NOW, ROOM).into_iter().map(|change| change.event).collect();
    assert_eq!(rest, [created("v1.35.1"), deleted(Status::Ready, "v1.35.1")]);
    assert_eq!(view.waiting(), 0);
}

#[test]
fn going_back_to_where_it_was_while_waiting_is_nothing_to_report() {
    let mut view = synced(&[tcp(1)]);
    view.fold(Seen::Apply(tcp(1).at("v1.36.0")), NOW, 0);
    view.fold(Seen::Apply(tcp(1)), NOW, 0);
    assert_eq!(view.waiting(), 0);
    assert_eq!(view.report_waiting(NOW, ROOM), []);
}

/// As many as the limit of the view allows.
fn at_limit(limit: u128) -> (View, Vec<ControlPlane>) {
    let objects: Vec<_> = (1..=limit).map(tcp).collect();
    let mut view = View::new(Options { limit: objects.len(), ..OPTIONS });
    assert_eq!(list(&mut view, &objects), []);
    (view, objects)
}

#[test]
fn at_the_limit_all_is_reported_and_kept() {
    let (mut view, objects) = at_limit(20);
    assert_eq!(view.is_beyond_limit(), Some(false));
    assert_eq!(view.kept().len(), objects.len());
    assert_eq!(apply(&mut view, tcp(1).at("v1.36.0")), [updated("v1.35.1", "v1.36.0")]);
}

#[test]
fn beyond_the_limit_nothing_is_kept_or_reported_and_all_is_counted() {
    let (mut view, _) = at_limit(20);
    view.fold(Seen::Apply(tcp(1).at("v1.36.0")), NOW, 0);
    assert_eq!(apply(&mut view, tcp(21)), [created("v1.35.1")], "that there are too many is known once it is there");
    assert_eq!(view.is_beyond_limit(), Some(true));
    assert!(view.take_unsaved() && view.kept().is_empty() && !view.has_baseline());
    assert_eq!(view.report_waiting(NOW, ROOM), [], "what waited is recorded");
    assert_eq!(apply(&mut view, tcp(2).at("v1.36.0")), []);
    assert_eq!(apply(&mut view, tcp(3).deleting()), []);
    assert_eq!(apply(&mut view, tcp(22)), []);
    assert_eq!(view.counts().unwrap().running, 22);
}

#[test]
fn well_below_the_limit_what_is_there_is_a_new_baseline() {
    let (mut view, _) = at_limit(20);
    apply(&mut view, tcp(21));
    apply(&mut view, tcp(4).at("v1.36.0"));
    apply(&mut view, tcp(5).deleting());
    for number in (1..=3).chain(19..=21) {
        assert_eq!(view.is_beyond_limit(), Some(true), "as long as there are 18, nine tenths of 20");
        assert_eq!(fold(&mut view, Seen::Gone(tcp(number).uid)), []);
        if view.has_baseline() {
            break;
        }
    }
    assert_eq!((view.is_beyond_limit(), view.kept().len()), (Some(false), 17));
    assert_eq!(apply(&mut view, tcp(4).at("v1.37.0")), [updated("v1.36.0", "v1.37.0")]);
    assert_eq!(fold(&mut view, Seen::Gone(tcp(5).uid)), [], "it was being deleted at the baseline");
    assert_eq!(apply(&mut view, tcp(30)), [created("v1.35.1")]);
}

#[test]
fn a_first_list_beyond_the_limit_is_no_baseline() {
    let mut view = View::new(Options { limit: 2, ..OPTIONS });
    assert_eq!(list(&mut view, &[tcp(1), tcp(2), tcp(3)]), []);
    assert_eq!((view.is_beyond_limit(), view.has_baseline()), (Some(true), false));
    assert_eq!(list(&mut view, &[tcp(1), tcp(2).at("v1.36.0"), tcp(3)]), []);
    assert_eq!(view.counts().unwrap().running, 3);
}

#[test]
fn what_is_kept_goes_on_where_it_was() {
    let view = synced(&[tcp(1), tcp(2).status(Status::Sleeping), tcp(3).deleting(), tcp(4)]);
    let mut view = View::restore(OPTIONS, view.has_baseline(), view.kept());
    assert_eq!(view.counts(), None);
    let events = list(&mut view, &[tcp(1).at("v1.36.0"), tcp(2).deleting(), tcp(5)]);
    let gone = [deleted(Status::Ready, "v1.35.1")];
    assert_eq!(
        events,
        [&[updated("v1.35.1", "v1.36.0"), deleted(Status::Sleeping, "v1.35.1"), created("v1.35.1")][..], &gone]
            .concat()
    );
    assert_eq!(view.counts().unwrap().running, 3);
}

#[test]
fn a_row_that_goes_without_an_event_is_to_be_written_all_the_same() {
    let mut view = synced(&[tcp(1).deleting()]);
    assert!(view.take_unsaved(), "the baseline");
    apply(&mut view, tcp(1).deleting().status(Status::NotReady));
    assert!(!view.take_unsaved(), "a change of status alone makes no write");
    fold(&mut view, Seen::Gone(tcp(1).uid));
    assert!(view.take_unsaved() && view.kept().is_empty());
}

#[test]
fn superseded_states_are_counted_once_each() {
    let mut view = synced(&[tcp(1)]);
    for version in ["v1.36.0", "v1.36.0", "v1.37.0"] {
        view.fold(Seen::Apply(tcp(1).at(version)), NOW, 0);
    }
    assert_eq!(view.coalesced(), 1, "v1.36.0 will not be reported");
    view.report_waiting(NOW, ROOM);
    assert_eq!(view.coalesced(), 1);
}
