//! What one backend does for all, and what all of them see at once.

use jiff::SignedDuration;
use kamaji_telemetry::backend::store::{AuthStore, Digest, Role, Session, Store, Token};
use uuid::Uuid;

use super::super::conformance::{Shared, created, hours_ago, noon, of_events, of_snapshots, snapshot, view};
use super::stored;
use crate::servers::postgres::{TestDatabase, psql};

/// The number of events.
const EVENTS: usize = 100;

async fn count(database: &TestDatabase, rows: &str) -> usize {
    psql(database.address(), &[&format!("SELECT count(*) FROM {rows}")]).await.unwrap().trim().parse().unwrap()
}

/// Returns the numbers of events that wait, and that have moved.
async fn events(database: &TestDatabase) -> (usize, usize) {
    (count(database, "arrivals").await, count(database, "events").await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_moves_the_events_of_whole_hours_and_merges_slots_and_no_answer_changes() {
    let database = TestDatabase::create().await;
    let [one, other] = [database.open().await, database.open().await];
    let batch = of_events((0..EVENTS).map(|_| created(Uuid::new_v4(), "v1.35.1")).collect());
    one.write(batch.clone()).await.unwrap();
    let installation = Uuid::new_v4();
    for (store, hours) in [(&one, 50), (&other, 26), (&one, 2)] {
        store.write(of_snapshots(vec![snapshot(installation, hours_ago(hours), 7)])).await.unwrap();
    }
    let shared: Shared = other.clone();
    let before = view(&shared).await;
    one.checkpoint().await.unwrap();
    assert_eq!(events(&database).await, (EVENTS, 0), "the hour is not over");
    let end_the_hour = ["UPDATE arrivals SET received = received - 1", "UPDATE slots SET until = now()"];
    psql(database.address(), &end_the_hour).await.unwrap();
    other.checkpoint().await.unwrap();
    assert_eq!(events(&database).await, (EVENTS, 0), "the other backend has the job");
    psql(database.address(), &["UPDATE jobs SET until = now()"]).await.unwrap();
    other.checkpoint().await.unwrap();
    assert_eq!(events(&database).await, (0, EVENTS), "the job goes to who asks once its lease is over");
    assert_eq!(count(&database, "day_rollup WHERE slot <> 0").await, 0);
    assert_eq!(view(&shared).await, before);
    one.write(batch).await.unwrap();
    assert_eq!(view(&shared).await, before, "a repeat is known where it has moved");
    assert_eq!(stored::differences(database.address()).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_one_backend_revokes_is_revoked_for_the_other_with_its_sessions() {
    let database = TestDatabase::create().await;
    let [one, other] = [database.open().await, database.open().await];
    let token = Token {
        prefix: "ktt_00000001".to_owned(),
        name: "alice@example.org".to_owned(),
        role: Role::Viewer,
        created: hours_ago(1),
        expires: noon() + SignedDuration::from_hours(1),
        revoked: None,
    };
    let session = Session {
        digest: Digest::of("cookie"),
        token: token.prefix.clone(),
        token_digest: Digest::of("secret"),
        expires: token.expires,
    };
    one.create_token(token.clone(), Digest::of("secret")).await.unwrap();
    assert!(other.open_session(session.clone(), noon()).await.unwrap());
    assert_eq!(one.session(session.digest).await.unwrap().unwrap().session, session);
    assert!(other.revoke_token(token.name.clone(), noon()).await.unwrap().is_some());
    assert!(one.session(session.digest).await.unwrap().is_none());
    let (stored, _) = one.token(token.prefix).await.unwrap().unwrap();
    assert_eq!(stored.revoked, Some(noon()));
    assert!(!one.open_session(session, noon()).await.unwrap());
}
