//! A clock that is wrong destroys nothing. libfaketime moves that of the process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kamaji_telemetry::backend::{ManualClock, ServeSettings};

use kamaji_telemetry::backend::store::{Batch, GaugeSnapshot, Hour, Report, Source, SqliteStore, StateCounts, Store};
use kamaji_telemetry::catalog::{KamajiVersion, KubernetesVersion};
use tempfile::NamedTempFile;
use tonic::Code;
use uuid::Uuid;

use super::harness::{self, request};
use super::samples::{created, logs_request, metrics_request, state_gauges};
use crate::program::Backend;
use crate::servers::eventually;
use crate::servers::store::count;

/// The clock of a process: the file that libfaketime reads at each look at the time.
struct FakeClock(NamedTempFile);

impl FakeClock {
    fn new(offset: &str) -> Self {
        let clock = Self(NamedTempFile::new().unwrap());
        clock.set(offset);
        clock
    }

    /// Sets the offset from the true time, such as `+800d`, or a time such as `@1970-01-01 00:00:10`.
    fn set(&self, offset: &str) {
        let new = self.0.path().with_extension("new");
        std::fs::write(&new, offset).unwrap();
        std::fs::rename(new, self.0.path()).unwrap();
    }

    /// Starts a backend with this clock and a copy of `store`.
    async fn start(&self, flags: &[&str], prepare: impl Fn(&Path)) -> Backend {
        let library = library();
        let environment = [
            ("LD_PRELOAD", library.to_str().unwrap()),
            ("FAKETIME_TIMESTAMP_FILE", self.0.path().to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("TZ", "UTC"),
        ];
        Backend::start_alive(flags, &environment, prepare).await
    }
}

/// Returns the path of libfaketime, which Debian puts into a directory of the architecture.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|folder| folder.unwrap().path());
    let found = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|library| library.exists());
    found.expect("libfaketime is installed: apt-get install libfaketime")
}

/// Sends an event and gauges of the time that is `offset` from now.
async fn export(backend: &Backend, offset: SignedDuration) -> Code {
    let time = u64::try_from((Timestamp::now() + offset).as_nanosecond()).unwrap();
    let gauges = metrics_request(Uuid::new_v4(), state_gauges([1, 0, 0, 0], time));
    let gauges = opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient::new(
        backend.channel().await,
    )
    .export(gauges)
    .await
    .map_or_else(|status| status.code(), |_| Code::Ok);
    let event = logs_request(vec![created(Uuid::new_v4(), time)]);
    let event = backend.logs_client().await.export(event).await.map_or_else(|status| status.code(), |_| Code::Ok);
    assert_eq!(gauges, event);
    event
}

async fn ready(backend: &Backend, expected: u16) {
    let is_expected = async || {
        let reply = request(backend.health(), "GET", "/readyz", &[], &[]).await;
        (reply.status == expected).then_some(())
    };
    eventually(&format!("/readyz to be {expected}"), is_expected).await;
}

fn rows(file: &Path) -> [u64; 3] {
    ["latest", "days", "events"].map(|table| count(file, table))
}

fn errors(backend: &Backend) -> usize {
    backend.log().matches("the clock disagrees with the store; nothing is stored or deleted").count()
}

