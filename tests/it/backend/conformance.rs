//! The conformance suite of stores. A new store is a module that opens it and calls `conformance!`.

pub(crate) mod recomputation;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kamaji_telemetry::backend::store::{
    ActiveCounts, Batch, Cutoffs, Dimension, Erased, EventRow, EventTotals, GaugeSnapshot, KamajiTotals, OverviewData,
    OverviewQuery, Pruned, Source, SqliteStore, StateCounts, Store, Totals, truncate_to_hour, utc_day,
};
use kamaji_telemetry::catalog::{
    BY_VERSION, DATASTORE_COUNT, Event, EventRecord, ExtendedAttributes, KamajiVersion, KubernetesVersion,
    NetworkProfile, Status,
};
use tokio::task::JoinSet;
use uuid::Uuid;

macro_rules! conformance {
    ($open:expr) => {
        conformance!(@ $open,
            an_empty_store_has_an_empty_overview,
            writing_again_changes_nothing,
            the_newest_snapshot_wins_in_whatever_order_they_come,
            an_installation_has_one_row_a_day,
            dimensions_go_with_their_snapshot,
            the_first_event_with_a_uid_stays,
            every_event_reads_back_as_it_was_written,
            installations_are_active_from_their_second_day,
            only_installations_of_the_last_day_are_current,
            lists_are_sorted_and_bounded,
            concurrent_writers_lose_and_repeat_nothing,
            a_batch_larger_than_the_queue_is_kept,
            kamajis_built_in_telemetry_is_counted_apart,
            an_installation_keeps_its_source,
            the_key_of_pseudonyms_stays_the_same,
            its_size_is_known_and_grows,
            what_is_older_than_the_cutoffs_is_deleted_and_the_rest_stays,
            the_uid_of_a_deleted_event_is_known_until_its_own_cutoff,
            writes_go_on_between_the_steps_of_a_deletion,
            an_erased_installation_leaves_no_row_and_no_other_one_loses_any,
        );
    };
    (@ $open:expr, $($check:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $check() {
                let (store, _folder) = $open;
                super::$check(store).await;
            }
        )*

        #[test]
        fn after_any_history_the_overview_is_what_the_rows_come_to() {
            super::recomputation::holds(async || $open);
        }
    };
}

mod auth;

mod sqlite {
    conformance!(super::open_sqlite());
}

type Shared = Arc<dyn Store>;

fn open_sqlite() -> (Shared, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Arc::new(SqliteStore::open(&folder.path().join("store.db")).unwrap()), folder)
}

/// A moment in the middle of a day.
fn noon() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn hours_ago(hours: i64) -> Timestamp {
    noon() - SignedDuration::from_hours(hours)
}

async fn overview(store: &Shared) -> OverviewData {
    let query =
        OverviewQuery { now: noon(), versions: 100, dimensions: 100, installations: 10_000, events: 100_000, days: 90 };
    store.overview(query).await.unwrap()
}

fn snapshot(installation: Uuid, time: Timestamp, running: u32) -> GaugeSnapshot {
    GaugeSnapshot {
        installation,
        time,
        counts: StateCounts { running, sleeping: 1, not_ready: 2, upgrading: 3 },
        source: Source::Agent("0.1.0".parse().unwrap()),
        kamaji_version: "v1.0.0".parse().unwrap(),
        kubernetes_version: "v1.35.1".parse().unwrap(),
        dimensions: vec![],
    }
}

fn event(uid: Uuid, event: Event) -> EventRow {
    let record = EventRecord {
        uid,
        time: truncate_to_hour(noon()),
        kamaji_version: KamajiVersion::EdgeSuffix(26, 7, 4),
        kubernetes_version: KubernetesVersion::Unknown,
        event,
    };
    EventRow { record, source: Source::Agent("0.1.0-rc.1".parse().unwrap()) }
}

fn created(uid: Uuid, tcp_version: &str) -> EventRow {
    event(uid, Event::Created { tcp_version: tcp_version.parse().unwrap(), extended: None })
}

fn of_snapshots(snapshots: Vec<GaugeSnapshot>) -> Batch {
    Batch { snapshots, ..Batch::default() }
}

fn of_events(events: Vec<EventRow>) -> Batch {
    Batch { events, ..Batch::default() }
}

