//! Random histories, and what they come to: the rows that are due are kept here, and counted one by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use kamaji_telemetry::backend::store::fold::{LatestRow, PreviousDay, Standing};
use kamaji_telemetry::backend::store::{
    Allowance, Batch, Cutoffs, Day, Dimension, EventRow, GaugeSnapshot, Hour, InstallationRow, Report, Room, Source,
    Spent, StateCounts, Store, Totals, Unlimited,
};
use kamaji_telemetry::catalog::{
    BY_VERSION, DATASTORE_COUNT, Event, EventRecord, ExtendedAttributes, KamajiVersion, KubernetesVersion,
    NetworkProfile, Status,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use uuid::Uuid;

use super::{Shared, facts, hours_ago, view};

/// The number of histories, which a busy machine runs in a few seconds: each commits up to [`MAX_STEPS`] times.
const HISTORIES: u32 = 48;

/// The maximum number of steps in a history.
const MAX_STEPS: usize = 24;

/// A change of a store.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Rows come, all of them in one batch, of a sender with room for so many installations and events.
    Write(Vec<Row>, u32, u32),
    /// A batch comes again, of a sender without room: the position counts from the newest.
    Again(usize),
    /// Snapshots of another server's history come.
    History(Vec<Row>),
    /// Another server received an installation first, so many hours ago.
    FirstSeen(u128, i64),
    Erase(u128),
    /// Rows of this age go, in tens of hours: events, their uids after as many again, and days.
    Prune(i64, i64, i64),
}

#[derive(Debug, Clone)]
pub(crate) enum Row {
    GaugeSnapshot { installation: u128, from: Sender, hours: i64, counts: [u32; 4], dimensions: Vec<(bool, u32)> },
    Event { uid: u128, from: Sender, hours: i64, kind: u8 },
}

/// The sender of a row: this project's agent or Kamaji, and one of two versions of each component.
type Sender = (bool, bool, bool);

/// Any history.
pub(crate) fn histories() -> impl Strategy<Value = Vec<Step>> {
    let write = (prop::collection::vec(row(), 1..6), 0..4_u32, 0..4_u32)
        .prop_map(|(rows, installations, events)| Step::Write(rows, installations, events));
    let prune = (20..80_i64, 0..80_i64, 20..80_i64).prop_map(|(events, uids, days)| Step::Prune(events, uids, days));
    let step = prop_oneof![
        8 => write,
        2 => (0..MAX_STEPS).prop_map(Step::Again),
        2 => prop::collection::vec(snapshot_row(), 1..4).prop_map(Step::History),
        2 => (0..4_u128, hours()).prop_map(|(installation, hours)| Step::FirstSeen(installation, hours)),
        1 => (0..4_u128).prop_map(Step::Erase),
        1 => prune,
    ];
    prop::collection::vec(step, 1..MAX_STEPS)
}

fn sender() -> impl Strategy<Value = Sender> {
    (prop::bool::weighted(0.8), any::<bool>(), any::<bool>())
}

fn snapshot_row() -> impl Strategy<Value = Row> {
    let counts = prop::array::uniform4(prop_oneof![9 => 0..3_u32, 2 => 20..40_u32, 1 => 24_000..25_002_u32]);
    let points = prop_oneof![3 => 0..3_u32, 1 => 40..70_u32];
    let dimensions = prop::collection::vec((any::<bool>(), points), 0..3);
    (0..4_u128, sender(), hours(), counts, dimensions).prop_map(|(installation, from, hours, counts, dimensions)| {
        Row::GaugeSnapshot { installation, from, hours, counts, dimensions }
    })
}

fn row() -> impl Strategy<Value = Row> {
    // No older event is accepted, and no older uid is known.
    let age = hours().prop_map(|hours| hours % 720);
    let event =
        (0..12_u128, sender(), age, 0..7_u8).prop_map(|(uid, from, hours, kind)| Row::Event { uid, from, hours, kind });
    prop_oneof![3 => snapshot_row(), 1 => event]
}

/// Mostly around the ends of the windows.
fn hours() -> impl Strategy<Value = i64> {
    prop_oneof![0..3_i64, 22..27_i64, 166..170_i64, 718..723_i64, 0..2_000_i64]
}

impl Step {
    fn batch(rows: &[Row]) -> Batch {
        let mut batch = Batch::default();
        for row in rows {
            match row {
                Row::GaugeSnapshot { installation, from, hours, counts, dimensions } => {
                    let [running, sleeping, not_ready, upgrading] = *counts;
                    let report = Report {
                        counts: StateCounts { running, sleeping, not_ready, upgrading },
                        source: source(*from),
                        kamaji_version: kamaji(*from),
                        kubernetes_version: kubernetes(from.2),
                        dimensions: points(dimensions),
                    };
                    let (installation, received) = (Uuid::from_u128(*installation), Hour::of(hours_ago(*hours)));
                    batch.snapshots.push(GaugeSnapshot { installation, received, report });
                }
                Row::Event { uid, from, hours, kind } => batch.events.push(event(*uid, *from, *hours, *kind)),
            }
        }
        batch
    }

