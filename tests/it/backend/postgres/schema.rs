//! Backends of two releases on one database: an update migrates the schema while those of the release before go on.

use kamaji_telemetry::backend::store::{Cutoffs, Hour, PostgresStore};
use uuid::Uuid;

use super::super::conformance::{Shared, created, hours_ago, of_events, of_snapshots, snapshot, view};
use super::stored;
use crate::servers::postgres::{TestDatabase, psql};

/// Adds a column and a table, as a migration of the next release may.
const ADDITIONS: &str = "
    ALTER TABLE latest ADD COLUMN added int;
    ALTER TABLE days ADD COLUMN added int NOT NULL DEFAULT 0;
    ALTER TABLE events ADD COLUMN added text;
    ALTER TABLE arrivals ADD COLUMN added text;
    ALTER TABLE day_rollup ADD COLUMN added bigint NOT NULL DEFAULT 0;
    CREATE TABLE added (number int PRIMARY KEY)";

/// Migrates a database to a version that this program does not have.
async fn migrate(database: &TestDatabase, version: u32, statements: &str) {
    let history = format!("INSERT INTO refinery_schema_history VALUES ({version}, 'added', '', '0')");
    psql(database.address(), &[statements, &history]).await.unwrap();
}

async fn open_error(database: &TestDatabase) -> String {
    let opened = PostgresStore::open(&database.address().parse().unwrap()).await;
    opened.map(drop).unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_goes_on_and_starts_again_with_a_schema_that_is_one_version_newer() {
    let database = TestDatabase::create().await;
    let installations = [Uuid::new_v4(), Uuid::new_v4()];
    let write = async |store: &Shared, hours: i64| {
        let snapshots = installations.iter().map(|uuid| snapshot(*uuid, hours_ago(hours), 7)).collect();
        store.write(of_snapshots(snapshots)).await.unwrap();
        store.write(of_events(vec![created(Uuid::new_v4(), "v1.35.1")])).await.unwrap();
    };
    let before: Shared = database.open().await;
    write(&before, 60 * 24).await;
    migrate(&database, 2, ADDITIONS).await;
    write(&before, 30).await;
    let after: Shared = database.open().await;
    write(&after, 2).await;
    psql(database.address(), &["UPDATE arrivals SET received = received - 1", "UPDATE slots SET until = now()"])
        .await
        .unwrap();
    before.checkpoint().await.unwrap();
    let old = Hour::of(hours_ago(50 * 24));
    before.prune(Cutoffs { events: old, uids: old, installations: old.day() }).await.unwrap();
    assert!(before.erase(installations[0]).await.unwrap().latest);
    assert_eq!(view(&after).await, view(&before).await);
    let seen = view(&after).await;
    assert_eq!((seen.installations.len(), seen.events.len()), (1, 3));
    assert_eq!(stored::differences(database.address()).await, Vec::<String>::new());
    drop((before, after));
    migrate(&database, 3, "SELECT 1").await;
    let error = open_error(&database).await;
    assert!(error.contains("its schema has version 3, and this program knows up to 2"), "{error}");
}
