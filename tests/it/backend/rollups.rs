//! The `SQLite` store's rollups are what its rows come to.

use std::path::Path;
use std::sync::Arc;

use kamaji_telemetry::backend::store::{Batch, SourceKind, SqliteStore};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use uuid::Uuid;

use super::conformance::recomputation::{Model, histories};
use super::conformance::{Shared, View, hours_ago, noon, snapshot, view};
use crate::servers::store;

/// Rollups, and their recomputation. The conformance suite recomputes the others, whose keys are not columns of rows.
const ROLLUPS: [(&str, &str); 6] = [
    (
        "day_rollup",
        "SELECT source, source_part, day, version, count(*),
                sum(running * part / whole), sum(sleeping * part / whole), sum(not_ready * part / whole),
                sum(upgrading * part / whole),
                sum(total - running * part / whole - sleeping * part / whole - not_ready * part / whole
                          - upgrading * part / whole),
                sum(min(total, iif(young, 50, 1000)))
         FROM (SELECT *, iif(bounded, 50, 1) AS part, iif(bounded, total, 1) AS whole
               FROM (SELECT *, running + sleeping + not_ready + upgrading AS total,
                            young AND running + sleeping + not_ready + upgrading > 50 AS bounded
                     FROM (SELECT *, 0 AS source_part, 0 AS version FROM days
                           UNION ALL SELECT *, 1, kamaji FROM days
                           UNION ALL SELECT *, 2, kubernetes FROM days
                           UNION ALL SELECT *, 3, agent FROM days WHERE source = 1)))
         WHERE standing = 1 GROUP BY 1, 2, 3, 4",
    ),
    (
        "active_pair_rollup",
        "SELECT source, next_day, day, kamaji, kubernetes, first_day <= day - (day + 3) % 7 - 28, count(*),
                sum(min(total, iif(young, 50, 100000))), sum(min(total, iif(young, 50, 1000)))
         FROM (SELECT *, coalesce(lead(day) OVER (PARTITION BY installation ORDER BY day), 2147483647) AS next_day,
                      running + sleeping + not_ready + upgrading AS total,
                      (SELECT first_seen / 24 FROM latest WHERE latest.installation = days.installation) AS first_day
               FROM days)
         WHERE standing = 1 GROUP BY 1, 2, 3, 4, 5, 6",
    ),
    (
        "active_condition_rollup",
        "SELECT source, next_day, day, kamaji,
                (total > 0) + (total > 1) + (total > 5) + (total > 20) + (total > 100) + (total > 1000),
                stuck, upgrading_long, first_day <= day - (day + 3) % 7 - 28, count(*),
                sum(min(total, iif(young, 50, 100000))), sum(min(total, iif(young, 50, 1000)))
         FROM (SELECT *, coalesce(lead(day) OVER (PARTITION BY installation ORDER BY day), 2147483647) AS next_day,
                      running + sleeping + not_ready + upgrading AS total,
                      (SELECT first_seen / 24 FROM latest WHERE latest.installation = days.installation) AS first_day
               FROM days)
         WHERE standing = 1 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8",
    ),
    (
        "first_seen_rollup",
        "SELECT source, iif(bulk, 2, confirmed IS NOT NULL), first_seen / 24, count(*) FROM latest GROUP BY 1, 2, 3",
    ),
    (
        "last_seen_rollup",
        "SELECT source, iif(bulk, 2, confirmed IS NOT NULL), last_seen / 24, count(*) FROM latest GROUP BY 1, 2, 3",
    ),
    ("event_hour_rollup", "SELECT source, hour, kind, count(*) FROM events WHERE source > 0 GROUP BY 1, 2, 3"),
];

/// The rows that are only in a rollup or only in its recomputation: none where all is right.
pub(crate) fn differences(file: &Path) -> Vec<String> {
    let connection = store::open(file);
    let differ = |(rollup, recomputation): &(&str, &str)| {
        let [kept, due] = [&format!("SELECT * FROM {rollup}"), *recomputation].map(|sql| {
            let mut statement = connection.prepare(sql).unwrap();
            let columns = statement.column_count();
            let row = |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect();
            let rows = statement.query_map([], row).unwrap();
            let mut rows: Vec<_> =
                rows.map(|row: rusqlite::Result<Vec<rusqlite::types::Value>>| format!("{row:?}")).collect();
            rows.sort_unstable();
            rows
        });
        (kept != due).then(|| format!("{rollup}: {kept:?}, and the rows come to {due:?}"))
    };
    ROLLUPS.iter().filter_map(differ).collect()
}

#[test]
fn after_any_history_the_rollups_are_what_the_rows_come_to() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // Each opens a file of its own.
    let config = Config { cases: 32, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&histories(), |history| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("telemetry.db");
        let store = SqliteStore::open(&path).unwrap();
        let (mut written, mut model) = (Vec::new(), Model::default());
        for step in history {
            runtime.block_on(step.take(&store, &mut written, &mut model));
        }
        let differences = differences(&path);
        prop_assert!(differences.is_empty(), "{differences:#?}");
        Ok(())
    });
    result.unwrap();
}

/// A clock that was ahead has moved an installation into the future, and its records there are deleted.
#[tokio::test]
async fn what_was_known_before_stays_when_records_of_the_future_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("telemetry.db");
    let store: Shared = Arc::new(SqliteStore::open(&path).unwrap());
    let (known, new) = (Uuid::new_v4(), Uuid::new_v4());
    let write = async |snapshots| store.write(Batch { snapshots, ..Batch::default() }).await.unwrap();
    write(vec![snapshot(known, hours_ago(72), 1), snapshot(known, hours_ago(30), 2), snapshot(known, hours_ago(1), 3)])
        .await;
    let before = view(&store).await;
    for hours in [-3, -30] {
        write(vec![snapshot(known, hours_ago(hours), 9), snapshot(new, hours_ago(hours), 9)]).await;
    }
    let deleted = store.delete_after(noon()).await.unwrap();
    assert_eq!((deleted.installations, differences(&path)), (1, vec![]));
    let after = view(&store).await;
    let received = after.received(SourceKind::Agent, 1);
    assert_eq!((after.installations.len(), received), (1, [1, 0, 0]), "it is still confirmed");
    assert_eq!(after.installations[0].latest.first_seen, before.installations[0].latest.first_seen);
    // A day does not tell the hour of its report: today's is that of the clock which was ahead.
    assert_eq!(after.installations[0].latest.report.counts.running, 9);
    write(vec![snapshot(known, noon(), 4)]).await;
    assert_eq!(differences(&path), Vec::<String>::new());
    store.erase(known).await.unwrap();
    assert_eq!(view(&store).await, View::default());
    assert_eq!(differences(&path), Vec::<String>::new());
}
