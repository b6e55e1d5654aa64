//! The outbox and its checkpoints.

use super::*;
use crate::catalog::{Event, KamajiVersion, KubernetesVersion};

const VERSIONS: ComponentVersions =
    ComponentVersions { kamaji: KamajiVersion::Unknown, kubernetes: KubernetesVersion::Unknown };

fn change() -> Change {
    let event = Event::Created { tcp_version: KubernetesVersion::Unknown, extended: None };
    Change { time: Timestamp::UNIX_EPOCH, event }
}

fn journal() -> Journal {
    Journal::open(JournalState::new()).0
}

fn write(journal: &mut Journal) -> JournalState {
    let (state, checkpoint) = journal.begin_flush(true, Vec::new());
    journal.commit(checkpoint);
    state
}

fn uids(records: &[EventRecord]) -> HashSet<Uuid> {
    records.iter().map(|record| record.uid).collect()
}

#[test]
fn nothing_is_sent_before_it_is_written() {
    let mut journal = journal();
    journal.append(vec![change(), change()], VERSIONS);
    assert_eq!(journal.batch(10), []);
    let (_, checkpoint) = journal.begin_flush(true, Vec::new());
    journal.append(vec![change()], VERSIONS);
    assert_eq!(journal.batch(10), []);
    assert_eq!(journal.commit(checkpoint), 2);
    assert_eq!(journal.batch(10).len(), 2, "what was appended since is not written");
    assert_eq!(journal.batch(1).len(), 1);
    assert_eq!(journal.next_flush(), Flush::Now);
    write(&mut journal);
    assert_eq!(journal.batch(10).len(), 3);
    assert_eq!(journal.next_flush(), Flush::Never);
}

#[test]
fn a_failed_write_is_requested_again() {
    let mut journal = journal();
    journal.append(vec![change()], VERSIONS);
    let (_, checkpoint) = journal.begin_flush(true, Vec::new());
    assert_eq!(journal.next_flush(), Flush::Never);
    journal.rollback(checkpoint);
    assert_eq!(journal.next_flush(), Flush::Now);
    assert_eq!(journal.batch(10), []);
}

#[test]
fn an_event_keeps_its_identity_until_it_is_removed() {
    let mut journal = journal();
    journal.append(vec![change(), change()], VERSIONS);
    write(&mut journal);
    let first = journal.batch(10);
    assert_eq!(journal.batch(10), first);
    journal.append(vec![change()], VERSIONS);
    journal.remove(&uids(&first[..1]), Some(Timestamp::now()));
    assert_eq!(journal.batch(10), first[1..]);
    assert_eq!(journal.pending(), 2);
    assert_eq!(journal.remaining_capacity(), OUTBOX_LIMIT - 2);
}

#[test]
fn an_event_that_is_removed_during_a_write_is_gone_after_the_next() {
    let mut journal = journal();
    journal.append(vec![change(), change()], VERSIONS);
    write(&mut journal);
    journal.append(vec![change()], VERSIONS);
    let (state, checkpoint) = journal.begin_flush(true, Vec::new());
    let sent = journal.batch(10);
    journal.remove(&uids(&sent), Some(Timestamp::now()));
    journal.commit(checkpoint);
    assert_eq!(state.outbox.len(), 3, "a crash here would send them again, as the same events");
    assert_eq!(journal.batch(10).len(), 1);
    assert_eq!(journal.next_flush(), Flush::Later);
    assert_eq!(write(&mut journal).outbox.len(), 1);
}

#[test]
fn a_journal_continues_from_what_was_written() {
    let mut journal = journal();
    journal.append(vec![change(), change()], VERSIONS);
    let state = write(&mut journal);
    let (again, baseline, rows) = Journal::open(state.clone());
    assert!(baseline && rows.is_empty());
    assert_eq!(again.installation(), journal.installation());
    assert_eq!(again.batch(10), journal.batch(10), "what was written is sent before anything is written again");
    assert_eq!(again.next_flush(), Flush::Never);
}

#[test]
fn an_acknowledgement_waits_for_another_write() {
    let mut journal = journal();
    journal.append(vec![change()], VERSIONS);
    write(&mut journal);
    let now = Timestamp::now();
    journal.remove(&uids(&journal.batch(10)), Some(now));
    assert_eq!(journal.next_flush(), Flush::Later);
    assert_eq!(write(&mut journal).acknowledged, Some(now));
}
