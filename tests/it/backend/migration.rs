//! Files of earlier versions are brought up to date.

use std::path::Path;

use jiff::Timestamp;
use kamaji_telemetry::backend::insights::overview_query;
use kamaji_telemetry::backend::store::{AuthStore, KamajiTotals, SqliteStore, Store};
use rusqlite::Connection;
use uuid::Uuid;

use super::harness::count;
use super::rollups::differences;
use crate::servers::fixture;

/// A file as the first version left it: its schema, its history of migrations, and a row in each table.
pub(super) fn first_version(path: &Path, installation: Uuid) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(&fixture("store-v1.sql")).unwrap();
    let (now, day) = (Timestamp::now().as_millisecond(), Timestamp::now().as_millisecond() / 86_400_000);
    let versions = "'0.1.0', 'v1.0.0', 'v1.35.1'";
    let counts = "4, 3, 2, 1";
    for (sql, parameters) in [
        (format!("INSERT INTO latest VALUES (?1, ?2, ?3, {counts}, {versions})"), [day, now]),
        (format!("INSERT INTO days VALUES (?2, ?1, ?3, {counts}, {versions})"), [day, now]),
        ("INSERT INTO dimensions VALUES (?2, ?1, 'kamaji.datastore.count', 'etcd', 5 + 0 * ?3)".into(), [day, now]),
        (
            format!(
                "INSERT INTO events VALUES (?1, ?3, 'kamaji.tcp.created', {versions}, 'v1.35.1', NULL, NULL, NULL, NULL, 0 * ?2)"
            ),
            [day, now],
        ),
    ] {
        connection.execute(&sql, rusqlite::params![installation, parameters[0], parameters[1]]).unwrap();
    }
}

#[tokio::test]
async fn a_file_of_the_first_version_keeps_its_rows_as_the_agents() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("telemetry.db");
    let installation = Uuid::new_v4();
    first_version(&path, installation);
    let store = SqliteStore::open(&path).unwrap();
    let facts = store.overview(overview_query(Timestamp::now())).await.unwrap();
    assert_eq!((facts.installations[0].uuid, facts.control_planes.total()), (installation, 10));
    assert_eq!((facts.events.len(), facts.dimensions.len(), facts.days.len()), (1, 1, 1));
    assert_eq!(facts.kamaji, KamajiTotals::default());
    assert_eq!(differences(&path), [""; 0]);
    assert_eq!((count(&path, "day_rollup"), count(&path, "event_day_rollup")), (3, 1));
    let key = store.pseudonym_key().await.unwrap().pseudonym(installation);
    drop(store);
    let again = SqliteStore::open(&path).unwrap();
    assert_eq!(again.pseudonym_key().await.unwrap().pseudonym(installation), key);
    assert_eq!((count(&path, "keys"), count(&path, "latest")), (1, 1));
    assert!(again.tokens().await.unwrap().is_empty(), "nobody may read what was there before there were tokens");
}

#[tokio::test]
async fn an_update_that_is_interrupted_leaves_the_file_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("telemetry.db");
    let installation = Uuid::new_v4();
    first_version(&path, installation);
    // It ends where a killed process could: when the last migration is done, and before the file says so.
    let last = "CREATE TRIGGER interrupted BEFORE INSERT ON refinery_schema_history WHEN NEW.version = 4
                BEGIN SELECT RAISE(ABORT, 'interrupted'); END";
    Connection::open(&path).unwrap().execute_batch(last).unwrap();
    let error = SqliteStore::open(&path).unwrap_err().to_string();
    assert!(error.contains("interrupted"), "{error}");
    Connection::open(&path).unwrap().execute_batch("DROP TRIGGER interrupted").unwrap();
    let store = SqliteStore::open(&path).unwrap();
    let facts = store.overview(overview_query(Timestamp::now())).await.unwrap();
    assert_eq!((facts.installations[0].uuid, facts.control_planes.total()), (installation, 10));
    assert_eq!(differences(&path), [""; 0]);
}

#[test]
fn only_who_serves_a_store_changes_its_schema() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("telemetry.db");
    first_version(&path, Uuid::new_v4());
    let refused = || SqliteStore::open_existing(&path).unwrap_err().to_string();
    assert!(refused().contains("version 1, and this program's is 4; expected the program that serves it"));
    assert!(refused().contains("version 1"), "the first refusal changed it");
    drop(SqliteStore::open(&path).unwrap());
    drop(SqliteStore::open_existing(&path).unwrap());
    let later = "INSERT INTO refinery_schema_history SELECT 99, 'later', applied_on, 'x' FROM refinery_schema_history
                 WHERE version = 1";
    Connection::open(&path).unwrap().execute_batch(later).unwrap();
    for error in [refused(), SqliteStore::open(&path).unwrap_err().to_string()] {
        assert!(error.contains("version 99, and this program knows up to 4; expected a program as new"), "{error}");
    }
    std::fs::write(&path, "").unwrap();
    assert!(refused().contains("it holds no store"));
}