#[tokio::test]
#[ignore = "needs libfaketime: run `make soak`"]
async fn a_clock_that_jumps_while_it_runs_stores_and_deletes_nothing_until_it_is_right_again() {
    let clock = FakeClock::new("+0");
    let flags = ["--retention-interval=1s", "--retention-delay=1s"];
    let backend = clock.start(&flags, |_| {}).await;
    backend.ready().await;
    let day = SignedDuration::from_hours(24);
    assert_eq!(export(&backend, SignedDuration::ZERO).await, Code::Ok);
    for (jump, flag) in [
        ("+800d", "--trust-clock=20"),
        ("@1970-01-01 00:00:10", "--delete-future-records=1970-01-01"),
        ("-2d", "--delete-future-records=20"),
    ] {
        let before = errors(&backend);
        clock.set(jump);
        ready(&backend, 503).await;
        assert_eq!(export(&backend, SignedDuration::ZERO).await, Code::Unavailable, "{jump}");
        assert_eq!(errors(&backend), before + 1, "once: {}", backend.log());
        assert!(
            backend.log().lines().last().is_some_and(|line| line.contains(flag)) || backend.log().contains(flag),
            "{jump}: {}",
            backend.log()
        );
        assert_eq!(rows(backend.file()), [1, 1, 1], "{jump}");
        clock.set("+0");
        ready(&backend, 200).await;
        assert_eq!(rows(backend.file()), [1, 1, 1], "{jump}");
    }
    // A step of two days may be right. What it stores is in the way of the true time.
    clock.set("+2d");
    ready(&backend, 200).await;
    assert_eq!(export(&backend, day * 2).await, Code::Ok);
    assert_eq!(rows(backend.file()), [2, 2, 2]);
    clock.set("+0");
    ready(&backend, 503).await;
    assert_eq!(export(&backend, SignedDuration::ZERO).await, Code::Unavailable);
    assert_eq!(rows(backend.file()), [2, 2, 2]);
    let served = backend.file().to_owned();

    // Records of the future are deleted on the day that the flag names.
    let today = |offset: SignedDuration| (Timestamp::now() + offset).strftime("%F").to_string();
    let copy = |file: &Path| drop(std::fs::write(file, checkpointed(&served)));
    for (date, left) in [(today(-day), [2, 2, 2]), (today(SignedDuration::ZERO), [1, 1, 1])] {
        let flag = format!("--delete-future-records={date}");
        let backend = clock.start(&[&flag], copy).await;
        ready(&backend, if left[0] == 1 { 200 } else { 503 }).await;
        assert_eq!(rows(backend.file()), left, "{date}: {}", backend.log());
    }
}

/// Returns the content of a store, with what is in its write-ahead log.
fn checkpointed(file: &Path) -> Vec<u8> {
    let copy = tempfile::tempdir().unwrap();
    let copy = copy.path().join("copy.db");
    let connection = rusqlite::Connection::open(file).unwrap();
    connection.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    std::fs::read(copy).unwrap()
}

fn snapshot(days_ago: i64) -> GaugeSnapshot {
    GaugeSnapshot {
        installation: Uuid::new_v4(),
        received: Hour::of(Timestamp::now() - SignedDuration::from_hours(24 * days_ago)),
        report: Report {
            counts: StateCounts::default(),
            source: Source::Agent("0.1.0".parse().unwrap()),
            kamaji_version: KamajiVersion::Unknown,
            kubernetes_version: KubernetesVersion::Unknown,
            dimensions: vec![],
        },
    }
}

/// Writes a store with a snapshot of each of these ages in days.
fn store_of(ages: &'static [i64]) -> impl Fn(&Path) {
    move |file| {
        let store = SqliteStore::open(file).unwrap();
        let snapshots = ages.iter().map(|age| snapshot(*age)).collect();
        let batch = Batch { snapshots, ..Batch::default() };
        // A runtime of its own: this runs within that of the test.
        std::thread::scope(|scope| {
            let write = || tokio::runtime::Runtime::new().unwrap().block_on(store.write(batch)).unwrap();
            scope.spawn(write).join().unwrap();
        });
    }
}