async fn an_empty_store_has_an_empty_overview(store: Shared) {
    store.ready().await.unwrap();
    store.write(Batch::default()).await.unwrap();
    assert_eq!(overview(&store).await, OverviewData::default());
}

async fn writing_again_changes_nothing(store: Shared) {
    let mut batch =
        of_snapshots(vec![snapshot(Uuid::new_v4(), hours_ago(1), 5), snapshot(Uuid::new_v4(), hours_ago(30), 6)]);
    batch.snapshots[0].dimensions = vec![(Dimension::new(&BY_VERSION, "v1.35").unwrap(), 5)];
    batch.events = vec![created(Uuid::new_v4(), "v1.35.1"), created(Uuid::new_v4(), "v1.35.1")];
    store.write(batch.clone()).await.unwrap();
    let once = overview(&store).await;
    assert_eq!((once.installations.len(), once.events.len(), once.dimensions.len()), (2, 2, 1));
    for _ in 0..2 {
        store.write(batch.clone()).await.unwrap();
    }
    assert_eq!(overview(&store).await, once);
}

async fn the_newest_snapshot_wins_in_whatever_order_they_come(store: Shared) {
    let times = [(hours_ago(26), 1), (hours_ago(25), 2), (hours_ago(1), 3)];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let installation = Uuid::new_v4();
        for position in order {
            let (time, running) = times[position];
            store.write(of_snapshots(vec![snapshot(installation, time, running)])).await.unwrap();
        }
    }
    let overview = overview(&store).await;
    assert_eq!(overview.installations.len(), 6);
    for row in &overview.installations {
        assert_eq!((row.last_seen, row.counts.running), (hours_ago(1), 3));
        assert_eq!(row.first_day, utc_day(hours_ago(26)));
    }
    let running: Vec<_> =
        overview.days.iter().map(|day| (day.day, day.installations, day.control_planes.running)).collect();
    assert_eq!(running, [(utc_day(hours_ago(26)), 6, 12), (utc_day(hours_ago(1)), 6, 18)]);
}

async fn an_installation_has_one_row_a_day(store: Shared) {
    let installation = Uuid::new_v4();
    let midnight: Timestamp = "2026-11-23T00:00:00Z".parse().unwrap();
    let last_moment = midnight - SignedDuration::from_millis(1);
    for (time, running) in [(last_moment, 1), (midnight, 2), (midnight + SignedDuration::from_millis(1), 3)] {
        store.write(of_snapshots(vec![snapshot(installation, time, running)])).await.unwrap();
    }
    let days = overview(&store).await.days;
    let rows: Vec<_> = days.iter().map(|day| (day.day, day.installations, day.control_planes.running)).collect();
    assert_eq!(rows, [(utc_day(last_moment), 1, 1), (utc_day(midnight), 1, 3)]);
}

async fn dimensions_go_with_their_snapshot(store: Shared) {
    let installation = Uuid::new_v4();
    let minor = |minor| Dimension::new(&BY_VERSION, minor).unwrap();
    let etcd = Dimension::new(&DATASTORE_COUNT, "etcd").unwrap();
    let with = |time, dimensions| of_snapshots(vec![GaugeSnapshot { dimensions, ..snapshot(installation, time, 1) }]);
    store.write(with(hours_ago(2), vec![(minor("v1.34"), 4), (minor("v1.33"), 1)])).await.unwrap();
    store.write(with(hours_ago(1), vec![(minor("v1.35"), 2), (minor("v1.34"), 3), (etcd.clone(), 1)])).await.unwrap();
    store.write(with(hours_ago(3), vec![(minor("v1.32"), 5)])).await.unwrap();
    let newest = vec![(minor("v1.34"), 3), (minor("v1.35"), 2), (etcd, 1)];
    assert_eq!(overview(&store).await.dimensions, newest);
    store.write(with(noon(), vec![])).await.unwrap();
    assert_eq!(overview(&store).await.dimensions, vec![]);
}

async fn the_first_event_with_a_uid_stays(store: Shared) {
    let uid = Uuid::new_v4();
    let first = created(uid, "v1.35.1");
    store.write(of_events(vec![first.clone(), created(uid, "v1.34.2")])).await.unwrap();
    store.write(of_events(vec![created(uid, "v1.33.0")])).await.unwrap();
    assert_eq!(overview(&store).await.events, [first]);
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
    let mut read = overview(&store).await.events;
    rows.sort_by_key(|row| row.record.uid);
    read.sort_by_key(|row| row.record.uid);
    assert_eq!(read, rows);
}

