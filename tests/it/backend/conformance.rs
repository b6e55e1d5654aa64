//! The conformance suite of stores. A new store is a module that opens it and calls `conformance!`.

pub(crate) mod equality;
mod facts;
pub(crate) mod recomputation;

use std::sync::Arc;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use kamaji_telemetry::backend::insights::away::Away;
use kamaji_telemetry::backend::store::fold::{DimensionPart, EventChange, Standing};
use kamaji_telemetry::backend::store::{
    Allowance, Batch, Cutoffs, Day, DayFact, Dimension, DimensionFact, Erased, EventFilter, EventRow, Facts,
    FactsQuery, GaugeSnapshot, Hour, HourRange, InstallationFilter, InstallationRow, MatchedRows, Operations, Pruned,
    Report, Room, SeenFact, ServedHour, ServedMinutes, Source, SourceKind, SqliteStore, StateCounts, Store, Totals,
    Unlimited, WriteError, truncate_to_hour, utc_day,
};
use kamaji_telemetry::catalog::{
    BY_VERSION, DATASTORE_COUNT, Event, EventRecord, ExtendedAttributes, KamajiVersion, KubernetesVersion,
    NetworkProfile, Status,
};
use recomputation::Within;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::servers::postgres::TestDatabase;

macro_rules! conformance {
    ($open:expr) => {
        conformance!(@ $open,
            an_empty_store_has_nothing_to_show,
            writing_again_changes_nothing,
            the_last_received_snapshot_stands_whatever_its_hour,
            an_installation_has_one_row_a_day,
            dimensions_go_with_their_snapshot,
            the_first_event_with_a_uid_stays_whatever_its_hour_and_its_sender,
            every_event_reads_back_as_it_was_written,
            installations_are_active_once_they_are_confirmed,
            those_that_are_not_confirmed_are_in_no_other_figure,
            only_installations_of_the_window_are_active,
            lists_are_bounded,
            concurrent_writers_lose_and_repeat_nothing,
            a_batch_larger_than_the_queue_is_kept,
            kamajis_built_in_telemetry_is_counted_apart,
            an_installation_keeps_its_source,
            the_key_of_pseudonyms_stays_the_same,
            its_size_is_known_and_grows,
            what_is_older_than_the_cutoffs_is_deleted_and_the_rest_stays,
            the_uid_of_a_deleted_event_is_known_until_its_own_cutoff,
            the_words_of_a_deleted_event_go_with_it,
            a_first_receipt_that_moves_makes_no_word_older,
            writes_go_on_between_the_steps_of_a_deletion,
            an_erased_installation_leaves_no_row_and_no_other_one_loses_any,
            what_does_not_fit_is_refused_and_the_rest_of_its_group_is_stored,
            installations_that_match_a_filter_are_listed_and_erased,
            events_that_match_a_filter_are_erased_and_their_repeats_are_known,
            the_newest_events_that_match_a_filter_are_listed,
            what_is_new_is_counted_by_day,
            the_operation_is_summed_by_day_and_hour_and_a_repeated_flush_adds_nothing,
            the_operation_goes_with_the_days_of_installations,
            another_servers_history_changes_nothing_that_was_received_as_late_or_later,
            an_old_event_of_another_servers_history_is_stored_once_and_not_again_when_it_was_erased,
            an_earlier_first_receipt_moves_every_figure_of_its_installation,
        );
    };
    (@ $open:expr, $($check:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $check() {
                let (store, _place) = $open.await;
                super::$check(store).await;
            }
        )*

        #[test]
        fn after_any_history_the_lists_and_the_facts_are_what_the_rows_come_to() {
            super::recomputation::holds(async || $open.await);
        }
    };
}

mod auth;

mod sqlite {
    conformance!(std::future::ready(super::open_sqlite()));
}

mod postgres {
    conformance!(super::open_postgres());
}

pub(crate) type Shared = Arc<dyn Store>;

fn open_sqlite() -> (Shared, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Arc::new(SqliteStore::open(&folder.path().join("store.db")).unwrap()), folder)
}

async fn open_postgres() -> (Shared, TestDatabase) {
    let database = TestDatabase::create().await;
    (database.open().await, database)
}

/// A moment in the middle of a day.
pub(crate) fn noon() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

pub(crate) fn hours_ago(hours: i64) -> Timestamp {
    noon() - SignedDuration::from_hours(hours)
}

/// A view of a store: its lists, and the facts of each source as of today and of yesterday.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct View {
    /// All installations, in the order of their UUIDs.
    pub(crate) installations: Vec<InstallationRow>,
    /// All events, in the order of their uids.
    pub(crate) events: Vec<EventRow>,
    agents: Facts,
    agents_yesterday: Facts,
    kamaji: Facts,
    kamaji_yesterday: Facts,
}

impl View {
    /// Returns the agents' installations that are in the figures, in the order of their UUIDs.
    fn confirmed(&self) -> Vec<&InstallationRow> {
        let is_agents = |row: &&InstallationRow| row.latest.report.source.kind() == SourceKind::Agent;
        let is_confirmed = |row: &&InstallationRow| row.latest.standing() == Standing::Confirmed;
        self.installations.iter().filter(is_agents).filter(is_confirmed).collect()
    }

    fn of(&self, source: SourceKind) -> &Facts {
        match source {
            SourceKind::Agent => &self.agents,
            SourceKind::Kamaji => &self.kamaji,
        }
    }

    /// Returns the numbers of installations that were received last on these days up to today: those in the figures, those
    /// not confirmed, and those in bulk.
    pub(crate) fn received(&self, source: SourceKind, days: i32) -> [u64; 3] {
        let first = Hour::of(noon()).day().minus(days - 1);
        [Standing::Confirmed, Standing::NotConfirmed, Standing::Bulk].map(|standing| {
            let facts = self.of(source).last_seen.iter();
            facts.filter(|fact| fact.standing == standing && fact.day >= first).map(|fact| fact.installations).sum()
        })
    }

