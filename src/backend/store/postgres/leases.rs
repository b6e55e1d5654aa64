//! Leases by the clock of the server: the slots of writers, and the jobs that one backend does for all.

use std::time::{Duration, Instant};

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::connection::{PostgresConnection, PostgresError};

/// The time for which a writer has a slot. Two clients that add to one slot wait for each other, and nothing worse: a lease is never
/// renewed, so that the sums of each hour are merged into the common slot.
const SLOT_LEASE: Duration = Duration::from_hours(1);

/// The part of the lease after which a writer takes another slot: a commit that waits for a standby may end after that.
const SLOT_USE: Duration = Duration::from_mins(50);

/// The time for which a backend has a job: longer than a step takes, and short enough for another to go on after a crash.
const JOB_LEASE: Duration = Duration::from_secs(30);

/// The most slots: more than all connections of a server.
const MAX_SLOTS: i32 = 10_000;

/// Takes the lowest slot that is free. A slot whose time is over becomes free once its sums are merged.
const TAKE_SLOT: &str = "
    INSERT INTO slots (slot, holder, until)
    SELECT candidate.slot::smallint, $1, now() + make_interval(secs => $2) FROM generate_series(1, $3::int) AS candidate (slot)
    WHERE NOT EXISTS (SELECT FROM slots AS taken WHERE taken.slot = candidate.slot) ORDER BY 1 LIMIT 1
    ON CONFLICT (slot) DO NOTHING RETURNING slot::int";

/// Takes a job that nobody has, or renews its lease.
const TAKE_JOB: &str = "
    INSERT INTO jobs (name, holder, until) VALUES ($1, $2, now() + make_interval(secs => $3))
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
    WHERE jobs.holder = excluded.holder OR jobs.until <= now()";

/// A job that one backend does for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SharedJob {
    /// The deletion of rows by age.
    Prune,
    /// The merge of slots, the move of events out of `arrivals`, and the partitions of days.
    Checkpoint,
}

impl SharedJob {
    const fn name(self) -> &'static str {
        match self {
            Self::Prune => "prune",
            Self::Checkpoint => "checkpoint",
        }
    }

    /// Takes the job, or renews its lease. Returns false if another backend has it.
    pub(super) async fn take(self, connection: &mut PostgresConnection, holder: Uuid) -> Result<bool, PostgresError> {
        let parameters: &[&(dyn ToSql + Sync)] = &[&self.name(), &holder, &JOB_LEASE.as_secs_f64()];
        Ok(connection.execute(TAKE_JOB, parameters).await? > 0)
    }

    /// Gives the job back.
    pub(super) async fn give_back(
        self,
        connection: &mut PostgresConnection,
        holder: Uuid,
    ) -> Result<(), PostgresError> {
        connection.execute("DELETE FROM jobs WHERE name = $1 AND holder = $2", &[&self.name(), &holder]).await?;
        Ok(())
    }
}

/// The slot of a writer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) number: i32,
    taken: Instant,
}

impl Slot {
    /// Takes a slot.
    pub(super) async fn take(connection: &mut PostgresConnection, holder: Uuid) -> Result<Self, PostgresError> {
        loop {
            let taken = Instant::now();
            let parameters: &[&(dyn ToSql + Sync)] = &[&holder, &SLOT_LEASE.as_secs_f64(), &MAX_SLOTS];
            // Another writer may have taken the same slot; the next attempt sees that.
            if let Some(row) = connection.query_opt(TAKE_SLOT, parameters).await? {
                return Ok(Self { number: row.try_get(0)?, taken });
            }
        }
    }

    /// Returns whether it is time to take another one.
    pub(super) fn is_over(&self) -> bool {
        self.taken.elapsed() > SLOT_USE
    }
}