async fn installations_are_active_from_their_second_day(store: Shared) {
    let seen = [vec![1], vec![1, 49], vec![72], vec![24 * 20, 24 * 25], vec![24 * 40, 24 * 45]];
    for hours in seen {
        let installation = Uuid::new_v4();
        let snapshots = hours.into_iter().map(|hours| snapshot(installation, hours_ago(hours), 1)).collect();
        store.write(of_snapshots(snapshots)).await.unwrap();
    }
    let overview = overview(&store).await;
    assert_eq!(overview.day, ActiveCounts { active: 1, short_lived: 1 });
    assert_eq!(overview.week, ActiveCounts { active: 1, short_lived: 2 });
    assert_eq!(overview.month, ActiveCounts { active: 2, short_lived: 2 });
}

async fn only_installations_of_the_last_day_are_current(store: Shared) {
    let mut current = snapshot(Uuid::new_v4(), hours_ago(24), 5);
    current.kamaji_version = "edge-24.12.1".parse().unwrap();
    let gone = GaugeSnapshot { kamaji_version: KamajiVersion::Unknown, ..snapshot(Uuid::new_v4(), hours_ago(25), 7) };
    let newest =
        |count| GaugeSnapshot { kamaji_version: KamajiVersion::Latest, ..snapshot(Uuid::new_v4(), noon(), count) };
    store.write(of_snapshots(vec![current, gone, newest(1), newest(2)])).await.unwrap();
    let overview = overview(&store).await;
    assert_eq!(overview.control_planes, Totals { running: 8, sleeping: 3, not_ready: 6, upgrading: 9 });
    assert_eq!(overview.kamaji_versions, [(KamajiVersion::Latest, 2), ("edge-24.12.1".parse().unwrap(), 1)]);
    assert_eq!(overview.kubernetes_versions, [("v1.35.1".parse().unwrap(), 3)]);
    assert_eq!(overview.installations.len(), 4);
}

async fn lists_are_sorted_and_bounded(store: Shared) {
    for position in 0..6_u16 {
        let minutes = SignedDuration::from_mins(i64::from(position));
        let version = format!("v1.{}.0", position / 3);
        let mut snapshot = snapshot(Uuid::new_v4(), noon() - minutes, position.into());
        snapshot.kamaji_version = version.parse().unwrap();
        let mut event = created(Uuid::new_v4(), "v1.35.1");
        event.record.time = truncate_to_hour(hours_ago(i64::from(position)));
        store.write(Batch { snapshots: vec![snapshot], events: vec![event] }).await.unwrap();
    }
    store.write(of_snapshots(vec![snapshot(Uuid::new_v4(), hours_ago(1), 9)])).await.unwrap();
    let query = OverviewQuery { now: noon(), versions: 1, dimensions: 1, installations: 2, events: 3, days: 1 };
    let overview = store.overview(query).await.unwrap();
    assert_eq!(overview.kamaji_versions, [("v1.0.0".parse().unwrap(), 4)]);
    let running: Vec<_> = overview.installations.iter().map(|row| row.counts.running).collect();
    assert_eq!(running, [0, 1]);
    let times: Vec<_> = overview.events.iter().map(|row| row.record.time).collect();
    assert_eq!(times, [hours_ago(0), hours_ago(1), hours_ago(2)]);
    assert_eq!(overview.days.len(), 1);
}

async fn concurrent_writers_lose_and_repeat_nothing(store: Shared) {
    const WRITERS: usize = 16;
    const BATCHES: usize = 25;
    let shared: Vec<_> = (0..BATCHES).map(|_| Uuid::new_v4()).collect();
    let installation = Uuid::new_v4();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, shared) = (Arc::clone(&store), shared.clone());
        writers.spawn(async move {
            for (position, uid) in shared.into_iter().enumerate() {
                let time = hours_ago(1) + SignedDuration::from_secs(i64::try_from(position).unwrap());
                let snapshots = vec![snapshot(installation, time, u32::try_from(position).unwrap())];
                let events = vec![created(uid, "v1.35.1"), created(Uuid::new_v4(), "v1.34.2")];
                store.write(Batch { snapshots, events }).await.unwrap_or_else(|error| panic!("{writer}: {error}"));
            }
        });
    }
    writers.join_all().await;
    let overview = overview(&store).await;
    assert_eq!(overview.events.len(), BATCHES + WRITERS * BATCHES);
    assert_eq!(overview.installations[0].counts.running, u32::try_from(BATCHES).unwrap() - 1);
    assert_eq!((overview.installations.len(), overview.days.len()), (1, 1));
}