    /// Returns what is known of today.
    fn today(&self, source: SourceKind) -> DayFact {
        let today = Hour::of(noon()).day();
        *self.of(source).days.iter().find(|fact| fact.day == today).unwrap()
    }

    /// Returns the sums of the values of agents' extended gauges, in the order of their names.
    fn dimensions(&self) -> Vec<(String, u64)> {
        let value = |fact: &DimensionFact| match &fact.part {
            DimensionPart::Value(dimension) => Some((name(dimension), fact.count)),
            DimensionPart::Metric(_) => None,
        };
        let mut values: Vec<_> = self.agents.dimensions.iter().filter_map(value).collect();
        values.sort();
        values
    }
}

fn name(dimension: &Dimension) -> String {
    format!("{} {}", dimension.metric().name, dimension.value())
}

pub(crate) async fn view(store: &Shared) -> View {
    const ALL: usize = 100_000;
    let kinds = [SourceKind::Agent, SourceKind::Kamaji];
    let queries = kinds.into_iter().flat_map(|source| [0, 1].map(|age| facts::query(source, age, 90)));
    let facts = store.facts(queries.collect()).await.unwrap();
    let [agents, agents_yesterday, kamaji, kamaji_yesterday] = facts.try_into().unwrap();
    let mut installations = store.installations(InstallationFilter::default(), ALL).await.unwrap().listed;
    installations.sort_by_key(|row| row.uuid);
    let mut events = store.events(EventFilter::default(), ALL).await.unwrap();
    events.sort_by_key(|row| row.record.uid);
    View { installations, events, agents, agents_yesterday, kamaji, kamaji_yesterday }
}

pub(crate) fn snapshot(installation: Uuid, time: Timestamp, running: u32) -> GaugeSnapshot {
    let report = Report {
        counts: StateCounts { running, sleeping: 1, not_ready: 2, upgrading: 3 },
        source: Source::Agent("0.1.0".parse().unwrap()),
        kamaji_version: "v1.0.0".parse().unwrap(),
        kubernetes_version: "v1.35.1".parse().unwrap(),
        dimensions: vec![],
    };
    GaugeSnapshot { installation, received: Hour::of(time), report }
}

/// Returns a snapshot with points of extended gauges.
fn extended(snapshot: GaugeSnapshot, dimensions: Vec<(Dimension, u32)>) -> GaugeSnapshot {
    let GaugeSnapshot { installation, received, report } = snapshot;
    GaugeSnapshot { installation, received, report: Report { dimensions, ..report } }
}

/// Returns a snapshot that confirms its installation, after one that was received two days earlier.
fn confirming(snapshot: GaugeSnapshot) -> [GaugeSnapshot; 2] {
    [GaugeSnapshot { received: snapshot.received.minus(48), ..snapshot.clone() }, snapshot]
}

fn event(uid: Uuid, event: Event) -> EventRow {
    let record = EventRecord {
        uid,
        time: truncate_to_hour(noon()),
        kamaji_version: KamajiVersion::EdgeSuffix(26, 7, 4),
        kubernetes_version: KubernetesVersion::Unknown,
        event,
    };
    EventRow { record, source: Source::Agent("0.1.0-rc.1".parse().unwrap()), bulk: false }
}

pub(crate) fn created(uid: Uuid, tcp_version: &str) -> EventRow {
    event(uid, Event::Created { tcp_version: tcp_version.parse().unwrap(), extended: None })
}

pub(crate) fn of_snapshots(snapshots: Vec<GaugeSnapshot>) -> Batch {
    Batch { snapshots, ..Batch::default() }
}

pub(crate) fn of_events(events: Vec<EventRow>) -> Batch {
    Batch { events, ..Batch::default() }
}

async fn an_empty_store_has_nothing_to_show(store: Shared) {
    store.ready().await.unwrap();
    store.write(Batch::default()).await.unwrap();
    assert_eq!(view(&store).await, View::default());
}

async fn writing_again_changes_nothing(store: Shared) {
    let minor = Dimension::new(&BY_VERSION, "v1.35").unwrap();
    let current = extended(snapshot(Uuid::new_v4(), hours_ago(1), 5), vec![(minor, 5)]);
    let mut batch =
        of_snapshots([confirming(current), confirming(snapshot(Uuid::new_v4(), hours_ago(30), 6))].concat());
    batch.events = vec![created(Uuid::new_v4(), "v1.35.1"), created(Uuid::new_v4(), "v1.35.1")];
    store.write(batch.clone()).await.unwrap();
    let once = view(&store).await;
    assert_eq!((once.confirmed().len(), once.events.len(), once.dimensions().len()), (2, 2, 1));
    for _ in 0..2 {
        store.write(batch.clone()).await.unwrap();
    }
    assert_eq!(view(&store).await, once);
}

async fn the_last_received_snapshot_stands_whatever_its_hour(store: Shared) {
    let installation = Uuid::new_v4();
    let receive = async |hours, running| {
        store.write(of_snapshots(vec![snapshot(installation, hours_ago(hours), running)])).await.unwrap();
        let view = view(&store).await;
        view.confirmed().first().map(|row| (row.latest.last_seen, row.latest.report.counts.running))
    };
    assert_eq!(receive(26, 1).await, None, "it is not confirmed");
    assert_eq!(receive(1, 2).await, Some((Hour::of(hours_ago(1)), 2)));
    assert_eq!(receive(1, 3).await, Some((Hour::of(hours_ago(1)), 3)));
    assert_eq!(receive(3, 4).await, Some((Hour::of(hours_ago(1)), 4)), "a clock that was set back");
    assert_eq!(receive(0, 4).await, Some((Hour::of(noon()), 4)));
    assert_eq!(view(&store).await.installations[0].latest.first_seen, Hour::of(hours_ago(26)));
}

