//! A model test: random histories of control planes, with random crashes, outages and losses, compared with what arrives.
//!
//! The agent is reduced to its pure core, the index and the journal. Around it are models of a cluster, whose changes are
//! observed or missed; of a storage, whose writes arrive, fail, or arrive without an answer; and of a backend, which drops
//! repeats and receives some deliveries late. In the end everything is observed and delivered, and what arrived is
//! compared with what happened.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::agent::observe::{ControlPlane, Index, IndexOptions, WatcherEvent};
use crate::catalog::{Event, ExtendedAttributes, KamajiVersion, KubernetesVersion, Stage, Status, VersionNumbers};

const OPTIONS: IndexOptions = IndexOptions { extended: false, limit: 1_000 };
const VERSIONS: ComponentVersions =
    ComponentVersions { kamaji: KamajiVersion::Unknown, kubernetes: KubernetesVersion::Unknown };
/// The limit of the outbox, low enough that it is full now and then.
const OUTBOX: usize = 4;
const BATCH: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Step {
    Create,
    /// Upgrades a control plane to a version that it never had.
    Upgrade(usize),
    /// Returns a control plane to the version before.
    Rollback(usize),
    ChangeStatus(usize),
    /// Deletes a control plane, which a finalizer keeps.
    Delete(usize),
    Remove(usize),
    /// Stops the watch, so that changes are missed.
    StopWatch,
    /// Lists all control planes, or breaks off halfway.
    Relist {
        complete: bool,
    },
    /// Starts a write, unless one is running.
    StartWrite,
    WriteSucceeds,
    WriteFails,
    /// The write arrives and its answer is lost. The next write is a conflict, which ends the term.
    WriteAnswerLost,
    /// Sends a batch, unless one is being sent.
    Send,
    Deliver,
    /// The batch arrives and its answer is lost.
    DeliverAnswerLost,
    Crash,
    /// A batch of a crashed agent arrives.
    DeliverLate,
}

/// A control plane and its versions, oldest first. The major number of each version is the index of the control plane.
#[derive(Debug, Clone)]
struct Tcp {
    versions: Vec<u16>,
    status: Status,
    is_terminating: bool,
    is_gone: bool,
    /// The value of `is_terminating` at the baseline; `None` if the control plane did not exist.
    terminating_at_baseline: Option<bool>,
}

struct World {
    tcps: Vec<Tcp>,
    index: Index,
    journal: Journal,
    is_watching: bool,
    write: Option<(JournalState, Checkpoint)>,
    batch: Option<Vec<EventRecord>>,
    late_batches: Vec<Vec<EventRecord>>,
    stored: JournalState,
    delivered: Vec<Event>,
    delivered_uids: HashSet<Uuid>,
}

fn step() -> impl Strategy<Value = Step> {
    let index = || 0..6usize;
    prop_oneof![
        3 => Just(Step::Create),
        4 => index().prop_map(Step::Upgrade),
        2 => index().prop_map(Step::Rollback),
        1 => index().prop_map(Step::ChangeStatus),
        2 => index().prop_map(Step::Delete),
        2 => index().prop_map(Step::Remove),
        1 => Just(Step::StopWatch),
        2 => any::<bool>().prop_map(|complete| Step::Relist { complete }),
        4 => Just(Step::StartWrite),
        4 => Just(Step::WriteSucceeds),
        1 => Just(Step::WriteFails),
        1 => Just(Step::WriteAnswerLost),
        4 => Just(Step::Send),
        3 => Just(Step::Deliver),
        1 => Just(Step::DeliverAnswerLost),
        1 => Just(Step::Crash),
        1 => Just(Step::DeliverLate),
    ]
}

fn version(index: usize, minor: u16) -> KubernetesVersion {
    let major = u16::try_from(index).unwrap();
    KubernetesVersion::Release(VersionNumbers { major, minor, patch: 0, stage: Stage::Final })
}

fn uid(index: usize) -> Uuid {
    Uuid::from_u128(index as u128)
}

impl Tcp {
    fn new() -> Self {
        Self {
            versions: vec![1],
            status: Status::NotReady,
            is_terminating: false,
            is_gone: false,
            terminating_at_baseline: None,
        }
    }

    fn event(&self, index: usize) -> WatcherEvent {
        if self.is_gone {
            return WatcherEvent::Delete(uid(index));
        }
        WatcherEvent::Apply(ControlPlane {
            uid: uid(index),
            created: Some(Timestamp::UNIX_EPOCH),
            deleted: self.is_terminating.then_some(Timestamp::UNIX_EPOCH),
            tcp_version: Some(version(index, *self.versions.last().unwrap())),
            status: Some(self.status),
            extended: ExtendedAttributes { cluster_api: false, network_profile: None },
        })
    }
}