    /// Does it to a store.
    pub(crate) async fn take(self, store: &dyn Store, written: &mut Vec<Batch>, model: &mut Model) {
        match self {
            Self::Write(rows, installations, events) => {
                let batch = Self::batch(&rows);
                written.push(batch.clone());
                let room = Room { installations, events, ..Unlimited.room() };
                model.write(&batch, room);
                store.write_within(batch, Arc::new(Within(room))).await.unwrap();
            }
            Self::Again(position) => {
                let Some(batch) = written.iter().rev().nth(position).cloned() else { return };
                let room = Room { installations: 0, events: 0, ..Unlimited.room() };
                model.write(&batch, room);
                store.write_within(batch, Arc::new(Within(room))).await.unwrap();
            }
            Self::History(rows) => {
                let (batch, room) = (Self::batch(&rows), Room { is_history: true, ..Unlimited.room() });
                model.write(&batch, room);
                store.write_within(batch, Arc::new(Within(room))).await.unwrap();
            }
            Self::FirstSeen(installation, hours) => {
                let (installation, hour) = (Uuid::from_u128(installation), Hour::of(hours_ago(hours)));
                let is_moved = model.move_first_seen(installation, hour);
                let moved = store.move_first_seen(BTreeMap::from([(installation, hour)])).await.unwrap();
                assert_eq!(moved, u64::from(is_moved));
            }
            Self::Erase(installation) => {
                let installation = Uuid::from_u128(installation);
                model.latest.remove(&installation);
                model.days.retain(|(_, of), _| *of != installation);
                store.erase(installation).await.unwrap();
            }
            Self::Prune(events, uids, days) => {
                let cutoffs = Cutoffs {
                    events: Hour::of(hours_ago(events * 10)),
                    uids: Hour::of(hours_ago((events + uids) * 10)),
                    installations: Hour::of(hours_ago(days * 10)).day(),
                };
                model.prune(cutoffs);
                store.prune(cutoffs).await.unwrap();
            }
        }
    }
}

fn source((agent, version, _): Sender) -> Source {
    let version = if version { "0.1.0" } else { "0.2.0" };
    if agent { Source::Agent(version.parse().unwrap()) } else { Source::Kamaji }
}

/// Versions whose order as text is another one, of both lines and of none.
fn kamaji((_, version, other): Sender) -> KamajiVersion {
    let version = match (version, other) {
        (true, true) => "v1.9.0",
        (true, false) => "v1.10.0",
        (false, true) => "edge-26.7.4",
        (false, false) => return KamajiVersion::Unknown,
    };
    version.parse().unwrap()
}

fn kubernetes(version: bool) -> KubernetesVersion {
    if version { "v1.10.1" } else { "v1.9.2" }.parse().unwrap()
}

/// Each dimension once.
fn points(dimensions: &[(bool, u32)]) -> Vec<(Dimension, u32)> {
    let points = dimensions.iter().map(|(etcd, count)| (*etcd, *count)).collect::<BTreeMap<_, _>>();
    let dimension = |etcd| if etcd { (&DATASTORE_COUNT, "etcd") } else { (&BY_VERSION, "v1.35") };
    let point = |(etcd, count)| {
        let (metric, value) = dimension(etcd);
        (Dimension::new(metric, value).unwrap(), count)
    };
    points.into_iter().map(point).collect()
}

fn event(uid: u128, from: Sender, hours: i64, kind: u8) -> EventRow {
    let tcp_version = kubernetes(from.1);
    let event = match kind {
        0 => Event::Created { tcp_version, extended: None },
        1 => {
            let network_profile = from.2.then_some(NetworkProfile::LoadBalancer);
            Event::Created { tcp_version, extended: Some(ExtendedAttributes { cluster_api: from.1, network_profile }) }
        }
        2 => Event::Updated { old_tcp_version: kubernetes(from.2), new_tcp_version: tcp_version },
        3 => Event::Updated { old_tcp_version: "v1.10.10".parse().unwrap(), new_tcp_version: tcp_version },
        4 => Event::Updated { old_tcp_version: KubernetesVersion::Unknown, new_tcp_version: tcp_version },
        5 => Event::Deleted { status: Status::Ready, tcp_version },
        _ => Event::Deleted { status: Status::NotReady, tcp_version },
    };
    let record = EventRecord {
        uid: Uuid::from_u128(uid),
        time: hours_ago(hours),
        kamaji_version: kamaji(from),
        kubernetes_version: kubernetes(from.2),
        event,
    };
    EventRow { record, source: source(from), bulk: false }
}

