//! The partitions of `days`, one for each day.

use super::connection::{PostgresConnection, PostgresError};
use crate::backend::store::hour::Day;

/// The days for which there are partitions ahead of time.
const DAYS_AHEAD: i32 = 2;

/// The time for which a change of the partitions waits for those who use the table. Meanwhile everybody else waits for it: it is
/// tried again later.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '2s'";

/// Creates the partitions from `first` to `last` that do not exist. Runs outside of a transaction.
///
/// A table is made first and attached then, which keeps nobody from writing. Who attaches a day waits for whoever else does.
pub(super) async fn create(connection: &mut PostgresConnection, first: Day, last: Day) -> Result<(), PostgresError> {
    let days = "
        SELECT day FROM generate_series($1::int, $2::int) AS day
        WHERE NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'days'::regclass
                                                    AND inhrelid = to_regclass('days_' || day))";
    let missing = connection.query(days, &[&first.number(), &last.number()]).await?;
    for row in missing {
        let day: i32 = row.try_get(0)?;
        if let Err(error) = create_one(connection, day).await {
            connection.rollback_after(&error).await;
            return Err(error);
        }
    }
    Ok(())
}

async fn create_one(connection: &PostgresConnection, day: i32) -> Result<(), PostgresError> {
    let exists = format!("SELECT to_regclass('days_{day}') IS NOT NULL");
    connection.begin().await?;
    let client = connection.client();
    client.batch_execute(&format!("{LOCK_TIMEOUT}; LOCK TABLE days IN SHARE UPDATE EXCLUSIVE MODE")).await?;
    // Another backend may have made it while this one waited.
    if !client.query_one(&exists, &[]).await?.try_get::<_, bool>(0)? {
        let create = format!(
            "CREATE TABLE days_{day} (LIKE days INCLUDING ALL);
             ALTER TABLE days ATTACH PARTITION days_{day} FOR VALUES FROM ({day}) TO ({})",
            day + 1
        );
        client.batch_execute(&create).await?;
    }
    connection.commit().await
}

/// Creates the partitions of today and of the days ahead, by the clock of the server.
pub(super) async fn create_ahead(connection: &mut PostgresConnection) -> Result<(), PostgresError> {
    let today = "SELECT floor(extract(epoch FROM now()) / 86400)::int";
    let today = Day::from_number(connection.query_one(today, &[]).await?.try_get(0)?);
    create(connection, today, today.plus(DAYS_AHEAD)).await
}

/// Returns the days before `day` that have a partition, in their order.
pub(super) async fn before(connection: &mut PostgresConnection, day: Day) -> Result<Vec<i32>, PostgresError> {
    between(connection, i32::MIN, day.number()).await
}

/// Returns the days from `first` on and before `end` that have a partition, in their order.
async fn between(connection: &mut PostgresConnection, first: i32, end: i32) -> Result<Vec<i32>, PostgresError> {
    // A condition may be evaluated before the join, on tables of other names.
    let days = "
        SELECT day FROM (
            SELECT CASE WHEN relname ~ '^days_[0-9]+$' THEN substr(relname, 6)::int END AS day
            FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = 'days'::regclass
        ) AS partitions WHERE day >= $1 AND day < $2 ORDER BY day";
    let rows = connection.query(days, &[&first, &end]).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// Returns the days from `day` on that have a partition, in their order.
pub(super) async fn since(connection: &mut PostgresConnection, day: i32) -> Result<Vec<i32>, PostgresError> {
    between(connection, day, i32::MAX).await
}

/// Drops the partitions before `day` that hold no row.
pub(super) async fn drop_empty(connection: &mut PostgresConnection, day: Day) -> Result<(), PostgresError> {
    for day in before(connection, day).await? {
        connection.begin().await?;
        let client = connection.client();
        client.batch_execute(&format!("{LOCK_TIMEOUT}; LOCK TABLE days_{day} IN ACCESS EXCLUSIVE MODE")).await?;
        let has_rows = client.query_one(&format!("SELECT EXISTS (SELECT FROM days_{day})"), &[]).await?;
        if !has_rows.try_get::<_, bool>(0)? {
            client.batch_execute(&format!("DROP TABLE days_{day}")).await?;
        }
        connection.commit().await?;
    }
    Ok(())
}
