//! Migrations of a schema of the tests' own: that of the program, and two more.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::backend::store::purpose::Purpose;
use crate::backend::store::sqlite::{OpenError, SqliteStore};
use crate::backend::store::{Batch, GaugeSnapshot, Hour, InstallationFilter, Report, Source, StateCounts, Store};

const LATER: Schema = Schema(&[
    SCHEMA.0[0],
    (
        "V2__first_seen",
        "CREATE TABLE first_seen (installation BLOB NOT NULL PRIMARY KEY, day INTEGER NOT NULL) STRICT;
         INSERT INTO first_seen SELECT installation, first_seen / 24 FROM latest;",
    ),
    ("V3__doubled", "UPDATE latest SET running = 2 * running;"),
]);

/// A directory with a store of [`SCHEMA`] that has two snapshots of one installation.
async fn store(installation: Uuid) -> TempDir {
    assert_eq!(SCHEMA.version(), 1);
    let folder = tempfile::tempdir().unwrap();
    let now = Hour::of(Timestamp::now());
    let snapshot = |received| GaugeSnapshot {
        installation,
        received,
        report: Report {
            counts: StateCounts { running: 4, ..StateCounts::default() },
            source: Source::Agent("0.1.0".parse().unwrap()),
            kamaji_version: "v1.0.0".parse().unwrap(),
            kubernetes_version: "v1.35.1".parse().unwrap(),
            dimensions: vec![],
        },
    };
    let store = SqliteStore::open(&path(&folder)).unwrap();
    let snapshots = vec![snapshot(now.minus(48)), snapshot(now)];
    store.write(Batch { snapshots, events: vec![] }).await.unwrap();
    folder
}

fn path(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("telemetry.db")
}

fn open_later(path: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open_with(path, LATER, CancellationToken::new())
}

/// Returns the only installation, and its number of running control planes.
async fn only_installation(store: &SqliteStore) -> (Uuid, u32) {
    let found = store.installations(InstallationFilter::default(), 2).await.unwrap();
    assert_eq!(found.matching, 1);
    (found.listed[0].uuid, found.listed[0].latest.report.counts.running)
}

fn execute(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn every_migration_has_a_number_and_none_is_left_out() {
    for schema in [SCHEMA, LATER] {
        for (number, (name, sql)) in (1..).zip(schema.0) {
            assert_eq!(Migration::unapplied(name, sql).unwrap().version(), number, "{name}");
        }
    }
}

#[tokio::test]
async fn a_file_of_an_earlier_version_keeps_its_rows_and_its_key() {
    let installation = Uuid::new_v4();
    let folder = store(installation).await;
    let key = SqliteStore::open(&path(&folder)).unwrap().pseudonym_key().await.unwrap().pseudonym(installation);
    for _ in 0..2 {
        let store = open_later(&path(&folder)).unwrap();
        assert_eq!(only_installation(&store).await, (installation, 8), "migrated once");
        assert_eq!(store.pseudonym_key().await.unwrap().pseudonym(installation), key);
    }
}

#[tokio::test]
async fn a_migration_that_is_interrupted_leaves_the_file_as_it_was() {
    let installation = Uuid::new_v4();
    let folder = store(installation).await;
    let path = path(&folder);
    // As a killed process could leave it: after the last migration, and before the file records it.
    execute(
        &path,
        "CREATE TRIGGER interrupted BEFORE INSERT ON refinery_schema_history WHEN NEW.version = 3
         BEGIN SELECT RAISE(ABORT, 'interrupted'); END",
    );
    let error = open_later(&path).unwrap_err().to_string();
    assert!(error.contains("interrupted"), "{error}");
    execute(&path, "DROP TRIGGER interrupted");
    let before = SqliteStore::open(&path).unwrap();
    assert_eq!(only_installation(&before).await, (installation, 4));
    drop(before);
    assert_eq!(only_installation(&open_later(&path).unwrap()).await, (installation, 8));
}

#[tokio::test]
async fn a_migration_ends_when_it_is_cancelled_and_leaves_the_file_as_it_was() {
    let installation = Uuid::new_v4();
    let folder = store(installation).await;
    let path = path(&folder);
    execute(
        &path,
        "CREATE VIEW numbers (number) AS
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n;
         CREATE TRIGGER endless BEFORE INSERT ON refinery_schema_history WHEN NEW.version = 2
         BEGIN SELECT count(*) FROM numbers; END",
    );
    let cancelled = CancellationToken::new();
    let opening = {
        let (path, cancelled) = (path.clone(), cancelled.clone());
        tokio::task::spawn_blocking(move || SqliteStore::open_with(&path, LATER, cancelled))
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    cancelled.cancel();
    assert!(opening.await.unwrap().unwrap_err().is_interrupt());
    execute(&path, "DROP TRIGGER endless; DROP VIEW numbers");
    assert_eq!(only_installation(&SqliteStore::open(&path).unwrap()).await, (installation, 4));
}

#[tokio::test]
async fn only_the_program_that_serves_a_store_migrates_it() {
    let folder = store(Uuid::new_v4()).await;
    let path = path(&folder);
    let refused = || SqliteStore::open_existing_with(&path, Purpose::Read, LATER).unwrap_err().to_string();
    let expected = "version 1, and this program's is 3; expected the program that serves it";
    assert!(refused().contains(expected) && refused().contains(expected), "the first refusal changed it");
    drop(open_later(&path).unwrap());
    drop(SqliteStore::open_existing_with(&path, Purpose::Read, LATER).unwrap());
    for error in [SqliteStore::open_existing(&path).unwrap_err(), SqliteStore::open(&path).unwrap_err()] {
        let error = error.to_string();
        assert!(error.contains("version 3, and this program knows up to 1; expected a program as new"), "{error}");
    }
    std::fs::write(&path, "").unwrap();
    assert!(refused().contains("it holds no store"));
}