/// The rows that a store is to keep.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(super) latest: BTreeMap<Uuid, Installation>,
    pub(super) days: BTreeMap<(Day, Uuid), InstallationDay>,
    /// `None` where only the uid is still known, with the hour.
    events: BTreeMap<Uuid, (Hour, Option<EventRow>)>,
}

/// The allowance of a sender whose room is the same for each batch.
#[derive(Debug)]
pub(crate) struct Within(pub(crate) Room);

impl Allowance for Within {
    fn sender(&self) -> u64 {
        1
    }

    fn room(&self) -> Room {
        self.0
    }

    fn spend(&self, spent: Spent) {
        assert!(spent.installations <= self.0.installations && spent.events <= self.0.events, "{spent:?}");
    }
}

/// All receipts of an installation with their hours, and its last report.
#[derive(Debug)]
pub(super) struct Installation {
    receipts: Vec<Receipt>,
    /// The first receipt by another server, and the hour that confirmed it when that became known.
    moved: Option<(Hour, Option<Hour>)>,
    bulk: bool,
    report: Report,
}

#[derive(Debug)]
struct Receipt {
    hour: Hour,
    report: Report,
    /// That of another server's history confirms nothing.
    confirms: bool,
}

/// An installation on a day.
#[derive(Debug)]
pub(super) struct InstallationDay {
    pub(super) counts: bool,
    pub(super) young: bool,
    pub(super) report: Report,
}

impl Installation {
    pub(super) fn first_seen(&self) -> Hour {
        self.moved.map_or(self.receipts[0].hour, |(hour, _)| hour)
    }

    pub(super) fn last_seen(&self) -> Hour {
        self.receipts[self.receipts.len() - 1].hour
    }

    /// Returns the last report of a day.
    pub(super) fn at_the_end_of(&self, day: Day) -> Option<&Report> {
        self.receipts.iter().rev().find(|receipt| receipt.hour.day() == day).map(|receipt| &receipt.report)
    }

    /// Any receipt of another day and at least 20 hours after the first confirms it.
    fn confirmed(&self) -> Option<Hour> {
        let known = self.moved.and_then(|(_, confirmed)| confirmed);
        let receipts = self.receipts.iter().filter(|receipt| receipt.confirms);
        known.or_else(|| receipts.map(|receipt| receipt.hour).find(|hour| self.confirms(*hour)))
    }

    fn confirms(&self, hour: Hour) -> bool {
        let first = self.first_seen();
        hour.day() != first.day() && hour.number() - first.number() >= 20
    }

    fn is_confirmed(&self) -> bool {
        self.confirmed().is_some()
    }

    fn is_young(&self) -> bool {
        self.last_seen().number() - self.first_seen().number() < 28 * 24
    }

    pub(super) fn standing(&self) -> Standing {
        match self.confirmed() {
            _ if self.bulk => Standing::Bulk,
            Some(_) => Standing::Confirmed,
            None => Standing::NotConfirmed,
        }
    }

    /// In the figures.
    fn counts(&self) -> bool {
        self.is_confirmed() && !self.bulk
    }
}

impl Model {
    fn write(&mut self, batch: &Batch, mut room: Room) {
        for snapshot in &batch.snapshots {
            self.write_snapshot(snapshot, &mut room);
        }
        for row in &batch.events {
            let hour = Hour::of(row.record.time);
            self.events.entry(row.record.uid).or_insert_with(|| {
                let bulk = !take(&mut room.events);
                (hour, Some(EventRow { bulk, ..row.clone() }))
            });
        }
    }

    fn write_snapshot(&mut self, GaugeSnapshot { installation, received, report }: &GaugeSnapshot, room: &mut Room) {
        let is_history = room.is_history;
        let receipt = |hour| Receipt { hour, report: report.clone(), confirms: !is_history };
        let is_late = |row: &Installation| is_history && *received <= row.last_seen();
        if self.latest.get(installation).is_some_and(is_late) {
            return;
        }
        let new =
            || Installation { receipts: vec![receipt(*received)], moved: None, bulk: true, report: report.clone() };
        let row = self.latest.entry(*installation).or_insert_with(new);
        if is_agents(&row.report.source) != is_agents(&report.source) {
            return;
        }
        row.receipts.push(receipt((*received).max(row.last_seen())));
        row.report = report.clone();
        row.bulk = report.counts.total() > 25_000 || (row.bulk && !take(&mut room.installations));
        let day = InstallationDay { counts: row.counts(), young: row.is_young(), report: report.clone() };
        self.days.insert((row.last_seen().day(), *installation), day);
    }