impl World {
    /// Creates a cluster with three control planes, one of them terminating, and an agent with a baseline of them.
    fn new() -> Self {
        let stored = JournalState::new();
        let mut world = Self {
            tcps: vec![Tcp::new(); 3],
            index: Index::restore(OPTIONS, false, Vec::new()),
            journal: Journal::open(stored.clone()).0,
            is_watching: false,
            write: None,
            batch: None,
            late_batches: Vec::new(),
            stored,
            delivered: Vec::new(),
            delivered_uids: HashSet::new(),
        };
        world.tcps[2].is_terminating = true;
        world.restart();
        world.step(Step::Relist { complete: true });
        world.step(Step::StartWrite);
        world.step(Step::WriteSucceeds);
        for tcp in &mut world.tcps {
            tcp.terminating_at_baseline = Some(tcp.is_terminating);
        }
        world
    }

    /// Starts a new term from what is stored.
    fn restart(&mut self) {
        self.late_batches.extend(self.batch.take());
        self.write = None;
        let (journal, baseline, rows) = Journal::open(self.stored.clone());
        self.journal = Journal { limit: OUTBOX, ..journal };
        self.index = Index::restore(OPTIONS, baseline, rows);
        self.is_watching = false;
    }

    fn observe(&mut self, event: WatcherEvent) {
        let changes = self.index.fold(event, Timestamp::UNIX_EPOCH, self.journal.remaining_capacity());
        self.journal.append(changes, VERSIONS);
        if self.index.take_dirty() {
            self.journal.mark_dirty(Flush::Now);
        }
    }

    /// Changes one of the control planes that still exist.
    fn change(&mut self, choice: usize, change: impl FnOnce(&mut Tcp)) {
        let existing: Vec<_> = (0..self.tcps.len()).filter(|index| !self.tcps[*index].is_gone).collect();
        let Some(index) = existing.get(choice % existing.len().max(1)).copied() else { return };
        change(&mut self.tcps[index]);
        if self.is_watching {
            self.observe(self.tcps[index].event(index));
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Create => {
                self.tcps.push(Tcp::new());
                if self.is_watching {
                    let index = self.tcps.len() - 1;
                    self.observe(self.tcps[index].event(index));
                }
            }
            Step::Upgrade(choice) => self.change(choice, |tcp| {
                let newest = tcp.versions.iter().max().unwrap() + 1;
                tcp.versions.push(newest);
            }),
            Step::Rollback(choice) => self.change(choice, |tcp| {
                let before = tcp.versions[tcp.versions.len().saturating_sub(2)];
                tcp.versions.push(before);
            }),
            Step::ChangeStatus(choice) => self.change(choice, |tcp| tcp.status = Status::Ready),
            Step::Delete(choice) => self.change(choice, |tcp| tcp.is_terminating = true),
            Step::Remove(choice) => self.change(choice, |tcp| tcp.is_gone = true),
            Step::StopWatch => self.is_watching = false,
            Step::Relist { complete } => self.relist(complete),
            Step::StartWrite | Step::WriteSucceeds | Step::WriteFails | Step::WriteAnswerLost => self.step_write(step),
            Step::Send | Step::Deliver | Step::DeliverAnswerLost | Step::DeliverLate => self.step_delivery(step),
            Step::Crash => self.restart(),
        }
    }

    fn relist(&mut self, complete: bool) {
        self.observe(WatcherEvent::Init);
        let existing: Vec<_> = self.tcps.iter().enumerate().filter(|(_, tcp)| !tcp.is_gone).collect();
        let count = if complete { existing.len() } else { existing.len() / 2 };
        let events: Vec<_> = existing.into_iter().take(count).map(|(index, tcp)| tcp.event(index)).collect();
        for event in events {
            self.observe(event);
        }
        if complete {
            self.observe(WatcherEvent::InitDone);
        }
        self.is_watching = complete;
    }

    fn step_write(&mut self, step: Step) {
        match (step, self.write.take()) {
            (Step::StartWrite, None) if self.journal.next_flush() != Flush::Never => {
                self.write = Some(self.journal.begin_flush(self.index.has_baseline(), self.index.persisted_rows()));
            }
            (Step::WriteSucceeds, Some((state, checkpoint))) => {
                self.journal.commit(checkpoint);
                self.stored = state;
            }
            (Step::WriteFails, Some((_, checkpoint))) => self.journal.rollback(checkpoint),
            (Step::WriteAnswerLost, Some((state, _))) => {
                self.stored = state;
                self.restart();
            }
            (_, write) => self.write = write,
        }
    }

    fn step_delivery(&mut self, step: Step) {
        match (step, self.batch.take()) {
            (Step::Send, None) => self.batch = Some(self.journal.batch(BATCH)).filter(|batch| !batch.is_empty()),
            (Step::Deliver, Some(batch)) => {
                self.deliver(&batch);
                self.journal.remove(&batch.iter().map(|event| event.uid).collect(), None);
                let changes = self.index.report_backlog(Timestamp::UNIX_EPOCH, self.journal.remaining_capacity());
                self.journal.append(changes, VERSIONS);
            }
            (Step::DeliverAnswerLost, Some(batch)) => {
                self.deliver(&batch);
                self.batch = Some(batch);
            }
            (Step::DeliverLate, batch) => {
                self.batch = batch;
                if let Some(batch) = self.late_batches.pop() {
                    self.deliver(&batch);
                }
            }
            (_, batch) => self.batch = batch,
        }
    }

