//! The fold, driven event by event.

use super::*;
use crate::catalog::Event;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const ROOM: usize = 100;
const OPTIONS: IndexOptions = IndexOptions { extended: false, limit: 1_000 };

fn born() -> Timestamp {
    "2026-11-22T22:16:03Z".parse().unwrap()
}

fn ended() -> Timestamp {
    "2026-11-23T01:00:00Z".parse().unwrap()
}

fn version(text: &str) -> KubernetesVersion {
    KubernetesVersion::normalize(text)
}

/// A control plane that is Ready at v1.35.1.
fn tcp(uid: u128) -> ControlPlane {
    ControlPlane {
        uid: Uuid::from_u128(uid),
        created: Some(born()),
        deleted: None,
        tcp_version: Some(version("v1.35.1")),
        status: Some(Status::Ready),
        extended: ExtendedAttributes { cluster_api: false, network_profile: None },
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

fn list(index: &mut Index, objects: &[ControlPlane]) -> Vec<Event> {
    let mut events = fold(index, WatcherEvent::Init);
    events.extend(objects.iter().flat_map(|object| fold(index, WatcherEvent::Apply(*object))));
    events.extend(fold(index, WatcherEvent::InitDone));
    events
}

fn fold(index: &mut Index, event: WatcherEvent) -> Vec<Event> {
    index.fold(event, NOW, ROOM).into_iter().map(|change| change.event).collect()
}

fn apply(index: &mut Index, object: ControlPlane) -> Vec<Event> {
    fold(index, WatcherEvent::Apply(object))
}

/// Creates an index whose first complete list contains `objects`.
fn synced(objects: &[ControlPlane]) -> Index {
    let mut index = Index::new(OPTIONS);
    assert_eq!(list(&mut index, objects), []);
    index
}

fn created(text: &str) -> Event {
    Event::Created { tcp_version: version(text), extended: None }
}

fn updated(old: &str, new: &str) -> Event {
    Event::Updated { old_tcp_version: version(old), new_tcp_version: version(new) }
}

fn deleted(status: Status, text: &str) -> Event {
    Event::Deleted { status, tcp_version: version(text) }
}

#[test]
fn control_planes_of_the_first_complete_list_are_not_reported_as_created() {
    let index = synced(&[tcp(1), tcp(2).status(Status::Sleeping), tcp(3).deleting()]);
    let counts = index.counts().unwrap();
    assert_eq!((counts.running, counts.sleeping), (2, 1));
}

#[test]
fn there_are_no_counts_before_a_list_is_complete() {
    let mut index = Index::new(OPTIONS);
    assert_eq!(index.counts(), None);
    fold(&mut index, WatcherEvent::Init);
    apply(&mut index, tcp(1));
    assert_eq!(index.counts(), None);
    fold(&mut index, WatcherEvent::InitDone);
    assert_eq!(index.counts().unwrap().running, 1);
    fold(&mut index, WatcherEvent::Init);
    assert_eq!(index.counts(), None);
}

#[test]
fn a_first_list_that_breaks_off_is_no_baseline() {
    let mut index = Index::new(OPTIONS);
    fold(&mut index, WatcherEvent::Init);
    apply(&mut index, tcp(1));
    apply(&mut index, tcp(2));
    assert_eq!(list(&mut index, &[tcp(2).at("v1.36.0"), tcp(3)]), []);
    assert_eq!(index.counts().unwrap().running, 2);
    assert_eq!(apply(&mut index, tcp(2).at("v1.36.1")), [updated("v1.36.0", "v1.36.1")]);
}

#[test]
fn a_creation_an_upgrade_and_a_deletion_are_each_reported_once() {
    let mut index = synced(&[]);
    assert_eq!(
        index.fold(WatcherEvent::Apply(tcp(1)), NOW, ROOM),
        [Change { time: born(), event: created("v1.35.1") }]
    );
    assert_eq!(apply(&mut index, tcp(1)), []);
    assert_eq!(
        index.fold(WatcherEvent::Apply(tcp(1).at("v1.36.0")), NOW, ROOM),
        [Change { time: NOW, event: updated("v1.35.1", "v1.36.0") }]
    );
    let deleting = tcp(1).at("v1.36.0").status(Status::NotReady).deleting();
    assert_eq!(
        index.fold(WatcherEvent::Apply(deleting), NOW, ROOM),
        [Change { time: ended(), event: deleted(Status::Ready, "v1.36.0") }]
    );
    assert_eq!(apply(&mut index, deleting.at("v1.37.0")), []);
    assert_eq!(fold(&mut index, WatcherEvent::Delete(tcp(1).uid)), []);
    assert_eq!(index.counts().unwrap(), Counts::default());
}

#[test]
fn a_status_or_a_label_is_no_event() {
    let mut index = synced(&[tcp(1)]);
    assert_eq!(apply(&mut index, tcp(1).status(Status::Upgrading)), []);
    assert_eq!(index.counts().unwrap().upgrading, 1);
}

#[test]
fn a_change_of_private_suffix_alone_is_no_event() {
    let mut index = synced(&[tcp(1).at("v1.35.1-acme.1")]);
    assert_eq!(apply(&mut index, tcp(1).at("v1.35.1-acme.2")), []);
}

#[test]
fn a_deletion_that_began_before_the_baseline_is_never_reported() {
    let mut index = synced(&[tcp(1).deleting()]);
    assert_eq!(apply(&mut index, tcp(1).deleting().status(Status::NotReady)), []);
    assert_eq!(fold(&mut index, WatcherEvent::Delete(tcp(1).uid)), []);
}

#[test]
fn changes_between_two_lists_coalesce() {
    let mut index = synced(&[tcp(1), tcp(2), tcp(3), tcp(4)]);
    let events = list(&mut index, &[tcp(1).at("v1.37.0"), tcp(3), tcp(4).at("v1.36.0").deleting(), tcp(5)]);
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
    assert_eq!(index.counts().unwrap().running, 4);
}

#[test]
fn a_new_control_plane_that_is_already_being_deleted_is_created_and_deleted() {
    let mut index = synced(&[]);
    assert_eq!(apply(&mut index, tcp(1).deleting()), [created("v1.35.1"), deleted(Status::Unknown, "v1.35.1")]);
}

#[test]
fn an_unreadable_object_is_counted_and_reported_once_it_is_readable() {
    let mut index = synced(&[tcp(1)]);
    let unreadable = tcp(1).unreadable();
    assert!(index.is_newly_unreadable(&unreadable));
    assert_eq!(apply(&mut index, unreadable), []);
    assert!(!index.is_newly_unreadable(&unreadable));
    assert_eq!(list(&mut index, &[unreadable]), [], "it must not count as deleted");
    assert_eq!(index.counts().unwrap().running, 1, "its last status stays");
    assert_eq!(apply(&mut index, tcp(1).at("v1.36.0")), [updated("v1.35.1", "v1.36.0")]);

    assert_eq!(apply(&mut index, tcp(2).unreadable()), []);
    assert_eq!(index.counts().unwrap().not_ready, 1);
    assert_eq!(apply(&mut index, tcp(2)), [created("v1.35.1")]);
}

#[test]
fn changes_without_room_go_to_the_backlog_and_coalesce() {
    let mut index = synced(&[tcp(1), tcp(2)]);
    for object in [tcp(1).at("v1.36.0"), tcp(3), tcp(1).at("v1.37.0"), tcp(4), tcp(2).deleting()] {
        assert_eq!(index.fold(WatcherEvent::Apply(object), NOW, 0), []);
    }
    assert_eq!(index.fold(WatcherEvent::Delete(tcp(3).uid), NOW, 0), []);
    assert_eq!(index.fold(WatcherEvent::Delete(tcp(2).uid), NOW, 0), []);
    assert_eq!(index.backlog_len(), 3, "a control plane that was created and deleted in between is not reported");
    assert_eq!(index.counts().unwrap().running, 2, "the counts are not delayed");

    let first: Vec<_> = index.report_backlog(NOW, 1).into_iter().map(|change| change.event).collect();
    assert_eq!(first, [updated("v1.35.1", "v1.37.0")]);
    let rest: Vec<_> = index.report_backlog(NOW, ROOM).into_iter().map(|change| change.event).collect();
    assert_eq!(rest, [created("v1.35.1"), deleted(Status::Ready, "v1.35.1")]);
    assert_eq!(index.backlog_len(), 0);
}

#[test]
fn a_change_in_the_backlog_that_is_undone_is_not_reported() {
    let mut index = synced(&[tcp(1)]);
    index.fold(WatcherEvent::Apply(tcp(1).at("v1.36.0")), NOW, 0);
    index.fold(WatcherEvent::Apply(tcp(1)), NOW, 0);
    assert_eq!(index.backlog_len(), 0);
    assert_eq!(index.report_backlog(NOW, ROOM), []);
}

/// Creates an index that contains as many control planes as its limit allows.
fn at_limit(limit: u128) -> (Index, Vec<ControlPlane>) {
    let objects: Vec<_> = (1..=limit).map(tcp).collect();
    let mut index = Index::new(IndexOptions { limit: objects.len(), ..OPTIONS });
    assert_eq!(list(&mut index, &objects), []);
    (index, objects)
}

#[test]
fn at_the_limit_everything_is_reported_and_persisted() {
    let (mut index, objects) = at_limit(20);
    assert_eq!(index.is_beyond_limit(), Some(false));
    assert_eq!(index.persisted_rows().len(), objects.len());
    assert_eq!(apply(&mut index, tcp(1).at("v1.36.0")), [updated("v1.35.1", "v1.36.0")]);
}

#[test]
fn beyond_the_limit_nothing_is_persisted_or_reported_and_everything_is_counted() {
    let (mut index, _) = at_limit(20);
    index.fold(WatcherEvent::Apply(tcp(1).at("v1.36.0")), NOW, 0);
    assert_eq!(apply(&mut index, tcp(21)), [created("v1.35.1")], "the number is measured after the event");
    assert_eq!(index.is_beyond_limit(), Some(true));
    assert!(index.take_dirty() && index.persisted_rows().is_empty() && !index.has_baseline());
    assert_eq!(index.report_backlog(NOW, ROOM), [], "the backlog is recorded");
    assert_eq!(apply(&mut index, tcp(2).at("v1.36.0")), []);
    assert_eq!(apply(&mut index, tcp(3).deleting()), []);
    assert_eq!(apply(&mut index, tcp(22)), []);
    assert_eq!(index.counts().unwrap().running, 22);
}

#[test]
fn well_below_the_limit_a_new_baseline_begins() {
    let (mut index, _) = at_limit(20);
    apply(&mut index, tcp(21));
    apply(&mut index, tcp(4).at("v1.36.0"));
    apply(&mut index, tcp(5).deleting());
    for number in (1..=3).chain(19..=21) {
        assert_eq!(index.is_beyond_limit(), Some(true), "as long as there are 18, nine tenths of 20");
        assert_eq!(fold(&mut index, WatcherEvent::Delete(tcp(number).uid)), []);
        if index.has_baseline() {
            break;
        }
    }
    assert_eq!((index.is_beyond_limit(), index.persisted_rows().len()), (Some(false), 17));
    assert_eq!(apply(&mut index, tcp(4).at("v1.37.0")), [updated("v1.36.0", "v1.37.0")]);
    assert_eq!(fold(&mut index, WatcherEvent::Delete(tcp(5).uid)), [], "it was being deleted at the baseline");
    assert_eq!(apply(&mut index, tcp(30)), [created("v1.35.1")]);
}

#[test]
fn a_first_list_beyond_the_limit_is_no_baseline() {
    let mut index = Index::new(IndexOptions { limit: 2, ..OPTIONS });
    assert_eq!(list(&mut index, &[tcp(1), tcp(2), tcp(3)]), []);
    assert_eq!((index.is_beyond_limit(), index.has_baseline()), (Some(true), false));
    assert_eq!(list(&mut index, &[tcp(1), tcp(2).at("v1.36.0"), tcp(3)]), []);
    assert_eq!(index.counts().unwrap().running, 3);
}

#[test]
fn a_restored_index_reports_the_changes_since() {
    let index = synced(&[tcp(1), tcp(2).status(Status::Sleeping), tcp(3).deleting(), tcp(4)]);
    let mut index = Index::restore(OPTIONS, index.has_baseline(), index.persisted_rows());
    assert_eq!(index.counts(), None);
    let events = list(&mut index, &[tcp(1).at("v1.36.0"), tcp(2).deleting(), tcp(5)]);
    let gone = [deleted(Status::Ready, "v1.35.1")];
    assert_eq!(
        events,
        [&[updated("v1.35.1", "v1.36.0"), deleted(Status::Sleeping, "v1.35.1"), created("v1.35.1")][..], &gone]
            .concat()
    );
    assert_eq!(index.counts().unwrap().running, 3);
}

#[test]
fn a_row_that_is_removed_without_an_event_makes_the_index_dirty() {
    let mut index = synced(&[tcp(1).deleting()]);
    assert!(index.take_dirty(), "the baseline");
    apply(&mut index, tcp(1).deleting().status(Status::NotReady));
    assert!(!index.take_dirty(), "a change of status alone makes no write");
    fold(&mut index, WatcherEvent::Delete(tcp(1).uid));
    assert!(index.take_dirty() && index.persisted_rows().is_empty());
}

#[test]
fn superseded_states_are_counted_once_each() {
    let mut index = synced(&[tcp(1)]);
    for version in ["v1.36.0", "v1.36.0", "v1.37.0"] {
        index.fold(WatcherEvent::Apply(tcp(1).at(version)), NOW, 0);
    }
    assert_eq!(index.coalesced(), 1, "v1.36.0 will not be reported");
    index.report_backlog(NOW, ROOM);
    assert_eq!(index.coalesced(), 1);
}
