//! Deletion by age and on request, backup and restore.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kamaji_telemetry::backend::Retention;
use kamaji_telemetry::backend::store::{
    AuthStore, Batch, Digest, EventRow, GaugeSnapshot, Hour, Report, Role, Source, SqliteStore, StateCounts, Store,
    Token, truncate_to_hour,
};
use kamaji_telemetry::catalog::{Event, EventRecord, KamajiVersion, KubernetesVersion};
use tempfile::TempDir;
use uuid::Uuid;

use super::harness::{Backend, JSON, stored_bytes};
use super::kamaji::stats;
use super::samples::{created, logs_request, metrics_request, now, state_gauges};
use crate::program::{self, PROGRAM};
use crate::servers::store::count;
use crate::servers::{eventually, store};

fn snapshot(installation: Uuid, days_ago: i64) -> GaugeSnapshot {
    GaugeSnapshot {
        installation,
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

fn event(days_ago: i64) -> EventRow {
    let record = EventRecord {
        uid: Uuid::new_v4(),
        time: truncate_to_hour(Timestamp::now() - SignedDuration::from_hours(24 * days_ago)),
        kamaji_version: KamajiVersion::Unknown,
        kubernetes_version: KubernetesVersion::Unknown,
        event: Event::Created { tcp_version: KubernetesVersion::Unknown, extended: None },
    };
    EventRow { record, source: Source::Kamaji, bulk: false }
}

/// Returns the UTC date of today.
fn today() -> String {
    Timestamp::now().strftime("%F").to_string()
}

/// Rows that are 1 and 10 days old, or events, which count to the hour, 2 days.
async fn aged() -> (TempDir, Arc<SqliteStore>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&folder.path().join("telemetry.db")).unwrap());
    let lasting = Uuid::new_v4();
    let snapshots = vec![snapshot(lasting, 10), snapshot(lasting, 1), snapshot(Uuid::new_v4(), 10)];
    store.write(Batch { snapshots, events: vec![event(10), event(2)] }).await.unwrap();
    (folder, store)
}

/// The program's own words, run to its end.
fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).arg("backend").args(arguments).env_clear().output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn location(file: &Path) -> String {
    format!("--store=sqlite:{}", file.display())
}

#[tokio::test]
async fn a_serving_backend_deletes_what_is_too_old() {
    let (folder, store) = aged().await;
    let retention = Retention { events: 7, installations: 7, delay: Duration::ZERO, ..Retention::default() };
    let backend = Backend::with_retention(folder, store, retention).await;
    eventually("the old installation to be deleted", async || (backend.count("latest") == 1).then_some(())).await;
    assert_eq!((backend.count("days"), backend.count("events")), (1, 2));
    assert_eq!((backend.installations().await.len(), backend.events().await.len()), (1, 1));
}

#[tokio::test]
async fn the_program_says_in_one_line_what_it_deleted() {
    let flags = [
        "--retention-events=7d",
        "--retention-installations=7d",
        "--retention-audit-log=5d",
        "--retention-interval=1h",
        "--retention-delay=1s",
        &format!("--trust-clock={}", today()),
    ];
    let mut backend = program::Backend::start_with(&flags).await;
    backend.kill();
    let store = SqliteStore::open(backend.file()).unwrap();
    let snapshots = vec![snapshot(Uuid::new_v4(), 10), snapshot(Uuid::new_v4(), 1)];
    store.write(Batch { snapshots, events: vec![event(40), event(10), event(1)] }).await.unwrap();
    let ended = |days_ago: i64| Token {
        prefix: format!("ktt_0000000{days_ago}"),
        name: format!("ended-{days_ago}"),
        role: Role::Viewer,
        created: Timestamp::now() - SignedDuration::from_hours(24 * 30),
        expires: Timestamp::now() - SignedDuration::from_hours(24 * days_ago),
        revoked: None,
    };
    for days_ago in [6, 4] {
        store.create_token(ended(days_ago), Digest::of("")).await.unwrap();
    }
    drop(store);
    backend.restart().await;
    let expected = "deleted rows that are older than the retention \
                    events=2 uids=0 days=1 installations=1 audit_log=2 tokens=1 \
                    retention_events_days=7 retention_installations_days=7 retention_audit_log_days=5";
    backend.logged(expected).await;
    assert_eq!((count(backend.file(), "events"), count(backend.file(), "latest")), (2, 1));
}

