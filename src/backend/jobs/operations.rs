//! The record of the backend's own operation: what it refused, and when it served.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::backend::clock_guard::ClockGuard;
use crate::backend::ingest::RefusalTally;
use crate::backend::store::{Operations, ServedMinutes, Store};

/// The interval between two flushes: a crash loses the refusals of a minute, and each flush is a minute that was
/// served.
const INTERVAL: Duration = Duration::from_mins(1);

/// The refusals on their way to the store.
pub(in crate::backend) struct OperationsJob {
    store: Arc<dyn Store>,
    refusals: Arc<RefusalTally>,
    guard: Arc<ClockGuard>,
}

impl OperationsJob {
    pub(in crate::backend) fn new(
        store: &Arc<dyn Store>,
        refusals: &Arc<RefusalTally>,
        guard: &Arc<ClockGuard>,
    ) -> Self {
        Self { store: Arc::clone(store), refusals: Arc::clone(refusals), guard: Arc::clone(guard) }
    }

    /// Stores what was refused and that the backend serves: at once, each minute, and at `shutdown`.
    pub(in crate::backend) async fn run(self, shutdown: CancellationToken) {
        let mut interval = interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pending = None;
        // A flush is not cut off by the shutdown: it would be unknown whether it was stored.
        while shutdown.run_until_cancelled(interval.tick()).await.is_some() {
            pending = self.flush(pending).await;
        }
        if self.flush(pending).await.is_some() {
            tracing::warn!("the numbers of records that were refused last were not stored");
        }
    }

    /// Stores `pending`, the flush that failed before, and then what came since. Returns the flush that fails now, to
    /// be tried again as it is: it may have been stored all the same, and is not added twice then.
    async fn flush(&self, pending: Option<Operations>) -> Option<Operations> {
        if let Some(failed) = pending
            && let Err(failed) = self.try_flush(failed).await
        {
            return Some(failed);
        }
        // While the clock is off, nothing can be stored: the backend does not serve.
        let now = self.guard.now().ok()?;
        let served = vec![ServedMinutes::of(now)];
        let operations = Operations { flush: Uuid::new_v4(), refusals: self.refusals.take(), served };
        self.try_flush(operations).await.err()
    }

    async fn try_flush(&self, operations: Operations) -> Result<(), Operations> {
        self.store.record_operations(operations.clone()).await.map_err(|error| {
            // Writers report a store that cannot write.
            tracing::debug!(%error, "failed to store the numbers of refused records");
            operations
        })
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::backend::clock::{Clock, ManualClock};
    use crate::backend::store::{Day, Facts, FactsQuery, RefusalFact, ServedHour, SourceKind, SqliteStore};

    async fn operations(store: &SqliteStore) -> Facts {
        let day = Day::default();
        let query = FactsQuery { operations: Some(day), ..FactsQuery::new(SourceKind::Agent, day) };
        store.facts(vec![query]).await.unwrap().remove(0)
    }

    #[tokio::test]
    async fn a_flush_that_fails_is_tried_again_and_counted_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let store = Arc::new(SqliteStore::open(&path).unwrap());
        let clock = ManualClock::new("2026-11-23T12:00:00Z".parse().unwrap());
        let guard = Arc::new(ClockGuard::new(Clock::from(clock), None, None));
        let refusals = Arc::new(RefusalTally::new(Arc::clone(&guard)));
        let job = OperationsJob { store: Arc::clone(&store) as _, refusals: Arc::clone(&refusals), guard };
        let other = Connection::open(&path).unwrap();
        refusals.count("scope", 2);
        other.execute_batch("ALTER TABLE served_hours RENAME TO missing").unwrap();
        let failed = job.flush(None).await;
        assert!(failed.is_some());
        refusals.count("scope", 3);
        let failed = job.flush(failed).await;
        assert_eq!(failed.as_ref().map(|failed| failed.refusals.values().sum::<u64>()), Some(2));
        other.execute_batch("ALTER TABLE missing RENAME TO served_hours").unwrap();
        // As if the one that failed had been stored all the same.
        job.try_flush(failed.clone().unwrap()).await.unwrap();
        assert_eq!(job.flush(failed).await, None);
        let facts = operations(&store).await;
        let day = "2026-11-23".parse().map(Day::of).unwrap();
        assert_eq!(facts.refusals, [RefusalFact { day, reason: "scope".to_owned(), records: 5 }]);
        assert_eq!(facts.served_hours, [ServedHour { hour: day.first_hour().minus(-12), minutes: 1 }]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_refusals_are_stored_at_the_shutdown() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("store.db")).unwrap());
        let guard = Arc::new(ClockGuard::new(Clock::default(), None, None));
        let refusals = Arc::new(RefusalTally::new(Arc::clone(&guard)));
        let job = OperationsJob { store: Arc::clone(&store) as _, refusals: Arc::clone(&refusals), guard };
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        refusals.count("scope", 2);
        job.run(shutdown).await;
        assert_eq!(operations(&store).await.refusals[0].records, 2);
    }
}
