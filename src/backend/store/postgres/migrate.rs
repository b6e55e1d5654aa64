//! The schema of the database, and its migrations.

use refinery::{Migration, Runner};

use super::connection::{PostgresConnection, PostgresError};

/// The names and the statements of the migrations, numbered from 1 without a gap.
const MIGRATIONS: &[(&str, &str)] = &[("V1__schema", include_str!("migrations/V1__schema.sql"))];

/// The versions by which a schema may be newer: an update of several backends migrates it while others of the release before go on.
/// A migration only adds.
const NEWER_VERSIONS: i64 = 1;

/// The number of the lock of migrations: the first bytes of "kamaji".
const LOCK: i64 = 0x6b61_6d61_6a69;

/// The version of this program's schema.
fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Applies the migrations that the database does not have. Backends that start at once wait for each other.
///
/// A lock of the session, since each migration is a transaction of its own. It ends with the connection at the latest.
pub(super) async fn migrate(connection: &mut PostgresConnection) -> Result<(), PostgresError> {
    connection.client().execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await?;
    let found = version(connection).await?.unwrap_or_default();
    check(found)?;
    if found < known() {
        tracing::info!(from = found, to = known(), "migrating the store's schema");
        let migrations = MIGRATIONS.iter().map(|(name, sql)| Migration::unapplied(name, sql));
        let failed =
            |error: refinery::Error| PostgresError::Other(format!("the schema cannot be brought up to date: {error}"));
        let migrations = migrations.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        Runner::new(&migrations).run_async(connection.client_mut()).await.map_err(failed)?;
    }
    connection.client().execute("SELECT pg_advisory_unlock($1)", &[&LOCK]).await?;
    Ok(())
}

/// Fails if the database does not have a schema that this program can use.
pub(super) async fn require(connection: &mut PostgresConnection) -> Result<(), PostgresError> {
    match version(connection).await? {
        Some(found) if found < known() => Err(PostgresError::Other(format!(
            "its schema has version {found}, and this program's is {}; expected a backend as new as this to have served it",
            known()
        ))),
        Some(found) => check(found),
        None => Err(PostgresError::Other(
            "it holds no store; expected the database of a backend, which makes its tables when it serves for the first time"
                .to_owned(),
        )),
    }
}

fn check(found: i64) -> Result<(), PostgresError> {
    if found > known() + NEWER_VERSIONS {
        return Err(PostgresError::Other(format!(
            "its schema has version {found}, and this program knows up to {}; expected a newer program",
            known() + NEWER_VERSIONS
        )));
    }
    Ok(())
}

/// Returns the version of the database's schema; `None` if it holds no store.
async fn version(connection: &mut PostgresConnection) -> Result<Option<i64>, PostgresError> {
    let has_history = "SELECT to_regclass('refinery_schema_history') IS NOT NULL";
    if !connection.query_one(has_history, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let version = "SELECT max(version)::bigint FROM refinery_schema_history";
    Ok(connection.query_one(version, &[]).await?.try_get(0)?)
}
