//! Earlier first receipts of installations, from the history of another server.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::connection::{PostgresConnection, PostgresError};
use super::removal::Removal;
use super::rollups::{COMMON_SLOT, RollupArrays};
use super::rows::{DayArrays, LatestArrays, UPSERT_DAYS, UPSERT_LATEST, small};
use crate::backend::store::SourceKind;
use crate::backend::store::deletion::MAX_STEP_INSTALLATIONS;
use crate::backend::store::encoding::source;
use crate::backend::store::fold::{DayRow, LatestRow, RollupChanges};
use crate::backend::store::hour::{Day, Hour};

/// Finds installations whose first receipt is later.
const LATER: &str = "
    SELECT installation FROM latest JOIN unnest($1::uuid[], $2::int[]) AS earlier (installation, hour) USING (installation)
    WHERE hour < first_seen AND source = $3 ORDER BY installation LIMIT $4";

/// The rows of installations whose first receipt was moved.
struct MovedRows {
    latest: Vec<(Uuid, LatestRow)>,
    last_days: BTreeMap<(Day, Uuid), DayRow>,
    rollups: RollupChanges,
}

/// Moves the first receipt of some installations to an earlier hour, in one transaction. Returns the number of those that were
/// moved; `None` once there are no others.
pub(super) async fn move_step(
    connection: &mut PostgresConnection,
    first_seen: &BTreeMap<Uuid, Hour>,
) -> Result<Option<u64>, PostgresError> {
    let (keys, hours): (Vec<Uuid>, Vec<i32>) = first_seen.iter().map(|(key, hour)| (*key, hour.number())).unzip();
    let of_source = small(source(SourceKind::Kamaji));
    let most = i64::try_from(MAX_STEP_INSTALLATIONS).unwrap_or(i64::MAX);
    let later = connection.query(LATER, &[&keys, &hours, &of_source, &most]).await?;
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
    let rollups = std::mem::take(&mut change.changes).without_zeros();
    write(connection, &MovedRows { latest, last_days, rollups }).await
}

/// Writes the rows, and commits. Fails with [`PostgresError::Raced`] once it has stored words that were missing: an installation that
/// is confirmed now is in sums in which it was not.
async fn write(connection: &mut PostgresConnection, moved: &MovedRows) -> Result<Option<u64>, PostgresError> {
    let MovedRows { latest, last_days, rollups } = moved;
    // A word that is missing is as new as the newest of the store, as in a file of SQLite.
    let day: Option<i32> = connection.query_one("SELECT max(last_used) FROM words", &[]).await?.try_get(0)?;
    let day = Day::from_number(day.unwrap_or_default());
    let mut words = connection.words().look_up(day);
    let (Ok(latest), Ok(days)) = (LatestArrays::new(&mut words, latest), DayArrays::new(&mut words, last_days));
    let rollups = RollupArrays::new(&mut words, rollups);
    let missing = words.missing();
    if !missing.is_empty() {
        connection.rollback().await?;
        connection.store_words(&missing, day).await?;
        return Err(PostgresError::Raced);
    }
    rollups.write(connection, COMMON_SLOT).await?;
    connection.execute(UPSERT_LATEST, &latest.parameters()).await?;
    connection.execute(UPSERT_DAYS, &days.parameters()).await?;
    connection.commit().await?;
    Ok(Some(latest.len() as u64))
}