async fn an_installation_has_one_row_a_day(store: Shared) {
    let installation = Uuid::new_v4();
    let midnight: Timestamp = "2026-11-23T00:00:00Z".parse().unwrap();
    let last_moment = midnight - SignedDuration::from_millis(1);
    for (time, running) in [(hours_ago(72), 9), (last_moment, 1), (midnight, 2), (hours_ago(6), 3)] {
        store.write(of_snapshots(vec![snapshot(installation, time, running)])).await.unwrap();
    }
    let days = view(&store).await.agents.days;
    let rows: Vec<_> = days.iter().map(|day| (day.day.date(), day.installations, day.control_planes.running)).collect();
    assert_eq!(
        rows,
        [(utc_day(last_moment), 1, 1), (utc_day(midnight), 1, 3)],
        "not of the days before it was confirmed"
    );
}

async fn dimensions_go_with_their_snapshot(store: Shared) {
    let installation = Uuid::new_v4();
    let minor = |minor| Dimension::new(&BY_VERSION, minor).unwrap();
    let etcd = Dimension::new(&DATASTORE_COUNT, "etcd").unwrap();
    let with = |time, dimensions| of_snapshots(vec![extended(snapshot(installation, time, 1), dimensions)]);
    store.write(with(hours_ago(30), vec![(minor("v1.32"), 5)])).await.unwrap();
    store.write(with(hours_ago(2), vec![(minor("v1.34"), 4), (minor("v1.33"), 1)])).await.unwrap();
    store.write(with(hours_ago(1), vec![(minor("v1.35"), 2), (minor("v1.34"), 3), (etcd.clone(), 1)])).await.unwrap();
    let last = [(etcd, 1), (minor("v1.34"), 3), (minor("v1.35"), 2)];
    assert_eq!(view(&store).await.dimensions(), last.map(|(dimension, count)| (name(&dimension), count)));
    store.write(with(noon(), vec![])).await.unwrap();
    assert_eq!(view(&store).await.agents.dimensions, []);
}

async fn the_first_event_with_a_uid_stays_whatever_its_hour_and_its_sender(store: Shared) {
    let uid = Uuid::new_v4();
    let first = created(uid, "v1.35.1");
    store.write(of_events(vec![first.clone(), created(uid, "v1.34.2")])).await.unwrap();
    let repeat = |hours| {
        let mut event = created(uid, "v1.33.0");
        event.record.time = truncate_to_hour(hours_ago(hours));
        event
    };
    store.write(of_events(vec![repeat(0), repeat(7)])).await.unwrap();
    let once = view(&store).await;
    assert_eq!((&once.events[..], once.agents.event_days.len()), (std::slice::from_ref(&first), 1));
    let foreign = EventRow { source: Source::Kamaji, ..repeat(700) };
    store.write(of_events(vec![repeat(0), repeat(700), foreign])).await.unwrap();
    assert_eq!(view(&store).await, once);
}

async fn every_event_reads_back_as_it_was_written(store: Shared) {
    let version = |text: &str| text.parse::<KubernetesVersion>().unwrap();
    let extended = |network_profile| Some(ExtendedAttributes { cluster_api: true, network_profile });
    let mut rows: Vec<_> = [
        Event::Created { tcp_version: version("v1.35.1"), extended: None },
        Event::Created { tcp_version: version("v1.36.0-rc.1"), extended: extended(None) },
        Event::Created { tcp_version: version("unknown"), extended: extended(Some(NetworkProfile::LoadBalancer)) },
        Event::Updated { old_tcp_version: version("v1.34.2"), new_tcp_version: version("v1.35.0") },
        Event::Deleted { status: Status::Sleeping, tcp_version: version("v1.35.1") },
    ]
    .into_iter()
    .map(|kind| event(Uuid::new_v4(), kind))
    .collect();
    store.write(of_events(rows.clone())).await.unwrap();
    rows.sort_by_key(|row| row.record.uid);
    assert_eq!(view(&store).await.events, rows);
}

async fn installations_are_active_once_they_are_confirmed(store: Shared) {
    let seen =
        [vec![1], vec![49, 1], vec![72], vec![24 * 25, 24 * 20], vec![24 * 45, 24 * 40], vec![20, 2], vec![14, 1]];
    for hours in seen {
        let installation = Uuid::new_v4();
        let snapshots = hours.into_iter().map(|hours| snapshot(installation, hours_ago(hours), 1)).collect();
        store.write(of_snapshots(snapshots)).await.unwrap();
    }
    let view = view(&store).await;
    let received = [1, 7, 30].map(|days| view.received(SourceKind::Agent, days));
    assert_eq!(received, [[1, 3, 0], [1, 4, 0], [2, 4, 0]]);
}

async fn those_that_are_not_confirmed_are_in_no_other_figure(store: Shared) {
    let etcd = Dimension::new(&DATASTORE_COUNT, "etcd").unwrap();
    let not_confirmed = extended(snapshot(Uuid::new_v4(), hours_ago(1), 5), vec![(etcd, 1)]);
    store.write(of_snapshots(vec![not_confirmed])).await.unwrap();
    let View { installations, events, agents, agents_yesterday, kamaji, kamaji_yesterday } = view(&store).await;
    assert_eq!((installations.len(), events.len()), (1, 0));
    let today = Hour::of(noon()).day();
    let seen = [SeenFact { day: today, standing: Standing::NotConfirmed, installations: 1 }];
    for mut facts in [agents, agents_yesterday] {
        assert_eq!(
            (std::mem::take(&mut facts.first_seen), std::mem::take(&mut facts.last_seen)),
            (seen.into(), seen.into())
        );
        assert_eq!(facts, Facts::default());
    }
    assert_eq!([kamaji, kamaji_yesterday], [(); 2].map(|()| Facts::default()));
}

