//! The job that hides the order of arrival, merges the sums of slots, and makes partitions ahead of time.

use uuid::Uuid;

use super::connection::{PostgresConnection, PostgresError};
use super::events::{COLUMNS, LOCK_TO_MOVE};
use super::leases::SharedJob;
use super::partitions;
use super::rollups::merge_slots;

/// Reads if there is an event of an hour that is over.
const HAS_OLD_ARRIVALS: &str = "
    SELECT EXISTS (SELECT FROM arrivals WHERE received < floor(extract(epoch FROM now()) / 3600)::int)";

/// Does all of it, each part in a transaction of its own. Does nothing if another backend has the job.
pub(super) async fn run(connection: &mut PostgresConnection, holder: Uuid) -> Result<(), PostgresError> {
    if !SharedJob::Checkpoint.take(connection, holder).await? {
        return Ok(());
    }
    partitions::create_ahead(connection).await?;
    connection.begin().await?;
    merge_slots(connection).await?;
    connection.commit().await?;
    move_arrivals(connection).await?;
    vacuum(connection).await
}

/// Moves the events of the hours that are over, in the order of their uids: neither their places nor the transaction that wrote them
/// tell which came together.
async fn move_arrivals(connection: &mut PostgresConnection) -> Result<(), PostgresError> {
    if !connection.query_one(HAS_OLD_ARRIVALS, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(());
    }
    connection.begin().await?;
    connection.client().batch_execute(LOCK_TO_MOVE).await?;
    let moving = format!(
        "WITH gone AS (DELETE FROM arrivals WHERE received < floor(extract(epoch FROM now()) / 3600)::int RETURNING {COLUMNS})
         INSERT INTO events ({COLUMNS}) SELECT {COLUMNS} FROM gone ORDER BY uid ON CONFLICT (uid) DO NOTHING"
    );
    connection.execute(&moving, &[]).await?;
    connection.commit().await?;
    // Deleted rows keep their places until then.
    connection.client().batch_execute("VACUUM arrivals").await?;
    Ok(())
}

/// Removes the traces of erased rows, if anything was erased since the last time.
async fn vacuum(connection: &mut PostgresConnection) -> Result<(), PostgresError> {
    if connection.execute("DELETE FROM jobs WHERE name = 'vacuum'", &[]).await? > 0 {
        connection.client().batch_execute("VACUUM latest, days, arrivals, events").await?;
    }
    Ok(())
}
