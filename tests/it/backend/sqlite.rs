//! Tests that are specific to the `SQLite` store.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use futures::FutureExt;
use kamaji_telemetry::backend::StoreLocation;
use kamaji_telemetry::backend::store::{
    Batch, Cutoffs, EventFilter, EventRow, FactsQuery, GaugeSnapshot, Hour, Report, Source, SourceKind, SqliteStore,
    StateCounts, Store, WriteError, truncate_to_hour,
};
use kamaji_telemetry::catalog::{Event, EventRecord};
use rusqlite::Connection;
use uuid::Uuid;

use super::conformance::{created, of_events};
use crate::servers::store::count;

fn snapshots(rows: usize) -> Batch {
    let snapshot = |_| GaugeSnapshot {
        installation: Uuid::new_v4(),
        received: Hour::of(jiff::Timestamp::now()),
        report: Report {
            counts: StateCounts::default(),
            source: Source::Agent("0.1.0".parse().unwrap()),
            kamaji_version: "unknown".parse().unwrap(),
            kubernetes_version: "unknown".parse().unwrap(),
            dimensions: vec![],
        },
    };
    Batch { snapshots: (0..rows).map(snapshot).collect(), ..Batch::default() }
}

#[tokio::test]
async fn the_file_and_those_beside_it_are_the_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("telemetry.db");
    let store = SqliteStore::open(&path).unwrap();
    store.write(snapshots(1)).await.unwrap();
    let modes =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().permissions().mode());
    let modes: Vec<_> = modes.map(|mode| mode & 0o777).collect();
    assert!(modes.len() >= 2 && modes.iter().all(|mode| *mode == 0o600), "{modes:?}");
}

#[tokio::test]
async fn a_commit_is_synchronous_and_in_the_write_ahead_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("telemetry.db");
    let store = SqliteStore::open(&path).unwrap();
    store.write(snapshots(1)).await.unwrap();
    let other = Connection::open(&path).unwrap();
    let mode: String = other.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    drop(other);
    drop(store);
    assert!(!folder.path().join("telemetry.db-wal").exists(), "a closed store is one file");
    assert_eq!(count(&path, "latest"), 1);
}

#[tokio::test]
async fn what_is_taken_on_is_written_although_the_store_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("telemetry.db");
    let store = SqliteStore::open(&path).unwrap();
    assert!(store.write(snapshots(500)).now_or_never().is_none());
    drop(store);
    assert_eq!(count(&path, "latest"), 500);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_keeps_what_it_took_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("telemetry.db");
    let store = SqliteStore::open(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut waiting = store.write(snapshots(16_384));
    assert!(futures::poll!(&mut waiting).is_pending());
    let refused = store.write(snapshots(1)).now_or_never().expect("a refusal does not wait");
    assert!(matches!(refused, Err(WriteError::Overloaded { waiting: 16_384, bound: 16_384 })), "{refused:?}");
    other.execute_batch("ROLLBACK").unwrap();
    waiting.await.unwrap();
    store.write(snapshots(1)).await.unwrap();
    assert_eq!(count(&path, "latest"), 16_385);
}

#[tokio::test]
async fn who_waits_for_a_commit_is_answered_although_others_have_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("telemetry.db");
    let store = SqliteStore::open(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    for given_up in 0..4 {
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut waiting: Vec<_> = (0..4).map(|_| store.write(snapshots(1))).collect();
        for write in &mut waiting {
            assert!(futures::poll!(write).is_pending());
        }
        drop(waiting.remove(given_up));
        other.execute_batch("ROLLBACK").unwrap();
        for write in waiting {
            write.await.unwrap();
        }
    }
    drop(store);
    assert_eq!(count(&path, "latest"), 16);
}

#[test]
fn a_file_that_is_no_store_is_named_with_what_was_expected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "not a database, and long enough to be looked at as one".repeat(100)).unwrap();
    let missing = folder.path().join("nowhere/telemetry.db");
    for path in [path, missing] {
        let message = SqliteStore::open(&path).unwrap_err().to_string();
        assert!(message.contains(path.to_str().unwrap()) && message.contains("expected"), "{message}");
    }
}

#[test]
fn a_store_is_named_by_kind_and_path() {
    assert_eq!("sqlite:/var/lib/a:b.db".parse(), Ok(StoreLocation::Sqlite("/var/lib/a:b.db".into())));
    for (wrong, shown) in [
        ("", ""),
        ("sqlite", "sqlite"),
        ("sqlite:", "sqlite:"),
        ("sqlite::memory:", "sqlite::memory:"),
        ("mysql:x", "mysql:x"),
        ("mysql://admin:secret@db/telemetry", "…"),
    ] {
        let message = wrong.parse::<StoreLocation>().unwrap_err().to_string();
        assert!(message.contains("expected sqlite:PATH") && message.contains(&format!("{shown:?}")), "{message}");
        assert!(!message.contains("secret"), "{message}");
    }
}