async fn only_installations_of_the_window_are_active(store: Shared) {
    let with = |hours, running, version: &str| {
        let mut snapshot = snapshot(Uuid::new_v4(), hours_ago(hours), running);
        snapshot.report.kamaji_version = version.parse().unwrap();
        confirming(snapshot)
    };
    // The first two are on both sides of a midnight.
    let installations =
        [with(36, 5, "edge-24.12.1"), with(37, 7, "unknown"), with(0, 1, "latest"), with(0, 2, "latest")];
    store.write(of_snapshots(installations.concat())).await.unwrap();
    let query = |age, window| store.facts(vec![facts::query(SourceKind::Agent, age, window)]);
    let facts = query(0, 2).await.unwrap().remove(0);
    let mut versions: Vec<_> = facts.pairs.iter().map(|pair| (pair.kamaji.to_string(), pair.installations)).collect();
    versions.sort();
    assert_eq!(versions, [("edge-24.12.1".to_owned(), 1), ("latest".to_owned(), 2)]);
    assert!(facts.pairs.iter().all(|pair| pair.kubernetes == "v1.35.1".parse().unwrap()));
    let states: Vec<_> = facts.days.iter().map(|day| day.control_planes).collect();
    let totals =
        |running, sleeping, not_ready, upgrading| Totals { running, sleeping, not_ready, upgrading, left_out: 0 };
    assert_eq!(states, [totals(5, 1, 2, 3), totals(3, 2, 4, 6)]);
    let yesterday = query(1, 1).await.unwrap().remove(0);
    let versions: Vec<_> = yesterday.pairs.iter().map(|pair| pair.kamaji.to_string()).collect();
    assert_eq!(versions, ["edge-24.12.1"], "what comes later changes nothing");
    assert_eq!(view(&store).await.confirmed().len(), 4);
}

async fn lists_are_bounded(store: Shared) {
    for position in 0..6_u16 {
        let version = format!("v1.{}.0", position / 3);
        let mut snapshot = snapshot(Uuid::new_v4(), hours_ago(position.into()), position.into());
        snapshot.report.kamaji_version = version.parse().unwrap();
        let mut event = created(Uuid::new_v4(), "v1.35.1");
        event.record.time = truncate_to_hour(hours_ago(i64::from(position)));
        store.write(Batch { snapshots: confirming(snapshot).to_vec(), events: vec![event] }).await.unwrap();
    }
    store.write(of_snapshots(confirming(snapshot(Uuid::new_v4(), hours_ago(6), 9)).to_vec())).await.unwrap();
    let found = store.installations(InstallationFilter::default(), 2).await.unwrap();
    assert_eq!((found.matching, found.listed.len()), (7, 2));
    let newest = store.events(EventFilter::default(), 3).await.unwrap();
    let times: Vec<_> = newest.iter().map(|row| row.record.time).collect();
    assert_eq!(times, [hours_ago(0), hours_ago(1), hours_ago(2)]);
    let facts = store.facts(vec![facts::query(SourceKind::Agent, 0, 1)]).await.unwrap().remove(0);
    let mut versions: Vec<_> =
        facts.kamaji_days.iter().map(|fact| (fact.version.to_string(), fact.installations)).collect();
    versions.sort();
    assert_eq!(versions, [("v1.0.0".to_owned(), 4), ("v1.1.0".to_owned(), 3)]);
    assert_eq!((facts.days.len(), facts.event_days.len()), (1, 1));
}

async fn concurrent_writers_lose_and_repeat_nothing(store: Shared) {
    const WRITERS: usize = 16;
    const BATCHES: usize = 25;
    let shared: Vec<_> = (0..BATCHES).map(|_| Uuid::new_v4()).collect();
    let installation = Uuid::new_v4();
    store.write(of_snapshots(vec![snapshot(installation, hours_ago(99), 9)])).await.unwrap();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, shared) = (Arc::clone(&store), shared.clone());
        writers.spawn(async move {
            for (position, uid) in shared.into_iter().enumerate() {
                let time = hours_ago(i64::try_from(BATCHES - position).unwrap());
                let snapshots = vec![snapshot(installation, time, 7)];
                let events = vec![created(uid, "v1.35.1"), created(Uuid::new_v4(), "v1.34.2")];
                store.write(Batch { snapshots, events }).await.unwrap_or_else(|error| panic!("{writer}: {error}"));
            }
        });
    }
    writers.join_all().await;
    let view = view(&store).await;
    assert_eq!(view.events.len(), BATCHES + WRITERS * BATCHES);
    assert_eq!((view.confirmed().len(), view.installations[0].latest.last_seen), (1, Hour::of(hours_ago(1))));
    assert_eq!(view.today(SourceKind::Agent).control_planes.running, 7);
}

async fn a_batch_larger_than_the_queue_is_kept(store: Shared) {
    let events: Vec<_> = (0..20_000).map(|_| created(Uuid::new_v4(), "v1.35.1")).collect();
    store.write(of_events(events)).await.unwrap();
    assert_eq!(view(&store).await.events.len(), 20_000);
}

/// A batch of everything from Kamaji's built-in telemetry.
fn by_kamaji(installation: Uuid) -> Batch {
    let etcd = Dimension::new(&DATASTORE_COUNT, "etcd").unwrap();
    let mut snapshot = extended(snapshot(installation, hours_ago(1), 5), vec![(etcd, 5)]);
    snapshot.report.source = Source::Kamaji;
    let version = KubernetesVersion::Unknown;
    let events = [
        Event::Created { tcp_version: version, extended: None },
        Event::Updated { old_tcp_version: version, new_tcp_version: version },
        Event::Deleted { status: Status::Ready, tcp_version: version },
    ];
    let row = |kind| EventRow { source: Source::Kamaji, ..event(Uuid::new_v4(), kind) };
    let mut events: Vec<_> = events.into_iter().map(row).collect();
    events[0].record.time = hours_ago(25);
    Batch { snapshots: confirming(snapshot).to_vec(), events }
}