    /// Returns whether the first receipt was later.
    fn move_first_seen(&mut self, installation: Uuid, hour: Hour) -> bool {
        let is_later = |row: &&mut Installation| hour < row.first_seen() && !is_agents(&row.report.source);
        let Some(row) = self.latest.get_mut(&installation).filter(is_later) else { return false };
        let confirmed = row.confirmed();
        row.moved = Some((hour, None));
        let last = Some(row.last_seen()).filter(|last| row.confirms(*last));
        row.moved = Some((hour, confirmed.or(last)));
        let day = InstallationDay { counts: row.counts(), young: row.is_young(), report: row.report.clone() };
        self.days.insert((row.last_seen().day(), installation), day);
        true
    }

    fn prune(&mut self, cutoffs: Cutoffs) {
        self.latest.retain(|_, row| row.last_seen().day() >= cutoffs.installations);
        self.days.retain(|(day, _), _| *day >= cutoffs.installations);
        self.events.retain(|_, (hour, _)| *hour >= cutoffs.uids);
        for (_, row) in self.events.values_mut().filter(|(hour, _)| *hour < cutoffs.events) {
            *row = None;
        }
    }

    /// Returns all installations in the order of their UUIDs.
    fn installations(&self) -> Vec<InstallationRow> {
        self.latest.iter().map(|(uuid, row)| installation(*uuid, row)).collect()
    }

    /// Returns all events in the order of their uids.
    fn all_events(&self) -> Vec<EventRow> {
        self.events.values().filter_map(|(_, row)| row.clone()).collect()
    }

    pub(super) fn of_source(&self, agents: bool) -> impl Iterator<Item = (&Uuid, &Installation)> {
        self.latest.iter().filter(move |(_, row)| is_agents(&row.report.source) == agents)
    }

    pub(super) fn events(&self, agents: bool) -> impl Iterator<Item = &EventRow> {
        let rows = self.events.values().filter_map(|(_, row)| row.as_ref());
        rows.filter(move |row| !row.bulk && is_agents(&row.source) == agents)
    }
}

pub(super) fn is_agents(source: &Source) -> bool {
    matches!(source, Source::Agent(_))
}

fn take(left: &mut u32) -> bool {
    let has_room = *left > 0;
    *left -= u32::from(has_room);
    has_room
}

/// The parts of a young installation of more than 50 control planes are those of 50.
pub(super) fn weigh(part: u32, all: u64, young: bool) -> u64 {
    if young && all > 50 { u64::from(part) * 50 / all } else { part.into() }
}

pub(super) fn add(sum: Totals, counts: StateCounts, young: bool) -> Totals {
    let all = counts.total();
    let weight = |part| weigh(part, all, young);
    let [running, sleeping, not_ready, upgrading] =
        [counts.running, counts.sleeping, counts.not_ready, counts.upgrading].map(weight);
    Totals {
        running: sum.running + running,
        sleeping: sum.sleeping + sleeping,
        not_ready: sum.not_ready + not_ready,
        upgrading: sum.upgrading + upgrading,
        left_out: sum.left_out + all - running - sleeping - not_ready - upgrading,
    }
}

fn installation(uuid: Uuid, row: &Installation) -> InstallationRow {
    let (first_seen, last_seen, bulk) = (row.first_seen(), row.last_seen(), row.bulk);
    let (confirmed, report, day) = (row.confirmed(), row.report.clone(), last_seen.day());
    let previous = row.receipts.iter().rev().find(|receipt| receipt.hour.day() < day);
    let previous = previous.map(|receipt| PreviousDay::of(receipt.hour.day(), &receipt.report));
    InstallationRow { uuid, latest: LatestRow { first_seen, confirmed, last_seen, bulk, previous, report } }
}

/// Checks after each step of random histories that the lists and the facts are what the rows come to.
pub(crate) fn holds<Place>(open: impl AsyncFn() -> (Shared, Place)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = Config { cases: HISTORIES, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&histories(), |history| {
        runtime.block_on(async {
            let (store, _place) = open().await;
            let (mut written, mut model) = (Vec::new(), Model::default());
            for step in history {
                step.take(store.as_ref(), &mut written, &mut model).await;
                let view = view(&store).await;
                prop_assert_eq!(view.installations, model.installations());
                prop_assert_eq!(view.events, model.all_events());
                let queries = facts::queries();
                let read = store.facts(queries.clone()).await.unwrap();
                for (query, facts) in queries.into_iter().zip(read) {
                    prop_assert_eq!(facts::sorted(facts), facts::sorted(model.facts(query)), "{:?}", query);
                }
            }
            Ok(())
        })
    });
    result.unwrap();
}
