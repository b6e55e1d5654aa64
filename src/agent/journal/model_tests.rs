//! Random histories of control planes, with random crashes, outages and losses, against what arrives in the end.
//!
//! The agent here is its pure core: the view and the journal. What it is surrounded by is played: a cluster, whose
//! changes are seen or missed; a storage, whose writes land, fail, or land unheard; and a backend, which drops repeats
//! and hears of some deliveries late. In the end all is seen and delivered, and what has arrived is judged by what
//! truly happened.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::agent::observe::{ControlPlane, Index, IndexOptions, WatcherEvent};
use crate::catalog::{CreatedWith, Event, KubernetesVersion, Stage, Status, VersionNumbers};

const OPTIONS: IndexOptions = IndexOptions { extended: false, limit: 1_000 };
const VERSIONS: ComponentVersions =
    ComponentVersions { kamaji: KamajiVersion::Unknown, kubernetes: KubernetesVersion::Unknown };
/// Few enough that the outbox is full now and then.
const OUTBOX: usize = 4;
const BATCH: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Step {
    Create,
    /// To a version that it never had.
    Upgrade(usize),
    /// To the version that it had before.
    GoBack(usize),
    ChangeStatus(usize),
    /// It stays, held by a finalizer.
    Delete(usize),
    Remove(usize),
    /// From here on nothing is seen.
    CutWatch,
    /// All that is there is seen again; or, broken off, a part of it.
    Relist {
        whole: bool,
    },
    /// A write begins, unless one is under way.
    Write,
    Land,
    Fail,
    /// The write has landed, and the agent does not hear of it: its next one is a conflict, and ends the term.
    LandUnheard,
    /// A batch is on its way, unless one is.
    Send,
    /// It arrives and the answer is heard.
    Arrive,
    /// It arrives, and the answer is lost.
    ArriveUnheard,
    Crash,
    /// A batch of a crashed agent arrives.
    ArriveLate,
}

/// A control plane and every version that it has had; its number is the first number of each.
#[derive(Debug, Clone)]
struct Tcp {
    versions: Vec<u16>,
    status: Status,
    is_deleted: bool,
    is_gone: bool,
    /// Whether it was being deleted when the baseline was recorded; nothing where it was not there yet.
    at_baseline: Option<bool>,
}

struct World {
    tcps: Vec<Tcp>,
    index: Index,
    journal: Journal,
    is_watching: bool,
    writing: Option<(JournalState, Checkpoint)>,
    sending: Option<Vec<EventRecord>>,
    late: Vec<Vec<EventRecord>>,
    stored: JournalState,
    arrived: Vec<Event>,
    uids: HashSet<Uuid>,
}

fn step() -> impl Strategy<Value = Step> {
    let which = || 0..6usize;
    prop_oneof![
        3 => Just(Step::Create),
        4 => which().prop_map(Step::Upgrade),
        2 => which().prop_map(Step::GoBack),
        1 => which().prop_map(Step::ChangeStatus),
        2 => which().prop_map(Step::Delete),
        2 => which().prop_map(Step::Remove),
        1 => Just(Step::CutWatch),
        2 => any::<bool>().prop_map(|whole| Step::Relist { whole }),
        4 => Just(Step::Write),
        4 => Just(Step::Land),
        1 => Just(Step::Fail),
        1 => Just(Step::LandUnheard),
        4 => Just(Step::Send),
        3 => Just(Step::Arrive),
        1 => Just(Step::ArriveUnheard),
        1 => Just(Step::Crash),
        1 => Just(Step::ArriveLate),
    ]
}

fn version(number: usize, minor: u16) -> KubernetesVersion {
    let major = u16::try_from(number).unwrap();
    KubernetesVersion::Release(VersionNumbers { major, minor, patch: 0, stage: Stage::Final })
}

fn uid(number: usize) -> Uuid {
    Uuid::from_u128(number as u128)
}

impl Tcp {
    fn new() -> Self {
        Self { versions: vec![1], status: Status::NotReady, is_deleted: false, is_gone: false, at_baseline: None }
    }

    fn seen(&self, number: usize) -> WatcherEvent {
        if self.is_gone {
            return WatcherEvent::Delete(uid(number));
        }
        WatcherEvent::Apply(ControlPlane {
            uid: uid(number),
            created: Some(Timestamp::UNIX_EPOCH),
            deleted: self.is_deleted.then_some(Timestamp::UNIX_EPOCH),
            tcp_version: Some(version(number, *self.versions.last().unwrap())),
            status: Some(self.status),
            with: CreatedWith { cluster_api: false, network_profile: None },
        })
    }
}