async fn kamajis_built_in_telemetry_is_counted_apart(store: Shared) {
    store.write(by_kamaji(Uuid::new_v4())).await.unwrap();
    let theirs = view(&store).await;
    assert_eq!([&theirs.agents, &theirs.agents_yesterday], [&Facts::default(); 2]);
    assert_eq!([1, 7, 30].map(|days| theirs.received(SourceKind::Kamaji, days)), [[1, 0, 0]; 3]);
    let states = Totals { running: 5, sleeping: 1, not_ready: 2, upgrading: 3, left_out: 0 };
    assert_eq!(theirs.today(SourceKind::Kamaji).control_planes, states);
    let today = Hour::of(noon()).day();
    let events: Vec<_> = theirs.kamaji.event_days.iter().map(|fact| (fact.day, fact.change, fact.events)).collect();
    assert_eq!(
        events,
        [
            (today.minus(1), EventChange::Created, 1),
            (today, EventChange::MinorUpdated, 1),
            (today, EventChange::Deleted, 1)
        ]
    );
    let agents = Batch {
        snapshots: confirming(snapshot(Uuid::new_v4(), hours_ago(1), 7)).to_vec(),
        events: vec![created(Uuid::new_v4(), "v1.35.1")],
    };
    store.write(agents).await.unwrap();
    let both = view(&store).await;
    assert_eq!([&both.kamaji, &both.kamaji_yesterday], [&theirs.kamaji, &theirs.kamaji_yesterday]);
    assert_eq!((both.received(SourceKind::Agent, 1), both.confirmed().len()), ([1, 0, 0], 1));
    assert_eq!((both.installations.len(), both.events.len(), both.agents.event_days.len()), (2, 4, 1));
    assert_eq!(both.today(SourceKind::Agent).control_planes.running, 7);
    assert_eq!((both.agents.days.len(), both.agents.pairs[0].installations, both.agents.dimensions.len()), (1, 1, 0));
}

async fn an_installation_keeps_its_source(store: Shared) {
    let [theirs, ours] = [(); 2].map(|()| Uuid::new_v4());
    store.write(by_kamaji(theirs)).await.unwrap();
    store.write(of_snapshots(confirming(snapshot(ours, hours_ago(1), 7)).to_vec())).await.unwrap();
    let before = view(&store).await;
    for hours in [0, 50] {
        let mut foreign = vec![snapshot(theirs, hours_ago(hours), 9), snapshot(ours, hours_ago(hours), 9)];
        foreign[1].report.source = Source::Kamaji;
        store.write(of_snapshots(foreign)).await.unwrap();
    }
    assert_eq!(view(&store).await, before);
}

async fn the_key_of_pseudonyms_stays_the_same(store: Shared) {
    let cluster = Uuid::new_v4();
    let first = store.pseudonym_key().await.unwrap().pseudonym(cluster);
    assert_eq!(store.pseudonym_key().await.unwrap().pseudonym(cluster), first);
}

/// Deletes what is older than this many hours; uids only after ten times as many.
async fn prune(store: &Shared, hours: i64) -> Pruned {
    let before = hours_ago(hours);
    let uids = Hour::of(hours_ago(10 * hours));
    let cutoffs = Cutoffs { events: Hour::of(before), uids, installations: Hour::of(before).day() };
    store.prune(cutoffs).await.unwrap()
}

async fn what_is_older_than_the_cutoffs_is_deleted_and_the_rest_stays(store: Shared) {
    let [lasting, gone] = [(); 2].map(|()| Uuid::new_v4());
    let etcd = Dimension::new(&DATASTORE_COUNT, "etcd").unwrap();
    let with = |snapshot| extended(snapshot, vec![(etcd.clone(), 1)]);
    let snapshots = vec![
        with(snapshot(gone, hours_ago(96), 4)),
        with(snapshot(lasting, hours_ago(72), 3)),
        with(snapshot(lasting, hours_ago(48), 2)),
        with(snapshot(lasting, hours_ago(1), 1)),
    ];
    store.write(of_snapshots(snapshots)).await.unwrap();
    let mut events: Vec<_> = (0..3).map(|_| created(Uuid::new_v4(), "v1.35.1")).collect();
    events[1].record.time = hours_ago(48);
    events[2].record.time = hours_ago(49);
    store.write(of_events(events)).await.unwrap();
    let expected = Pruned { events: 1, uids: 0, days: 2, installations: 1 };
    assert_eq!(prune(&store, 48).await, expected);
    let left = view(&store).await;
    assert_eq!((left.installations.len(), left.installations[0].uuid), (1, lasting));
    assert_eq!((left.events.len(), left.agents.days.len(), left.dimensions()[0].1), (2, 2, 1));
    assert_eq!(prune(&store, 48).await, Pruned::default());
}

async fn the_uid_of_a_deleted_event_is_known_until_its_own_cutoff(store: Shared) {
    let mut event = created(Uuid::new_v4(), "v1.35.1");
    event.record.time = hours_ago(48);
    store.write(of_events(vec![event.clone()])).await.unwrap();
    assert_eq!(prune(&store, 24).await.events, 1);
    store.write(of_events(vec![event.clone()])).await.unwrap();
    assert_eq!(view(&store).await, View::default());
    assert_eq!(prune(&store, 4).await, Pruned { uids: 1, ..Pruned::default() });
    store.write(of_events(vec![event])).await.unwrap();
    assert_eq!(view(&store).await.events.len(), 1);
}

async fn the_words_of_a_deleted_event_go_with_it(store: Shared) {
    let mut event = created(Uuid::new_v4(), "v1.29.1");
    event.record.time = hours_ago(480);
    event.record.kamaji_version = KamajiVersion::Unknown;
    event.record.kubernetes_version = KubernetesVersion::Unknown;
    let is_told = || async { view(&store).await.events.len() };
    store.write(of_events(vec![event])).await.unwrap();
    assert_eq!(is_told().await, 1);
    store.write(of_snapshots(vec![snapshot(Uuid::new_v4(), hours_ago(1), 1)])).await.unwrap();
    assert_eq!((prune(&store, 48).await.events, is_told().await), (1, 0));
    let before = store.intake(Hour::of(noon()).day()).await.unwrap().before;
    assert!(before.is_empty(), "a word is older than what is left: {before:?}");
}

