//! The rows of a store, compared with what was acknowledged, and its rollups with what the rows come to.

use std::collections::{BTreeMap, HashSet};

use uuid::Uuid;

use super::load::Ledger;
use crate::servers::postgres::psql;

/// Rollups summed over their slots, and their recomputation. The conformance suite recomputes the others, whose keys are not columns
/// of rows. A sum over no rows may be there.
const ROLLUPS: [(&str, &str); 7] = [
    (
        "SELECT source, part, day, version, sum(installations), sum(running), sum(sleeping), sum(not_ready), sum(upgrading),
                sum(left_out), sum(weight)
         FROM day_rollup GROUP BY 1, 2, 3, 4 HAVING sum(installations) <> 0 OR sum(weight) <> 0",
        "SELECT source, part, day, version, count(*), sum(running * share / whole), sum(sleeping * share / whole),
                sum(not_ready * share / whole), sum(upgrading * share / whole),
                sum(total - running * share / whole - sleeping * share / whole - not_ready * share / whole
                          - upgrading * share / whole),
                sum(least(total, CASE WHEN young THEN 50 ELSE 1000 END))
         FROM (SELECT *, CASE WHEN bounded THEN 50 ELSE 1 END AS share, CASE WHEN bounded THEN total ELSE 1 END AS whole
               FROM (SELECT *, running + sleeping + not_ready + upgrading AS total,
                            young AND running + sleeping + not_ready + upgrading > 50 AS bounded
                     FROM (SELECT *, 0 AS part, 0 AS version FROM days
                           UNION ALL SELECT *, 1, kamaji FROM days
                           UNION ALL SELECT *, 2, kubernetes FROM days
                           UNION ALL SELECT *, 3, agent FROM days WHERE source = 1) AS parts) AS totals) AS shares
         WHERE standing = 1 GROUP BY 1, 2, 3, 4",
    ),
    (
        "SELECT source, next_day, day, kamaji, kubernetes, established, sum(installations), sum(control_planes), sum(weight)
         FROM active_pair_rollup GROUP BY 1, 2, 3, 4, 5, 6 HAVING sum(installations) <> 0 OR sum(weight) <> 0",
        "SELECT source, next_day, day, kamaji, kubernetes, established, count(*),
                sum(least(total, CASE WHEN young THEN 50 ELSE 100000 END)), sum(least(total, CASE WHEN young THEN 50 ELSE 1000 END))
         FROM active GROUP BY 1, 2, 3, 4, 5, 6",
    ),
    (
        "SELECT source, next_day, day, kamaji, size, stuck, upgrading_long, established, sum(installations),
                sum(control_planes), sum(weight)
         FROM active_condition_rollup GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 HAVING sum(installations) <> 0 OR sum(weight) <> 0",
        "SELECT source, next_day, day, kamaji,
                (total > 0)::int + (total > 1)::int + (total > 5)::int + (total > 20)::int + (total > 100)::int
                    + (total > 1000)::int,
                stuck::int, upgrading_long::int, established, count(*),
                sum(least(total, CASE WHEN young THEN 50 ELSE 100000 END)), sum(least(total, CASE WHEN young THEN 50 ELSE 1000 END))
         FROM active GROUP BY 1, 2, 3, 4, 5, 6, 7, 8",
    ),
    (
        "SELECT source, standing, day, sum(installations) FROM first_seen_rollup GROUP BY 1, 2, 3
         HAVING sum(installations) <> 0",
        "SELECT source, CASE WHEN bulk THEN 2 ELSE (confirmed IS NOT NULL)::int END, first_seen / 24, count(*)
         FROM latest GROUP BY 1, 2, 3",
    ),
    (
        "SELECT source, standing, day, sum(installations) FROM last_seen_rollup GROUP BY 1, 2, 3
         HAVING sum(installations) <> 0",
        "SELECT source, CASE WHEN bulk THEN 2 ELSE (confirmed IS NOT NULL)::int END, last_seen / 24, count(*)
         FROM latest GROUP BY 1, 2, 3",
    ),
    (
        "SELECT source, hour, kind, sum(events) FROM event_hour_rollup GROUP BY 1, 2, 3 HAVING sum(events) <> 0",
        "SELECT source, hour, kind, count(*) FROM all_events WHERE source > 0 GROUP BY 1, 2, 3",
    ),
    (
        "SELECT source, day, sum(events) FROM event_day_rollup GROUP BY 1, 2 HAVING sum(events) <> 0",
        "SELECT source, hour / 24, count(*) FROM all_events WHERE source IN (1, 2) GROUP BY 1, 2",
    ),
];