#[tokio::test]
async fn what_was_erased_or_came_in_order_is_in_no_file_once_it_is_tidied() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("telemetry.db");
    let log = || std::fs::metadata(folder.path().join("telemetry.db-wal")).unwrap().len();
    let store = SqliteStore::open(&path).unwrap();
    let batch = snapshots(1);
    let installation = batch.snapshots[0].installation;
    store.write(batch).await.unwrap();
    assert!(log() > 0);
    // A backup reads the state before.
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM latest").unwrap();
    assert!(store.erase(installation).await.unwrap().latest, "nobody waits for a reader");
    store.checkpoint().await.unwrap();
    assert!(log() > 0, "the reader needs it");
    reader.execute_batch("COMMIT").unwrap();
    store.checkpoint().await.unwrap();
    assert_eq!(log(), 0);
    let file = std::fs::read(&path).unwrap();
    assert!(!file.windows(16).any(|bytes| bytes == installation.as_bytes()));
}

/// A command merges in a process of its own, and a start merges what the process before has left.
#[tokio::test]
async fn the_words_of_events_that_another_process_merges_outlive_a_deletion_of_older_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("telemetry.db");
    let now = jiff::Timestamp::now();
    let record = EventRecord {
        uid: Uuid::new_v4(),
        time: truncate_to_hour(now),
        kamaji_version: "26.7.4-edge".parse().unwrap(),
        kubernetes_version: "v1.35.1".parse().unwrap(),
        event: Event::Created { tcp_version: "v1.37.2".parse().unwrap(), extended: None },
    };
    let event = EventRow { record, source: Source::Agent("0.1.0".parse().unwrap()), bulk: false };
    let serving = SqliteStore::open(&path).unwrap();
    serving.write(Batch { events: vec![event], ..Batch::default() }).await.unwrap();
    let today = Hour::of(now).day();
    let query = FactsQuery {
        event_days: Some(today.minus(7)),
        event_weeks: Some(today.minus(7)),
        ..FactsQuery::new(SourceKind::Agent, today)
    };
    let command = SqliteStore::open_existing(&path).unwrap();
    assert_eq!(command.facts(vec![query]).await.unwrap()[0].event_days.len(), 1);
    drop(command);
    let before = Hour::of(now).minus(100);
    serving.prune(Cutoffs { events: before, uids: before, installations: before.day() }).await.unwrap();
    drop(serving);
    let reopened = SqliteStore::open(&path).unwrap();
    let facts = reopened.facts(vec![query]).await.unwrap();
    assert_eq!((facts[0].event_days.len(), facts[0].event_weeks.len()), (1, 2));
    assert!(reopened.intake(today).await.unwrap().before.is_empty(), "the store is of today");
}

fn events(number: usize) -> Batch {
    of_events((0..number).map(|_| created(Uuid::new_v4(), "v1.37.2")).collect())
}

/// Returns the number of events in the table. Merges none.
fn merged(path: &Path) -> i64 {
    Connection::open(path).unwrap().query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap()
}

/// The backend merges its inbox in steps under load, and has the events of a merge in memory meanwhile.
#[tokio::test]
async fn what_another_process_erases_within_a_merge_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("telemetry.db");
    let serving = SqliteStore::open(&path).unwrap();
    for _ in 0..20 {
        serving.write(events(1_000)).await.unwrap();
    }
    let merged = merged(&path);
    assert!(0 < merged && merged < 20_000, "{merged} events are merged: expected a merge that is under way");
    let command = SqliteStore::open_existing(&path).unwrap();
    assert_eq!(command.erase_events(EventFilter::default()).await.unwrap().events, 20_000);
    drop(command);
    for _ in 0..20 {
        serving.write(events(1_000)).await.unwrap();
    }
    assert_eq!(serving.count_events(EventFilter::default()).await.unwrap().events, 20_000);
}

/// Questions are answered within 50 ms, and a merge takes longer.
#[tokio::test]
async fn a_question_under_load_does_not_wait_for_the_merge_that_the_next_minute_makes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("telemetry.db");
    let store = SqliteStore::open(&path).unwrap();
    let today = Hour::of(jiff::Timestamp::now()).day();
    let query = FactsQuery { event_days: Some(today.minus(7)), ..FactsQuery::new(SourceKind::Agent, today) };
    let has_events = async || !store.facts(vec![query]).await.unwrap()[0].event_days.is_empty();
    store.write(events(1_000)).await.unwrap();
    assert!(has_events().await, "a few events are in the answer at once");
    for _ in 0..20 {
        store.write(events(1_000)).await.unwrap();
    }
    let before = merged(&path);
    assert!(1_000 < before && before < 21_000, "{before} events are merged: expected a merge that is under way");
    assert!(has_events().await);
    assert_eq!(merged(&path), before);
    store.checkpoint().await.unwrap();
    assert_eq!((merged(&path), count(&path, "inbox")), (21_000, 0));
}

/// Where they are not, `.cargo/config.toml` was not read, and each commit writes the times of the file too.
#[test]
fn sqlite_is_compiled_with_the_settings_of_this_project() {
    let connection = Connection::open_in_memory().unwrap();
    let is_used = |option: &str| {
        let sql = "SELECT sqlite_compileoption_used(?1)";
        connection.query_row(sql, [option], |row| row.get::<_, bool>(0)).unwrap()
    };
    assert_eq!(["DEFAULT_MEMSTATUS=0", "ENABLE_API_ARMOR"].map(is_used), [true, false]);
}
