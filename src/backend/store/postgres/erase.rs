//! Erasure of rows on request: of one installation, or of all that match a filter.

use uuid::Uuid;

use super::connection::{PostgresConnection, PostgresError};
use super::events::{self, event_rows};
use super::removal::Removal;
use super::rows::latest_rows;
use crate::backend::store::deletion::MAX_STEP_INSTALLATIONS;
use crate::backend::store::deletion::Remains;
use crate::backend::store::{Erased, EventFilter, InstallationFilter, MatchedRows, PseudonymKey};

/// The maximum number of rows that one step of an erasure reads.
const MAX_SCANNED_ROWS: i64 = 4_096;

/// The rows that were erased so far, and the key after which the next step begins; `None` once there is no further row.
pub(super) type ErasedStep = (MatchedRows, Option<Uuid>);

/// Deletes every row of an installation in one transaction.
pub(super) async fn erase(connection: &mut PostgresConnection, installation: Uuid) -> Result<Erased, PostgresError> {
    connection.begin().await?;
    let mut removal = Removal::new(connection);
    let latest = removal.lock_latest(&[installation]).await?;
    let days = removal.delete_installations(&latest, &[installation]).await?;
    removal.commit_erasure().await?;
    Ok(Erased { latest: !latest.is_empty(), days })
}

/// Erases the installations after `after` that match, in one transaction, and adds them to `erased`.
pub(super) async fn erase_installations(
    connection: &mut PostgresConnection,
    filter: InstallationFilter,
    key: PseudonymKey,
    after: Uuid,
    mut erased: MatchedRows,
) -> Result<ErasedStep, PostgresError> {
    connection.begin().await?;
    let sql = "SELECT * FROM latest WHERE installation > $1 ORDER BY installation LIMIT $2";
    let rows = connection.query(sql, &[&after, &MAX_SCANNED_ROWS]).await?;
    let scanned = latest_rows(connection, &rows).await?;
    let matching = scanned.iter().filter(|(uuid, row)| filter.matches(**uuid, row, &key)).map(|(uuid, _)| *uuid);
    let matching: Vec<Uuid> = matching.take(MAX_STEP_INSTALLATIONS).collect();
    let mut removal = Removal::new(connection);
    let mut latest = removal.lock_latest(&matching).await?;
    // A receipt may have changed one meanwhile.
    latest.retain(|uuid, row| filter.matches(*uuid, row, &key));
    let keys: Vec<Uuid> = latest.keys().copied().collect();
    erased.days += removal.delete_installations(&latest, &keys).await?;
    erased.installations += keys.len() as u64;
    removal.commit_erasure().await?;
    let is_full = matching.len() == MAX_STEP_INSTALLATIONS;
    let next = if is_full { matching.last() } else { scanned.keys().next_back() };
    Ok((erased, next.copied()))
}

/// Erases the events after `after` that match, in one transaction. Their uids stay, so that a repeat is known. Adds
/// them to `erased`.
pub(super) async fn erase_events(
    connection: &mut PostgresConnection,
    filter: EventFilter,
    after: Uuid,
    mut erased: MatchedRows,
) -> Result<ErasedStep, PostgresError> {
    connection.begin().await?;
    connection.client().batch_execute(events::LOCK_TO_MOVE).await?;
    let columns = events::COLUMNS;
    let sql = format!(
        "(SELECT {columns} FROM arrivals WHERE uid > $1 AND source > 0 ORDER BY uid LIMIT $2)
         UNION ALL (SELECT {columns} FROM events WHERE uid > $1 AND source > 0 ORDER BY uid LIMIT $2)
         ORDER BY uid LIMIT $2"
    );
    let rows = connection.query(&sql, &[&after, &MAX_SCANNED_ROWS]).await?;
    let scanned = event_rows(connection, &rows).await?;
    let next = scanned.last().map(|(columns, _)| columns.uid);
    let matching: Vec<_> = scanned.into_iter().filter(|(_, event)| filter.matches(event)).collect();
    let mut removal = Removal::new(connection);
    removal.delete_events(&matching, Remains::Uid).await?;
    erased.events += matching.len() as u64;
    removal.commit_erasure().await?;
    Ok((erased, next))
}