impl World {
    /// A cluster with some control planes, one of which is being deleted, and an agent with a baseline of them.
    fn new() -> Self {
        let stored = JournalState::new();
        let mut world = Self {
            tcps: vec![Tcp::new(); 3],
            index: Index::restore(OPTIONS, false, Vec::new()),
            journal: Journal::open(stored.clone()).0,
            is_watching: false,
            writing: None,
            sending: None,
            late: Vec::new(),
            stored,
            arrived: Vec::new(),
            uids: HashSet::new(),
        };
        world.tcps[2].is_deleted = true;
        world.restart();
        world.take(Step::Relist { whole: true });
        world.take(Step::Write);
        world.take(Step::Land);
        for tcp in &mut world.tcps {
            tcp.at_baseline = Some(tcp.is_deleted);
        }
        world
    }

    /// Another term begins from what is stored.
    fn restart(&mut self) {
        self.late.extend(self.sending.take());
        self.writing = None;
        let (journal, baseline, rows) = Journal::open(self.stored.clone());
        self.journal = Journal { limit: OUTBOX, ..journal };
        self.index = Index::restore(OPTIONS, baseline, rows);
        self.is_watching = false;
    }

    fn see(&mut self, seen: WatcherEvent) {
        let changes = self.index.fold(seen, Timestamp::UNIX_EPOCH, self.journal.room());
        self.journal.append(changes, VERSIONS);
        if self.index.take_unsaved() {
            self.journal.mark_dirty(Flush::Now);
        }
    }

    /// One that is still there, and changes.
    fn change(&mut self, which: usize, change: impl FnOnce(&mut Tcp)) {
        let there: Vec<_> = (0..self.tcps.len()).filter(|number| !self.tcps[*number].is_gone).collect();
        let Some(number) = there.get(which % there.len().max(1)).copied() else { return };
        change(&mut self.tcps[number]);
        if self.is_watching {
            self.see(self.tcps[number].seen(number));
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Create => {
                self.tcps.push(Tcp::new());
                if self.is_watching {
                    self.see(self.tcps[self.tcps.len() - 1].seen(self.tcps.len() - 1));
                }
            }
            Step::Upgrade(which) => self.change(which, |tcp| {
                let newest = tcp.versions.iter().max().unwrap() + 1;
                tcp.versions.push(newest);
            }),
            Step::GoBack(which) => self.change(which, |tcp| {
                let before = tcp.versions[tcp.versions.len().saturating_sub(2)];
                tcp.versions.push(before);
            }),
            Step::ChangeStatus(which) => self.change(which, |tcp| tcp.status = Status::Ready),
            Step::Delete(which) => self.change(which, |tcp| tcp.is_deleted = true),
            Step::Remove(which) => self.change(which, |tcp| tcp.is_gone = true),
            Step::CutWatch => self.is_watching = false,
            Step::Relist { whole } => self.relist(whole),
            Step::Write | Step::Land | Step::Fail | Step::LandUnheard => self.write(step),
            Step::Send | Step::Arrive | Step::ArriveUnheard | Step::ArriveLate => self.send(step),
            Step::Crash => self.restart(),
        }
    }

    fn relist(&mut self, whole: bool) {
        self.see(WatcherEvent::Init);
        let there: Vec<_> = self.tcps.iter().enumerate().filter(|(_, tcp)| !tcp.is_gone).collect();
        let count = if whole { there.len() } else { there.len() / 2 };
        let seen: Vec<_> = there.into_iter().take(count).map(|(number, tcp)| tcp.seen(number)).collect();
        for seen in seen {
            self.see(seen);
        }
        if whole {
            self.see(WatcherEvent::InitDone);
        }
        self.is_watching = whole;
    }

    fn write(&mut self, step: Step) {
        match (step, self.writing.take()) {
            (Step::Write, None) if self.journal.next_flush() != Flush::Never => {
                self.writing = Some(self.journal.snapshot(self.index.has_baseline(), self.index.kept()));
            }
            (Step::Land, Some((state, mark))) => {
                self.journal.commit(mark);
                self.stored = state;
            }
            (Step::Fail, Some((_, mark))) => self.journal.rollback(mark),
            (Step::LandUnheard, Some((state, _))) => {
                self.stored = state;
                self.restart();
            }
            (_, writing) => self.writing = writing,
        }
    }

    fn send(&mut self, step: Step) {
        match (step, self.sending.take()) {
            (Step::Send, None) => self.sending = Some(self.journal.batch(BATCH)).filter(|batch| !batch.is_empty()),
            (Step::Arrive, Some(batch)) => {
                self.arrive(&batch);
                self.journal.remove(&batch.iter().map(|event| event.uid).collect(), None);
                let changes = self.index.report_waiting(Timestamp::UNIX_EPOCH, self.journal.room());
                self.journal.append(changes, VERSIONS);
            }
            (Step::ArriveUnheard, Some(batch)) => {
                self.arrive(&batch);
                self.sending = Some(batch);
            }
            (Step::ArriveLate, sending) => {
                self.sending = sending;
                if let Some(batch) = self.late.pop() {
                    self.arrive(&batch);
                }
            }
            (_, sending) => self.sending = sending,
        }
    }