async fn a_batch_larger_than_the_queue_is_kept(store: Shared) {
    let events: Vec<_> = (0..20_000).map(|_| created(Uuid::new_v4(), "v1.35.1")).collect();
    store.write(of_events(events)).await.unwrap();
    assert_eq!(overview(&store).await.events.len(), 20_000);
}

/// A batch of everything from Kamaji's built-in telemetry.
fn by_kamaji(installation: Uuid) -> Batch {
    let mut snapshot = GaugeSnapshot { source: Source::Kamaji, ..snapshot(installation, hours_ago(1), 5) };
    snapshot.dimensions = vec![(Dimension::new(&DATASTORE_COUNT, "etcd").unwrap(), 5)];
    let yesterday = GaugeSnapshot { time: hours_ago(25), ..snapshot.clone() };
    let version = KubernetesVersion::Unknown;
    let events = [
        Event::Created { tcp_version: version, extended: None },
        Event::Updated { old_tcp_version: version, new_tcp_version: version },
        Event::Deleted { status: Status::Ready, tcp_version: version },
    ];
    let row = |kind| EventRow { source: Source::Kamaji, ..event(Uuid::new_v4(), kind) };
    let mut events: Vec<_> = events.into_iter().map(row).collect();
    events[0].record.time = hours_ago(25);
    Batch { snapshots: vec![snapshot, yesterday], events }
}

async fn kamajis_built_in_telemetry_is_counted_apart(store: Shared) {
    store.write(by_kamaji(Uuid::new_v4())).await.unwrap();
    let kamaji = KamajiTotals {
        day: ActiveCounts { active: 1, short_lived: 0 },
        week: ActiveCounts { active: 1, short_lived: 0 },
        month: ActiveCounts { active: 1, short_lived: 0 },
        control_planes: Totals { running: 5, sleeping: 1, not_ready: 2, upgrading: 3 },
        events: EventTotals { created: 0, updated: 1, deleted: 1 },
    };
    assert_eq!(overview(&store).await, OverviewData { kamaji, ..OverviewData::default() });
    let agents = Batch {
        snapshots: vec![snapshot(Uuid::new_v4(), hours_ago(1), 7)],
        events: vec![created(Uuid::new_v4(), "v1.35.1")],
    };
    store.write(agents).await.unwrap();
    let both = overview(&store).await;
    assert_eq!((both.kamaji, both.control_planes.running), (kamaji, 7));
    assert_eq!((both.day.total(), both.installations.len(), both.events.len()), (1, 1, 1));
    assert_eq!((both.days.len(), both.kamaji_versions[0].1, both.dimensions.len()), (1, 1, 0));
}

async fn an_installation_keeps_its_source(store: Shared) {
    let [theirs, ours] = [(); 2].map(|()| Uuid::new_v4());
    store.write(by_kamaji(theirs)).await.unwrap();
    store.write(of_snapshots(vec![snapshot(ours, hours_ago(1), 7)])).await.unwrap();
    let before = overview(&store).await;
    for hours in [0, 50] {
        let mut foreign = vec![snapshot(theirs, hours_ago(hours), 9), snapshot(ours, hours_ago(hours), 9)];
        foreign[1].source = Source::Kamaji;
        store.write(of_snapshots(foreign)).await.unwrap();
    }
    assert_eq!(overview(&store).await, before);
}

async fn the_key_of_pseudonyms_stays_the_same(store: Shared) {
    let cluster = Uuid::new_v4();
    let first = store.pseudonym_key().await.unwrap().pseudonym(cluster);
    assert_eq!(store.pseudonym_key().await.unwrap().pseudonym(cluster), first);
}

/// Deletes what is older than this many hours; uids only after ten times as many.
async fn prune(store: &Shared, hours: i64) -> Pruned {
    let before = hours_ago(hours);
    let cutoffs = Cutoffs { events: before, uids: hours_ago(10 * hours), installations: utc_day(before) };
    store.prune(cutoffs).await.unwrap()
}