#[test]
fn a_retention_out_of_range_is_named_with_what_was_expected() {
    for flag in [
        "--retention-events=0d",
        "--retention-installations=400",
        "--retention-installations=3651d",
        "--retention-events=-1d",
        "--retention-audit-log=0d",
    ] {
        let output = run(&["serve", flag]);
        let error = text(&output.stderr);
        let (name, value) = flag.split_once('=').unwrap();
        assert!(
            !output.status.success() && [name, value, "1d to 3650d"].iter().all(|part| error.contains(part)),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_installation_is_erased_by_its_uuid_while_the_backend_runs() {
    let backend = Backend::start().await;
    let [erased, kept] = [(); 2].map(|()| Uuid::new_v4());
    for installation in [erased, kept] {
        let gauges = metrics_request(installation, state_gauges([5, 0, 0, 0], now()));
        backend.metrics_client().await.export(gauges).await.unwrap();
    }
    backend.logs_client().await.export(logs_request(vec![created(Uuid::new_v4(), now())])).await.unwrap();
    let output = run(&["erase", &erased.to_string(), &location(&backend.file())]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("Erased its latest state and 1 day."), "{}", text(&output.stdout));
    let events = backend.events().await;
    let left = store::installations(&backend.file());
    assert_eq!(left.iter().map(|row| row.uuid).collect::<Vec<_>>(), [kept]);
    assert_eq!((backend.count("days"), events.len()), (1, 1), "events are nobody's");
    let bytes = stored_bytes(backend.file().parent().unwrap());
    let holds = |uuid: Uuid| bytes.windows(16).any(|window| window == uuid.as_bytes());
    assert!(holds(kept) && !holds(erased), "not even in free pages or in the log");
    let again = run(&["erase", &erased.to_string(), &location(&backend.file())]);
    assert!(text(&again.stdout).starts_with("Nothing is stored"), "{}", text(&again.stdout));
    let log = backend.auth.audit_log(100).await.unwrap();
    let erasures = log.iter().filter(|entry| entry.action == "backend erase" && entry.status.is_none());
    assert_eq!(erasures.map(|entry| entry.count).sum::<u64>(), 2, "{log:?}");
}

#[tokio::test]
async fn an_installation_of_the_built_in_telemetry_is_erased_by_the_uid_of_its_cluster() {
    let backend = Backend::start().await;
    let cluster = Uuid::new_v4();
    backend.post("/stats", &[JSON], stats(cluster).as_bytes()).await;
    assert_eq!(backend.count("latest"), 1);
    let output = run(&["erase", &cluster.to_string().to_uppercase(), &location(&backend.file())]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(stdout.starts_with("Erased its latest state and 1 day."), "{stdout}{stderr}");
    assert!(!format!("{stdout}{stderr}").to_lowercase().contains(&cluster.to_string()), "it is not repeated");
    assert_eq!(backend.rows(), 0);
}

#[test]
fn nothing_is_erased_from_a_store_that_is_not_there_and_none_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("telemetry.db");
    let output = run(&["erase", &Uuid::new_v4().to_string(), &location(&file)]);
    let error = text(&output.stderr);
    assert!(
        !output.status.success() && error.contains(file.to_str().unwrap()) && error.contains("expected"),
        "{error}"
    );
    assert!(!file.exists());
}

#[tokio::test]
async fn a_live_store_is_backed_up_and_restored() {
    let backend = Backend::start().await;
    let export = async |count: usize| {
        let records = (0..count).map(|_| created(Uuid::new_v4(), now())).collect();
        backend.logs_client().await.export(logs_request(records)).await.unwrap();
    };
    export(3).await;
    let (file, copy) = (backend.file(), backend.file().with_file_name("copy.db"));
    let output = run(&["backup", copy.to_str().unwrap(), &location(&file)]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    export(2).await;
    assert_eq!((count(&copy, "events"), backend.count("events")), (3, 5));

    let used = run(&["restore", copy.to_str().unwrap(), &location(&file)]);
    assert!(!used.status.success() && text(&used.stderr).contains("in use"), "{}", text(&used.stderr));
    assert_eq!(backend.count("events"), 5);

    let folder = backend.stop().await;
    let output = run(&["restore", copy.to_str().unwrap(), &location(&file)]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let store = SqliteStore::open(&file).unwrap();
    store.ready().await.unwrap();
    assert_eq!(count(&file, "events"), 3);
    drop((store, folder));
}

#[test]
fn a_copy_is_the_owners_alone_and_never_replaces_a_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let [file, copy, other] = ["telemetry.db", "copy.db", "other.db"].map(|name| folder.path().join(name));
    drop(SqliteStore::open(&file).unwrap());
    let backup = || run(&["backup", copy.to_str().unwrap(), &location(&file)]);
    assert!(backup().status.success());
    let again = backup();
    assert!(!again.status.success() && text(&again.stderr).contains("there already"), "{}", text(&again.stderr));
    assert!(run(&["restore", copy.to_str().unwrap(), &location(&other)]).status.success());
    for file in [&copy, &other] {
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
    let left = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut left: Vec<_> = left.collect();
    left.sort_unstable();
    assert_eq!(
        left,
        ["copy.db", "other.db", "other.db.lock", "telemetry.db", "telemetry.db.lock", "telemetry.db.serve.lock"]
    );
}

#[tokio::test]
async fn a_damaged_copy_and_one_of_a_later_version_are_refused_and_the_store_stays() {
    let folder = tempfile::tempdir().unwrap();
    let [file, copy] = ["telemetry.db", "copy.db"].map(|name| folder.path().join(name));
    let store = SqliteStore::open(&file).unwrap();
    let snapshots = (0..500).map(|_| snapshot(Uuid::new_v4(), 1)).collect();
    store.write(Batch { snapshots, ..Batch::default() }).await.unwrap();
    drop(store);
    assert!(run(&["backup", copy.to_str().unwrap(), &location(&file)]).status.success());
    let sound = std::fs::read(&copy).unwrap();
    let mut damaged = sound.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 4096].fill(0x5a);
    std::fs::write(&copy, damaged).unwrap();
    let refused = |expected: &str| {
        let output = run(&["restore", copy.to_str().unwrap(), &location(&file)]);
        let error = text(&output.stderr);
        assert!(!output.status.success() && error.contains(expected), "{error}");
        assert_eq!(count(&file, "latest"), 500);
    };
    refused("damaged");
    std::fs::write(&copy, "no database, and long enough to be looked at as one. ".repeat(100)).unwrap();
    refused("no store");
    std::fs::remove_file(&copy).unwrap();
    refused("no such file");
    std::fs::write(&copy, sound).unwrap();
    let later = "INSERT INTO refinery_schema_history VALUES (1000, 'later', '', '')";
    rusqlite::Connection::open(&copy).unwrap().execute(later, []).unwrap();
    refused("1000");
}