    /// The backend drops repeats by their uid.
    fn arrive(&mut self, batch: &[EventRecord]) {
        for EventRecord { uid, event, .. } in batch {
            if self.uids.insert(*uid) {
                self.arrived.push(*event);
            }
        }
    }

    /// All is seen, written and delivered.
    fn settle(&mut self) {
        self.take(Step::Relist { whole: true });
        while self.journal.pending() + self.index.waiting() > 0 {
            for step in [Step::Write, Step::Land, Step::Send, Step::Arrive] {
                self.take(step);
            }
        }
        while !self.late.is_empty() {
            self.take(Step::ArriveLate);
        }
    }

    /// The events of each control plane, by its number.
    fn by_tcp(&self) -> HashMap<usize, Vec<Event>> {
        let mut by_tcp: HashMap<usize, Vec<Event>> = HashMap::new();
        for event in &self.arrived {
            let (Event::Created { tcp_version: version, .. }
            | Event::Updated { new_tcp_version: version, .. }
            | Event::Deleted { tcp_version: version, .. }) = event;
            let KubernetesVersion::Release(VersionNumbers { major, .. }) = version else { panic!("{event:?}") };
            by_tcp.entry((*major).into()).or_default().push(*event);
        }
        by_tcp
    }
}

/// Says what is wrong with the events of a control plane, by what truly happened to it.
fn judge(number: usize, tcp: &Tcp, events: &[Event]) -> Result<(), String> {
    let minor = |version: KubernetesVersion| match version {
        KubernetesVersion::Release(release) => release.minor,
        KubernetesVersion::Unknown => 0,
    };
    let mut events = events.iter().copied().peekable();
    let mut truth = tcp.versions.iter().copied();
    let mut at = tcp.at_baseline.and_then(|_| truth.next());
    if let Some(Event::Created { tcp_version, .. }) = events.peek().copied() {
        if at.is_some() {
            return Err("created, though it was there before".to_owned());
        }
        events.next();
        at = Some(minor(tcp_version));
        if !truth.any(|version| Some(version) == at) {
            return Err(format!("created as {at:?}"));
        }
    }
    while let Some(Event::Updated { old_tcp_version, new_tcp_version }) = events.peek().copied() {
        events.next();
        let (old, new) = (minor(old_tcp_version), minor(new_tcp_version));
        if at != Some(old) || old == new || !truth.any(|version| version == new) {
            return Err(format!("updated from {old} to {new} at {at:?}"));
        }
        at = Some(new);
    }
    let ended = tcp.is_deleted || tcp.is_gone;
    let is_reported =
        matches!(events.next(), Some(Event::Deleted { tcp_version, .. }) if Some(minor(tcp_version)) == at);
    if let Some(more) = events.next() {
        return Err(format!("{more:?} after the end"));
    }
    let due = ended && at.is_some() && tcp.at_baseline != Some(true);
    if is_reported != due {
        return Err(format!("reported as deleted: {is_reported}, was to be: {due}"));
    }
    if !ended && at != tcp.versions.last().copied() {
        return Err(format!("{number} ends at {at:?} and not at {:?}", tcp.versions.last()));
    }
    Ok(())
}

fn judge_all(world: &World) -> Result<(), TestCaseError> {
    let by_tcp = world.by_tcp();
    for (number, tcp) in world.tcps.iter().enumerate() {
        let events = by_tcp.get(&number).map_or(&[][..], Vec::as_slice);
        let judged = judge(number, tcp, events);
        prop_assert!(judged.is_ok(), "{}: {tcp:?} {events:?}", judged.unwrap_err());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_what_arrives_is_what_happened(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        world.settle();
        judge_all(&world)?;
    }

    #[test]
    fn where_all_is_seen_in_time_nothing_is_coalesced(
        changes in prop::collection::vec(step(), 0..60),
        crash in any::<bool>(),
    ) {
        let mut world = World::new();
        let mut expected = 0;
        for change in changes {
            if !matches!(change, Step::Create | Step::Upgrade(_) | Step::GoBack(_) | Step::ChangeStatus(_)) {
                continue;
            }
            let before = world.tcps.clone();
            world.take(change);
            // Going back from the first version changes nothing, and after a deletion nothing is reported.
            expected += (0..world.tcps.len()).filter(|number| {
                let (tcp, before) = (&world.tcps[*number], before.get(*number));
                !tcp.is_deleted && before.is_none_or(|before| before.versions.last() != tcp.versions.last())
            }).count();
            world.take(Step::Write);
            world.take(Step::Land);
            if crash {
                world.take(Step::Send);
                world.take(Step::ArriveUnheard);
                world.take(Step::Crash);
                world.take(Step::Relist { whole: true });
            }
            world.settle();
        }
        prop_assert_eq!(world.arrived.len(), expected);
        judge_all(&world)?;
    }
}