async fn what_is_older_than_the_cutoffs_is_deleted_and_the_rest_stays(store: Shared) {
    let [lasting, gone] = [(); 2].map(|()| Uuid::new_v4());
    let etcd = Dimension::new(&DATASTORE_COUNT, "etcd").unwrap();
    let with = |snapshot| GaugeSnapshot { dimensions: vec![(etcd.clone(), 1)], ..snapshot };
    let snapshots = vec![
        with(snapshot(lasting, hours_ago(1), 1)),
        with(snapshot(lasting, hours_ago(48), 2)),
        with(snapshot(lasting, hours_ago(72), 3)),
        with(snapshot(gone, hours_ago(96), 4)),
    ];
    store.write(of_snapshots(snapshots)).await.unwrap();
    let mut events: Vec<_> = (0..3).map(|_| created(Uuid::new_v4(), "v1.35.1")).collect();
    events[1].record.time = hours_ago(48);
    events[2].record.time = hours_ago(49);
    store.write(of_events(events)).await.unwrap();
    let expected = Pruned { events: 1, uids: 0, days: 2, dimensions: 2, installations: 1 };
    assert_eq!(prune(&store, 48).await, expected);
    let left = overview(&store).await;
    assert_eq!((left.installations.len(), left.installations[0].uuid), (1, lasting));
    assert_eq!((left.events.len(), left.days.len(), left.dimensions[0].1), (2, 2, 1));
    assert_eq!(prune(&store, 48).await, Pruned::default());
}

async fn the_uid_of_a_deleted_event_is_known_until_its_own_cutoff(store: Shared) {
    let mut event = created(Uuid::new_v4(), "v1.35.1");
    event.record.time = hours_ago(48);
    store.write(of_events(vec![event.clone()])).await.unwrap();
    assert_eq!(prune(&store, 24).await.events, 1);
    store.write(of_events(vec![event.clone()])).await.unwrap();
    assert_eq!(overview(&store).await, OverviewData::default());
    assert_eq!(prune(&store, 4).await, Pruned { uids: 1, ..Pruned::default() });
    store.write(of_events(vec![event])).await.unwrap();
    assert_eq!(overview(&store).await.events.len(), 1);
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
    let cutoffs = Cutoffs { events: hours_ago(24), uids: hours_ago(24), installations: utc_day(hours_ago(24)) };
    let mut prune = store.prune(cutoffs);
    assert!(futures::poll!(&mut prune).is_pending());
    store.write(of_events(vec![created(Uuid::new_v4(), "v1.35.1")])).await.unwrap();
    assert!(overview(&store).await.events.len() > 1, "the write does not wait for all of the deletion");
    assert_eq!(prune.await.unwrap().events, 10_000);
    assert_eq!(overview(&store).await.events.len(), 1);
}

async fn an_erased_installation_leaves_no_row_and_no_other_one_loses_any(store: Shared) {
    let [erased, kept] = [(); 2].map(|()| Uuid::new_v4());
    let etcd = Dimension::new(&DATASTORE_COUNT, "etcd").unwrap();
    for installation in [erased, kept] {
        let times = [hours_ago(1), hours_ago(50), hours_ago(500)];
        let snapshots =
            times.map(|time| GaugeSnapshot { dimensions: vec![(etcd.clone(), 1)], ..snapshot(installation, time, 1) });
        store.write(of_snapshots(snapshots.to_vec())).await.unwrap();
    }
    store.write(of_events(vec![created(Uuid::new_v4(), "v1.35.1")])).await.unwrap();
    assert_eq!(store.erase(erased).await.unwrap(), Erased { latest: true, days: 3, dimensions: 3 });
    assert_eq!(store.erase(erased).await.unwrap(), Erased::default());
    let overview = overview(&store).await;
    assert_eq!((overview.installations.len(), overview.installations[0].uuid), (1, kept));
    assert_eq!((overview.days.len(), overview.dimensions[0].1, overview.events.len()), (3, 1, 1));
    assert!(overview.days.iter().all(|day| day.installations == 1));
}

async fn its_size_is_known_and_grows(store: Shared) {
    let empty = store.size().await.unwrap();
    let events = (0..1_000).map(|_| created(Uuid::new_v4(), "v1.35.1")).collect();
    store.write(of_events(events)).await.unwrap();
    assert!(store.size().await.unwrap() > empty);
}
