//! The removal of rows, and of what they are in the rollups.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::connection::{PostgresConnection, PostgresError};
use super::rollups::{COMMON_SLOT, RollupArrays};
use super::rows::{LOCK_LATEST, day_rows, latest_rows, small};
use crate::backend::store::EventRow;
use crate::backend::store::deletion::Remains;
use crate::backend::store::encoding::{EventColumns, NO_SOURCE};
use crate::backend::store::fold::{DayRow, LatestRow, RollupChanges, Sign};
use crate::backend::store::hour::{Day, Hour};

/// Asks the next checkpoint to remove the traces of rows.
pub(super) const ASK_FOR_VACUUM: &str = "
    INSERT INTO jobs (name, holder, until) VALUES ('vacuum', '00000000-0000-0000-0000-000000000000', now())
    ON CONFLICT DO NOTHING";

/// Leaves the uids and the hours of events, by which a repeat is known.
const KEEP_UIDS: &str = "
    INSERT INTO events (uid, hour, source, kind, agent, kamaji, kubernetes, tcp_version, old_tcp_version, status, cluster_api,
                        network_profile)
    SELECT uid, hour, $3, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM unnest($1::uuid[], $2::int[]) AS gone (uid, hour) ORDER BY uid
    ON CONFLICT DO NOTHING";

/// A removal in progress, in a transaction of the connection.
pub(super) struct Removal<'a> {
    pub(super) connection: &'a mut PostgresConnection,
    pub(super) changes: RollupChanges,
}

/// The days of an installation, in their order.
pub(super) type DaysOfInstallation = Vec<(Day, DayRow)>;

impl<'a> Removal<'a> {
    pub(super) fn new(connection: &'a mut PostgresConnection) -> Self {
        Self { connection, changes: RollupChanges::default() }
    }

    /// Reads and locks the latest rows of installations.
    pub(super) async fn lock_latest(
        &mut self,
        installations: &[Uuid],
    ) -> Result<BTreeMap<Uuid, LatestRow>, PostgresError> {
        let rows = self.connection.query(LOCK_LATEST, &[&installations]).await?;
        latest_rows(self.connection, &rows).await
    }

    /// Reads and locks the days of installations whose latest rows are locked.
    pub(super) async fn lock_days(
        &mut self,
        installations: &[Uuid],
    ) -> Result<BTreeMap<Uuid, DaysOfInstallation>, PostgresError> {
        let sql = "SELECT * FROM days WHERE installation = ANY($1) ORDER BY installation, day FOR UPDATE";
        let rows = self.connection.query(sql, &[&installations]).await?;
        let mut days: BTreeMap<Uuid, DaysOfInstallation> = BTreeMap::new();
        for (installation, day, row) in day_rows(self.connection, &rows).await? {
            days.entry(installation).or_default().push((day, row));
        }
        Ok(days)
    }

    /// Deletes the latest rows of installations, and all their days. Returns the number of days.
    pub(super) async fn delete_installations(
        &mut self,
        latest: &BTreeMap<Uuid, LatestRow>,
        installations: &[Uuid],
    ) -> Result<u64, PostgresError> {
        let days = self.lock_days(installations).await?;
        for (installation, rows) in &days {
            let first = rows.first().map_or_else(Hour::default, |(day, _)| day.first_hour());
            let first_seen = latest.get(installation).map_or(first, |row| row.first_seen);
            self.changes.chain(first_seen, rows.iter().map(|(day, row)| (*day, row)), Sign::Minus);
        }
        for row in latest.values() {
            self.changes.latest(row, Sign::Minus);
        }
        let deleted = self.delete("DELETE FROM days WHERE installation = ANY($1)", installations).await?;
        self.delete("DELETE FROM latest WHERE installation = ANY($1)", installations).await?;
        Ok(deleted)
    }

    /// Deletes events, while nobody else adds or moves any.
    pub(super) async fn delete_events(
        &mut self,
        events: &[(EventColumns, EventRow)],
        remains: Remains,
    ) -> Result<(), PostgresError> {
        let (uids, hours): (Vec<_>, Vec<_>) = events.iter().map(|(columns, _)| (columns.uid, columns.hour)).unzip();
        for (_, event) in events {
            self.changes.events(event, -1);
        }
        self.delete("DELETE FROM arrivals WHERE uid = ANY($1)", &uids).await?;
        self.delete("DELETE FROM events WHERE uid = ANY($1)", &uids).await?;
        if remains == Remains::Uid {
            self.connection.execute(KEEP_UIDS, &[&uids, &hours, &small(NO_SOURCE)]).await?;
        }
        Ok(())
    }

    pub(super) async fn delete(&mut self, sql: &str, keys: &[Uuid]) -> Result<u64, PostgresError> {
        self.connection.execute(sql, &[&keys]).await
    }

    /// Takes what was removed out of the rollups.
    pub(super) async fn write_rollups(&mut self) -> Result<(), PostgresError> {
        let changes = std::mem::take(&mut self.changes).without_zeros();
        let rows = self.connection.encode_stored(|words| RollupArrays::new(words, &changes)).await?;
        rows.write(self.connection, COMMON_SLOT).await
    }

    /// Commits, and has the next checkpoint remove the traces.
    pub(super) async fn commit_erasure(mut self) -> Result<(), PostgresError> {
        self.write_rollups().await?;
        self.connection.execute(ASK_FOR_VACUUM, &[]).await?;
        self.connection.commit().await
    }
}