/// It confirms an installation, whose words are in sums in which they were not.
async fn a_first_receipt_that_moves_makes_no_word_older(store: Shared) {
    let installation = Uuid::new_v4();
    let etcd = Dimension::new(&DATASTORE_COUNT, "etcd").unwrap();
    let mut snapshot = extended(snapshot(installation, noon(), 1), vec![(etcd, 1)]);
    snapshot.report.source = Source::Kamaji;
    store.write(of_snapshots(vec![snapshot])).await.unwrap();
    let first_seen = [(installation, Hour::of(hours_ago(720)))].into();
    assert_eq!(store.move_first_seen(first_seen).await.unwrap(), 1);
    let before = store.intake(Hour::of(noon()).day()).await.unwrap().before;
    assert!(before.is_empty(), "a word is older than the store: {before:?}");
}

async fn writes_go_on_between_the_steps_of_a_deletion(store: Shared) {
    let old: Vec<_> = (0..10_000)
        .map(|_| {
            let mut event = created(Uuid::new_v4(), "v1.35.1");
            event.record.time = hours_ago(1000);
            event
        })
        .collect();
    store.write(of_events(old)).await.unwrap();
    let before = Hour::of(hours_ago(24));
    let cutoffs = Cutoffs { events: before, uids: before, installations: before.day() };
    let mut prune = store.prune(cutoffs);
    assert!(futures::poll!(&mut prune).is_pending());
    store.write(of_events(vec![created(Uuid::new_v4(), "v1.35.1")])).await.unwrap();
    assert!(
        store.events(EventFilter::default(), 2).await.unwrap().len() > 1,
        "the write does not wait for all of the deletion"
    );
    assert_eq!(prune.await.unwrap().events, 10_000);
    assert_eq!(view(&store).await.events.len(), 1);
}

async fn an_erased_installation_leaves_no_row_and_no_other_one_loses_any(store: Shared) {
    let [erased, kept] = [(); 2].map(|()| Uuid::new_v4());
    let etcd = Dimension::new(&DATASTORE_COUNT, "etcd").unwrap();
    for installation in [erased, kept] {
        let times = [hours_ago(900), hours_ago(500), hours_ago(50), hours_ago(1)];
        let snapshots = times.map(|time| extended(snapshot(installation, time, 1), vec![(etcd.clone(), 1)]));
        store.write(of_snapshots(snapshots.to_vec())).await.unwrap();
    }
    store.write(of_events(vec![created(Uuid::new_v4(), "v1.35.1")])).await.unwrap();
    assert_eq!(store.erase(erased).await.unwrap(), Erased { latest: true, days: 4 });
    assert_eq!(store.erase(erased).await.unwrap(), Erased::default());
    let view = view(&store).await;
    assert_eq!((view.installations.len(), view.installations[0].uuid), (1, kept));
    assert_eq!((view.agents.days.len(), view.dimensions()[0].1, view.events.len()), (3, 1, 1));
    assert!(view.agents.days.iter().all(|day| day.installations == 1));
}

async fn its_size_is_known_and_grows(store: Shared) {
    let empty = store.size().await.unwrap().on_disk;
    let events = (0..1_000).map(|_| created(Uuid::new_v4(), "v1.35.1")).collect();
    store.write(of_events(events)).await.unwrap();
    assert!(store.size().await.unwrap().on_disk > empty);
}

async fn what_does_not_fit_is_refused_and_the_rest_of_its_group_is_stored(store: Shared) {
    let known = Uuid::new_v4();
    store.write(of_snapshots(confirming(snapshot(known, hours_ago(2), 1)).to_vec())).await.unwrap();
    let within = |batch, room| store.write_within(batch, Arc::new(Within(room)));
    let new = || of_snapshots(vec![snapshot(Uuid::new_v4(), hours_ago(1), 1)]);
    let event = || of_events(vec![created(Uuid::new_v4(), "v1.35.1")]);
    let full = Room { is_full: true, ..Unlimited.room() };
    let of_known = || of_snapshots(vec![snapshot(known, hours_ago(1), 2)]);
    let written = join_all([within(new(), full), within(event(), full), within(of_known(), full)]).await;
    assert!(matches!(written[..], [Err(WriteError::Full), Err(WriteError::Full), Ok(())]), "{written:?}");
    let none = Room { new_installations: 0, ..Unlimited.room() };
    let written = join_all([within(new(), none), within(event(), none)]).await;
    assert!(matches!(written[..], [Err(WriteError::TooManyNew), Ok(())]), "{written:?}");
    within(new(), Unlimited.room()).await.unwrap();
    // What is known is stored although its batch was refused.
    for (room, running) in [(full, 3), (none, 4)] {
        let both = vec![snapshot(known, hours_ago(1), running), snapshot(Uuid::new_v4(), hours_ago(1), 1)];
        assert!(within(of_snapshots(both), room).await.is_err());
        assert_eq!(view(&store).await.confirmed()[0].latest.report.counts.running, running);
    }
    let view = view(&store).await;
    assert_eq!((view.received(SourceKind::Agent, 1), view.events.len()), ([1, 1, 0], 1));
}

async fn installations_that_match_a_filter_are_listed_and_erased(store: Shared) {
    let no_room = Room { installations: 0, ..Unlimited.room() };
    let some = |count: usize, hours| -> Vec<_> {
        (0..count).flat_map(|_| confirming(snapshot(Uuid::new_v4(), hours_ago(hours), 1))).collect()
    };
    store.write(of_snapshots(some(3, 1))).await.unwrap();
    let before = view(&store).await;
    // More than one step of an erasure takes.
    store.write_within(of_snapshots(some(2_500, 2)), Arc::new(Within(no_room))).await.unwrap();
    assert_eq!(view(&store).await.received(SourceKind::Agent, 1)[2], 2_500);
    let count = async |filter: &InstallationFilter| store.installations(filter.clone(), 2).await.unwrap();
    let bulk = InstallationFilter { bulk: Some(true), ..InstallationFilter::default() };
    let found = count(&bulk).await;
    assert_eq!((found.matching, found.listed.len()), (2_500, 2));
    assert!(found.listed.iter().all(|row| row.latest.bulk && row.latest.confirmed.is_some()));
    let key = store.pseudonym_key().await.unwrap();
    let id = InstallationFilter { id: Some(key.installation_id(found.listed[0].uuid)), ..bulk.clone() };
    assert_eq!(count(&id).await.listed, found.listed[..1]);
    let later = InstallationFilter {
        last_seen: HourRange { from: Some(Hour::of(hours_ago(1))), until: None },
        ..InstallationFilter::default()
    };
    assert_eq!(count(&later).await.matching, 3);
    let erased = store.erase_installations(bulk.clone()).await.unwrap();
    assert_eq!(erased, MatchedRows { installations: 2_500, days: 5_000, events: 0 });
    assert_eq!(count(&bulk).await.matching, 0);
    assert_eq!(view(&store).await, before);
}

