//! Earlier first receipts of installations, from the history of another server.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::connection::{PostgresConnection, PostgresError};
use super::removal::Removal;
use super::rows::{DayArrays, LatestArrays, UPSERT_DAYS, UPSERT_LATEST, small};
use super::words::WordLookup;
use crate::backend::store::SourceKind;
use crate::backend::store::encoding::source;
use crate::backend::store::fold::{DayRow, LatestRow};
use crate::backend::store::hour::{Day, Hour};

/// The maximum number of installations of a step, each of which may have a row for each day of the retention.
const MAX_STEP_INSTALLATIONS: i64 = 64;

/// Finds installations whose first receipt is later.
const LATER: &str = "
    SELECT installation FROM latest JOIN unnest($1::uuid[], $2::int[]) AS earlier (installation, hour) USING (installation)
    WHERE hour < first_seen AND source = $3 ORDER BY installation LIMIT $4";

/// Moves the first receipt of some installations to an earlier hour, in one transaction. Returns the number of those that were
/// moved; `None` once there are no others.
pub(super) async fn move_step(
    connection: &mut PostgresConnection,
    first_seen: &BTreeMap<Uuid, Hour>,
) -> Result<Option<u64>, PostgresError> {
    let (keys, hours): (Vec<Uuid>, Vec<i32>) = first_seen.iter().map(|(key, hour)| (*key, hour.number())).unzip();
    let of_source = small(source(SourceKind::Kamaji));
    let later = connection.query(LATER, &[&keys, &hours, &of_source, &MAX_STEP_INSTALLATIONS]).await?;
    if later.is_empty() {
        return Ok(None);
    }
    let keys = later.iter().map(|row| row.try_get(0)).collect::<Result<Vec<Uuid>, _>>()?;
    connection.begin().await?;
    let mut change = Removal::new(connection);
    let before = change.lock_latest(&keys).await?;
    let mut days = change.lock_days(&keys).await?;
    let (mut latest, mut last_days) = (Vec::new(), BTreeMap::new());
    for (installation, before) in before {
        let hour = first_seen.get(&installation);
        // A receipt, or another import, may have changed it meanwhile.
        let Some(after) = hour.and_then(|hour| before.first_seen_at(*hour)) else { continue };
        let days = days.remove(&installation).unwrap_or_default();
        let (day, row) = change.changes.first_seen_moved(&before, &after, &days);
        last_days.insert((day, installation), row);
        latest.push((installation, after));
    }
    change.write_rollups().await?;
    write(connection, &latest, &last_days).await?;
    connection.commit().await?;
    Ok(Some(latest.len() as u64))
}

async fn write(
    connection: &mut PostgresConnection,
    latest: &[(Uuid, LatestRow)],
    last_days: &BTreeMap<(Day, Uuid), DayRow>,
) -> Result<(), PostgresError> {
    let rows = |words: &mut WordLookup<'_>| {
        let (Ok(latest), Ok(days)) = (LatestArrays::new(words, latest), DayArrays::new(words, last_days));
        (latest, days)
    };
    let (latest, days) = connection.encode_stored(rows).await?;
    connection.execute(UPSERT_LATEST, &latest.parameters()).await?;
    connection.execute(UPSERT_DAYS, &days.parameters()).await?;
    Ok(())
}