#[tokio::test]
#[ignore = "needs libfaketime: run `make soak`"]
async fn a_clock_that_was_wrong_at_the_start_is_told_apart_from_a_backend_that_was_away() {
    let trusted = |offset: i64| {
        let date = Timestamp::now() + SignedDuration::from_hours(24 * offset);
        format!("--trust-clock={}", date.strftime("%F"))
    };
    for (offset, flags, is_ready) in [
        ("+800d", vec![], false),
        ("+800d", vec![trusted(799)], false),
        ("+800d", vec![trusted(800)], true),
        ("@1970-01-01 00:00:10", vec![], false),
        ("+29d", vec![], true),
    ] {
        let clock = FakeClock::new(offset);
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let backend = clock.start(&flags, store_of(&[1])).await;
        let expected = if is_ready { "listening" } else { "the clock disagrees with the store" };
        backend.logged(expected).await;
        ready(&backend, if is_ready { 200 } else { 503 }).await;
        assert_eq!(errors(&backend), usize::from(!is_ready), "{offset} {flags:?}: {}", backend.log());
        assert_eq!(rows(backend.file()), [1, 1, 0]);
    }
}

/// As with libfaketime, on the backend's own clock.
#[tokio::test]
async fn nothing_is_stored_on_a_clock_that_disagrees_with_the_store_until_it_is_right_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&folder.path().join("telemetry.db")).unwrap());
    let start = Timestamp::now();
    let clock = ManualClock::new(start);
    let settings = ServeSettings { clock: clock.clone().into(), ..ServeSettings::default() };
    let backend = harness::Backend::serve_with(folder, store.into(), settings).await;
    let send = async || {
        let time = u64::try_from(clock.now().as_nanosecond()).unwrap();
        let event = logs_request(vec![created(Uuid::new_v4(), time)]);
        backend.logs_client().await.export(event).await.map_or_else(|status| status.code(), |_| Code::Ok)
    };
    let ready = async |expected: u16| {
        let is_expected = async || (backend.get("/readyz").await.status == expected).then_some(());
        eventually(&format!("/readyz to be {expected}"), is_expected).await;
    };
    assert_eq!(send().await, Code::Ok);
    for hours in [800 * 24, -56 * 365 * 24, -48] {
        clock.set(start + SignedDuration::from_hours(hours));
        ready(503).await;
        assert_eq!(send().await, Code::Unavailable, "{hours}");
        clock.set(start);
        ready(200).await;
    }
    clock.set(start + SignedDuration::from_hours(48));
    assert_eq!(send().await, Code::Ok, "two days without a record are no fault");
    assert_eq!(backend.count("events"), 2);
}

#[tokio::test]
async fn more_than_a_fifth_of_the_rows_is_not_deleted_at_once_without_a_word() {
    const FIVE_OLD: &[i64] = &[10, 10, 10, 10, 10, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1];
    const ONE_OLD: &[i64] = &[10, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1];
    let today = format!("--trust-clock={}", Timestamp::now().strftime("%F"));
    let flags = ["--retention-installations=7d", "--retention-interval=1h", "--retention-delay=1s"];
    for (ages, further, left) in [(FIVE_OLD, None, 15), (FIVE_OLD, Some(&*today), 10), (ONE_OLD, None, 14)] {
        let flags: Vec<_> = flags.into_iter().chain(further).collect();
        let backend = Backend::start_alive(&flags, &[], store_of(ages)).await;
        backend.logged(if left == 15 { "more than are deleted at once" } else { "deleted rows" }).await;
        assert_eq!(count(backend.file(), "latest"), left, "{}", backend.log());
        assert!(left != 15 || backend.log().contains(&today), "{}", backend.log());
    }
}

#[tokio::test]
async fn nothing_is_deleted_in_the_first_minutes() {
    let flags = ["--retention-installations=7d", "--retention-interval=1s"];
    let backend = Backend::start_alive(&flags, &[], store_of(&[10, 1, 1, 1, 1, 1, 1, 1])).await;
    backend.ready().await;
    // A second check of the health, and many intervals, later.
    eventually("a later moment", async || backend.metrics().await.contains("backend_ready 1").then_some(())).await;
    assert!(!backend.log().contains("deleted rows"), "{}", backend.log());
    assert_eq!(count(backend.file(), "latest"), 8);
}