/// The rows that recomputations read. Those of the next day are of the same installation.
const ROWS: &str =
    "all_events AS (SELECT uid, source, hour, kind FROM events UNION ALL SELECT uid, source, hour, kind FROM arrivals),
     active AS (
         SELECT *, (first_day <= day - (day + 3) % 7 - 28)::int AS established
         FROM (SELECT *, coalesce(lead(day) OVER (PARTITION BY installation ORDER BY day), 2147483647) AS next_day,
                      running + sleeping + not_ready + upgrading AS total,
                      (SELECT first_seen / 24 FROM latest WHERE latest.installation = days.installation) AS first_day
               FROM days) AS rows
         WHERE standing = 1)";

/// Returns the rows that are only in a rollup or only in its recomputation: none where all is right.
pub(crate) async fn differences(database: &str) -> Vec<String> {
    let mut differences = Vec::new();
    for (kept, due) in ROLLUPS {
        let sql = format!(
            "WITH {ROWS}, kept AS ({kept}), due AS ({due})
             (SELECT 'kept', * FROM (SELECT * FROM kept EXCEPT ALL SELECT * FROM due) AS kept LIMIT 10)
             UNION ALL (SELECT 'due', * FROM (SELECT * FROM due EXCEPT ALL SELECT * FROM kept) AS due LIMIT 10)"
        );
        let rows = psql(database, &[&sql]).await.unwrap();
        differences.extend(rows.lines().map(|row| format!("{}: {row}", kept.split("FROM ").nth(1).unwrap_or(kept))));
    }
    differences
}

/// Checks that each acknowledged event is stored once and no other one is, that each installation and its last day are as they
/// were last acknowledged, and that the rollups are what the rows come to. Returns the number of rows.
pub(crate) async fn check(database: &str, ledger: &Ledger) -> usize {
    let uids = psql(database, &["SELECT uid FROM events UNION ALL SELECT uid FROM arrivals"]).await.unwrap();
    let uids: Vec<Uuid> = uids.lines().map(|uid| uid.parse().unwrap()).collect();
    let stored: HashSet<_> = uids.iter().copied().collect();
    let acknowledged: HashSet<_> = ledger.events.iter().copied().collect();
    let missing = acknowledged.difference(&stored).count();
    let invented = stored.difference(&acknowledged).count();
    assert_eq!((missing, uids.len() - stored.len(), invented), (0, 0, 0), "events missing, repeated and invented");
    let installations = installations(database).await;
    let expected: BTreeMap<_, _> = ledger.running.iter().map(|(uuid, running)| (*uuid, [*running; 2])).collect();
    let differ: Vec<_> = expected.iter().filter(|(uuid, values)| installations.get(uuid) != Some(values)).collect();
    let stored: Vec<_> = differ.iter().map(|(uuid, _)| installations.get(uuid)).collect();
    assert!(differ.is_empty(), "acknowledged: {differ:?}; stored: {stored:?}");
    assert_eq!(installations.len(), expected.len(), "installations are stored that nobody sent");
    assert_eq!(differences(database).await, Vec::<String>::new());
    uids.len() + installations.len()
}

/// Returns the number of running control planes of each installation: the latest, and that of its last day.
async fn installations(database: &str) -> BTreeMap<Uuid, [i64; 2]> {
    let sql = "SELECT installation, running,
                      (SELECT running FROM days WHERE days.installation = latest.installation ORDER BY day DESC LIMIT 1)
               FROM latest";
    let rows = psql(database, &[sql]).await.unwrap();
    let row = |row: &str| {
        let columns: Vec<_> = row.split('|').collect();
        (columns[0].parse().unwrap(), [1, 2].map(|column| columns[column].parse().unwrap_or(-1)))
    };
    rows.lines().map(row).collect()
}