    /// Receives a batch in the backend, which drops repeats by their uid.
    fn deliver(&mut self, batch: &[EventRecord]) {
        for EventRecord { uid, event, .. } in batch {
            if self.delivered_uids.insert(*uid) {
                self.delivered.push(*event);
            }
        }
    }

    /// Observes, writes and delivers everything.
    fn finish(&mut self) {
        self.step(Step::Relist { complete: true });
        while self.journal.pending() + self.index.backlog_len() > 0 {
            for step in [Step::StartWrite, Step::WriteSucceeds, Step::Send, Step::Deliver] {
                self.step(step);
            }
        }
        while !self.late_batches.is_empty() {
            self.step(Step::DeliverLate);
        }
    }

    /// Returns the delivered events by the index of the control plane.
    fn by_tcp(&self) -> HashMap<usize, Vec<Event>> {
        let mut by_tcp: HashMap<usize, Vec<Event>> = HashMap::new();
        for event in &self.delivered {
            let (Event::Created { tcp_version: version, .. }
            | Event::Updated { new_tcp_version: version, .. }
            | Event::Deleted { tcp_version: version, .. }) = event;
            let KubernetesVersion::Release(VersionNumbers { major, .. }) = version else { panic!("{event:?}") };
            by_tcp.entry((*major).into()).or_default().push(*event);
        }
        by_tcp
    }
}

/// Returns an error if the events of a control plane do not match its history.
fn check(index: usize, tcp: &Tcp, events: &[Event]) -> Result<(), String> {
    let minor = |version: KubernetesVersion| match version {
        KubernetesVersion::Release(release) => release.minor,
        KubernetesVersion::Unknown | KubernetesVersion::Other => 0,
    };
    let mut events = events.iter().copied().peekable();
    let mut history = tcp.versions.iter().copied();
    let mut current = tcp.terminating_at_baseline.and_then(|_| history.next());
    if let Some(Event::Created { tcp_version, .. }) = events.peek().copied() {
        if current.is_some() {
            return Err("created, although it existed before".to_owned());
        }
        events.next();
        current = Some(minor(tcp_version));
        if !history.any(|version| Some(version) == current) {
            return Err(format!("created as {current:?}"));
        }
    }
    while let Some(Event::Updated { old_tcp_version, new_tcp_version }) = events.peek().copied() {
        events.next();
        let (old, new) = (minor(old_tcp_version), minor(new_tcp_version));
        if current != Some(old) || old == new || !history.any(|version| version == new) {
            return Err(format!("updated from {old} to {new} at {current:?}"));
        }
        current = Some(new);
    }
    let has_ended = tcp.is_terminating || tcp.is_gone;
    let is_reported =
        matches!(events.next(), Some(Event::Deleted { tcp_version, .. }) if Some(minor(tcp_version)) == current);
    if let Some(more) = events.next() {
        return Err(format!("{more:?} after the end"));
    }
    let is_expected = has_ended && current.is_some() && tcp.terminating_at_baseline != Some(true);
    if is_reported != is_expected {
        return Err(format!("reported as deleted: {is_reported}, expected: {is_expected}"));
    }
    if !has_ended && current != tcp.versions.last().copied() {
        return Err(format!("{index} ends at {current:?} and not at {:?}", tcp.versions.last()));
    }
    Ok(())
}

fn check_all(world: &World) -> Result<(), TestCaseError> {
    let by_tcp = world.by_tcp();
    for (index, tcp) in world.tcps.iter().enumerate() {
        let events = by_tcp.get(&index).map_or(&[][..], Vec::as_slice);
        let result = check(index, tcp, events);
        prop_assert!(result.is_ok(), "{}: {tcp:?} {events:?}", result.unwrap_err());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_delivered_events_match_the_history(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.finish();
        check_all(&world)?;
    }

    #[test]
    fn changes_that_are_observed_in_time_are_not_coalesced(
        changes in prop::collection::vec(step(), 0..60),
        crash in any::<bool>(),
    ) {
        let mut world = World::new();
        let mut expected = 0;
        for change in changes {
            if !matches!(change, Step::Create | Step::Upgrade(_) | Step::Rollback(_) | Step::ChangeStatus(_)) {
                continue;
            }
            let before = world.tcps.clone();
            world.step(change);
            // A rollback from the first version changes nothing, and nothing is reported after a deletion.
            expected += (0..world.tcps.len()).filter(|index| {
                let (tcp, before) = (&world.tcps[*index], before.get(*index));
                !tcp.is_terminating && before.is_none_or(|before| before.versions.last() != tcp.versions.last())
            }).count();
            world.step(Step::StartWrite);
            world.step(Step::WriteSucceeds);
            if crash {
                world.step(Step::Send);
                world.step(Step::DeliverAnswerLost);
                world.step(Step::Crash);
                world.step(Step::Relist { complete: true });
            }
            world.finish();
        }
        prop_assert_eq!(world.delivered.len(), expected);
        check_all(&world)?;
    }
}