async fn events_that_match_a_filter_are_erased_and_their_repeats_are_known(store: Shared) {
    let some = |count: usize, version| -> Vec<_> { (0..count).map(|_| created(Uuid::new_v4(), version)).collect() };
    let forged = some(2_500, "v9.9.9");
    store.write(of_events(some(3, "v1.35.1"))).await.unwrap();
    let before = view(&store).await;
    store.write(of_events(forged.clone())).await.unwrap();
    let filter = EventFilter { tcp_version: Some("v9.9.9".parse().unwrap()), ..EventFilter::default() };
    assert_eq!(store.count_events(filter.clone()).await.unwrap().events, 2_500);
    assert_eq!(store.erase_events(filter.clone()).await.unwrap().events, 2_500);
    assert_eq!(view(&store).await, before);
    store.write(of_events(forged)).await.unwrap();
    assert_eq!(view(&store).await, before, "a repeat is known");
    assert_eq!(store.erase_events(filter).await.unwrap(), MatchedRows::default());
}

async fn the_newest_events_that_match_a_filter_are_listed(store: Shared) {
    let at = |hours, version| {
        let mut event = created(Uuid::new_v4(), version);
        event.record.time = truncate_to_hour(hours_ago(hours));
        event
    };
    let of_kamaji = |hours| EventRow { source: Source::Kamaji, ..at(hours, "v1.35.1") };
    store.write(of_events(vec![at(3, "v1.35.1"), of_kamaji(2), at(0, "v1.34.2"), of_kamaji(9)])).await.unwrap();
    let no_room = Arc::new(Within(Room { events: 0, ..Unlimited.room() }));
    store.write_within(of_events(vec![at(1, "v1.35.1")]), no_room).await.unwrap();
    let listed = async |filter, limit| {
        let events = store.events(filter, limit).await.unwrap();
        let age = |row: &EventRow| noon().duration_since(row.record.time).as_hours();
        events.iter().map(|row| (age(row), row.source == Source::Kamaji, row.bulk)).collect::<Vec<_>>()
    };
    let all = [(0, false, false), (1, false, true), (2, true, false), (3, false, false), (9, true, false)];
    assert_eq!(listed(EventFilter::default(), 10).await, all);
    assert_eq!(listed(EventFilter::default(), 3).await, all[..3]);
    assert_eq!(listed(EventFilter::default(), 0).await, []);
    let bulk = EventFilter { bulk: Some(true), ..EventFilter::default() };
    assert_eq!(listed(bulk, 10).await, all[1..2]);
    let version = EventFilter { tcp_version: Some("v1.35.1".parse().unwrap()), ..EventFilter::default() };
    assert_eq!(listed(version, 1).await, all[1..2], "the newest that matches");
    let until = Some(Hour::of(hours_ago(2)));
    let time = EventFilter { time: HourRange { from: Some(Hour::of(hours_ago(8))), until }, ..EventFilter::default() };
    assert_eq!(listed(time, 10).await, all[3..4]);
}

async fn what_is_new_is_counted_by_day(store: Shared) {
    let room = Room { installations: 1, events: 1, ..Unlimited.room() };
    let write = |batch| store.write_within(batch, Arc::new(Within(room)));
    let today = Hour::of(noon()).day();
    write(of_snapshots(vec![snapshot(Uuid::new_v4(), hours_ago(24), 1)])).await.unwrap();
    let yesterday = store.intake(today.minus(1)).await.unwrap().today;
    assert_eq!((yesterday.installations, yesterday.bulk), (1, 0));
    assert!(yesterday.versions >= 3, "{yesterday:?}");
    let new = || snapshot(Uuid::new_v4(), hours_ago(1), 1);
    write(of_snapshots(vec![new(), new(), new()])).await.unwrap();
    write(of_events((0..3).map(|_| created(Uuid::new_v4(), "v1.35.1")).collect())).await.unwrap();
    view(&store).await;
    let intake = store.intake(today).await.unwrap();
    assert_eq!((intake.today.installations, intake.today.bulk), (3, 4));
    assert_eq!(intake.before, [yesterday], "no day before the store was made");
    let uuid = store.installations(InstallationFilter::default(), 1).await.unwrap().listed[0].uuid;
    store.erase(uuid).await.unwrap();
    let both = [0, 1].map(|days| store.intake(today.minus(days)));
    let left: u64 = join_all(both).await.into_iter().map(|intake| intake.unwrap().today.installations).sum();
    assert_eq!(left, 3);
}

fn flush(time: Timestamp, refusals: &[(&'static str, u64)]) -> Operations {
    let day = Hour::of(time).day();
    let refusals = refusals.iter().map(|(reason, records)| ((day, *reason), *records)).collect();
    Operations { flush: Uuid::new_v4(), refusals, served: vec![ServedMinutes::of(time)] }
}

/// Reads what was refused, and when the backend served, since a day.
async fn operations(store: &Shared, since: Day) -> Facts {
    let query = FactsQuery { operations: Some(since), ..FactsQuery::new(SourceKind::Agent, since) };
    store.facts(vec![query]).await.unwrap().remove(0)
}

async fn the_operation_is_summed_by_day_and_hour_and_a_repeated_flush_adds_nothing(store: Shared) {
    let (today, minute) = (Hour::of(noon()).day(), SignedDuration::from_mins(1));
    assert_eq!(operations(&store, today).await, Facts::default());
    let flushes = [
        flush(hours_ago(30), &[("scope", 7)]),
        flush(noon(), &[("scope", 2), ("rate_limit", 1)]),
        flush(noon() + minute, &[("scope", 3)]),
        flush(noon() + minute + SignedDuration::from_secs(59), &[]),
    ];
    for flush in &flushes {
        for _ in 0..2 {
            store.record_operations(flush.clone()).await.unwrap();
        }
    }
    let facts = operations(&store, today).await;
    let refusals: Vec<_> = facts.refusals.iter().map(|fact| (fact.day, fact.reason.as_str(), fact.records)).collect();
    assert_eq!(refusals, [(today, "rate_limit", 1), (today, "scope", 5)]);
    let before = Hour::of(hours_ago(30));
    let served = [ServedHour { hour: before, minutes: 1 }, ServedHour { hour: Hour::of(noon()), minutes: 2 }];
    assert_eq!(facts.served_hours, served, "the last one before is told");
    assert_eq!(Away::between(&facts.served_hours)[0].hours(), 29);
    assert_eq!(operations(&store, today.minus(1)).await.refusals.len(), 3);
}

async fn the_operation_goes_with_the_days_of_installations(store: Shared) {
    let today = Hour::of(noon()).day();
    for hours in [72, 24, 0] {
        store.record_operations(flush(hours_ago(hours), &[("scope", 1)])).await.unwrap();
    }
    let days = async || {
        let facts = operations(&store, today.minus(90)).await;
        let hours: Vec<_> = facts.served_hours.iter().map(|served| served.hour.day()).collect();
        assert_eq!(facts.refusals.iter().map(|fact| fact.day).collect::<Vec<_>>(), hours);
        hours
    };
    let long_ago = Hour::of(hours_ago(10_000));
    store.prune(Cutoffs { events: long_ago, uids: long_ago, installations: today.minus(1) }).await.unwrap();
    assert_eq!(days().await, [today.minus(1), today]);
    store.delete_after(hours_ago(24)).await.unwrap();
    assert_eq!(days().await, [today.minus(1)]);
}

async fn write_history(store: &Shared, batch: Batch) {
    let room = Room { is_history: true, ..Unlimited.room() };
    store.write_within(batch, Arc::new(Within(room))).await.unwrap();
}

async fn another_servers_history_changes_nothing_that_was_received_as_late_or_later(store: Shared) {
    let [known, new] = [1, 2].map(Uuid::from_u128);
    store.write(of_snapshots(vec![snapshot(known, hours_ago(30), 7)])).await.unwrap();
    let before = view(&store).await;
    write_history(&store, of_snapshots(vec![snapshot(known, hours_ago(30), 1), snapshot(known, hours_ago(900), 2)]))
        .await;
    assert_eq!(view(&store).await, before);
    let later = [known, new].map(|installation| snapshot(installation, hours_ago(3), 9));
    for _ in 0..2 {
        write_history(&store, of_snapshots(later.to_vec())).await;
        let seen: Vec<_> = view(&store).await.installations.into_iter().map(|row| row.latest).collect();
        assert_eq!(seen.iter().map(|row| row.last_seen).collect::<Vec<_>>(), [Hour::of(hours_ago(3)); 2]);
        assert!(seen.iter().all(|row| row.standing() == Standing::NotConfirmed), "only a sender confirms: {seen:?}");
    }
    store.write(of_snapshots(vec![snapshot(known, hours_ago(2), 9)])).await.unwrap();
    assert_eq!(view(&store).await.confirmed().len(), 1);
}

async fn an_old_event_of_another_servers_history_is_stored_once_and_not_again_when_it_was_erased(store: Shared) {
    let at = |hours, uid| {
        let EventRow { record, source, bulk } = created(Uuid::from_u128(uid), "v1.35.1");
        EventRow { record: EventRecord { time: truncate_to_hour(hours_ago(hours)), ..record }, source, bulk }
    };
    let batch = of_events(vec![at(1, 1), at(2_000, 2), at(9_000, 3)]);
    for _ in 0..2 {
        write_history(&store, batch.clone()).await;
        assert_eq!(view(&store).await.events.len(), 3);
        store.checkpoint().await.unwrap();
    }
    let until = "2026-11-01".parse::<jiff::civil::Date>().unwrap();
    let time = HourRange { from: None, until: Some(Day::of(until).first_hour()) };
    store.erase_events(EventFilter { time, ..EventFilter::default() }).await.unwrap();
    let erased = view(&store).await;
    assert_eq!(erased.events.len(), 1);
    write_history(&store, batch).await;
    assert_eq!(view(&store).await, erased);
}

async fn an_earlier_first_receipt_moves_every_figure_of_its_installation(store: Shared) {
    let (cluster, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let received = |hours| {
        let snapshot = by_kamaji(cluster).snapshots.remove(0);
        of_snapshots(vec![GaugeSnapshot { received: Hour::of(hours_ago(hours)), ..snapshot }])
    };
    for hours in [80, 60, 3] {
        store.write(received(hours)).await.unwrap();
    }
    store.write(of_snapshots(vec![snapshot(other, hours_ago(3), 7)])).await.unwrap();
    let first = Hour::of(hours_ago(70 * 24));
    let move_to = async |hour| store.move_first_seen([cluster, other, Uuid::max()].map(|key| (key, hour)).into()).await;
    assert_eq!(move_to(first).await.unwrap(), 1, "an agent's first receipt is its own");
    assert_eq!(move_to(first).await.unwrap(), 0);
    assert_eq!(move_to(Hour::of(hours_ago(1))).await.unwrap(), 0);
    let moved = view(&store).await;
    assert_eq!(moved.installations[0].latest.first_seen, first);
    assert_eq!(moved.installations[0].latest.confirmed, Some(Hour::of(hours_ago(60))));
    // What is left of it in any sum would stay.
    for installation in [cluster, other] {
        store.erase(installation).await.unwrap();
    }
    assert_eq!(view(&store).await, View::default());
}
