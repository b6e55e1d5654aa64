//! How long rows are kept, and the daily job that deletes what is older.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp, ToSpan};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Stores;
use super::access::Guard;
use super::limit::Limiter;
use super::store::{Cutoffs, Store, Trimmed, TrimmedAccess, WriteError, utc_day};

/// Uids of events are kept a day longer than the oldest event is accepted, whatever the retention: so that a repeat is
/// known as one, on either side of an hour and of two clocks.
const UIDS: u16 = 31;

/// How long rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeping {
    /// Days for which events are kept, at least 1.
    pub events: u16,
    /// Days for which the days of installations are kept, and installations that are not seen any more; at least 1.
    pub days: u16,
    /// Days for which the access log is kept, and tokens that ended; at least 1.
    pub access_log: u16,
    /// How often what is older is deleted; the first time at the start.
    pub every: Duration,
}

impl Default for Keeping {
    /// A year can be held against the one before, with a month to do it in. Who read is of use for as long as somebody
    /// asks about a leak.
    fn default() -> Self {
        Self { events: 400, days: 400, access_log: 90, every: Duration::from_hours(24) }
    }
}

impl Keeping {
    /// What is deleted at `now`.
    pub fn cutoffs(&self, now: Timestamp) -> Cutoffs {
        let Self { events, days, access_log: _, every: _ } = *self;
        let before = |days: u16| before(now, days);
        let days = utc_day(now).saturating_sub(i32::from(days).days());
        Cutoffs { events: before(events), uids: before(events.max(UIDS)), days }
    }
}

fn before(now: Timestamp, days: u16) -> Timestamp {
    now - SignedDuration::from_hours(24 * i64::from(days))
}

/// Deletes what is too old, now and then, until `shutdown`.
pub(super) async fn run(stores: Stores, keeping: Keeping, shutdown: CancellationToken) {
    let mut due = each(keeping.every);
    let job = async {
        loop {
            due.tick().await;
            trim(&stores, keeping).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = job => {}
    }
}

/// How often the store is tidied and sources are forgotten: what a minute left is soon gone. A write waits for a store that
/// is tidied no longer than for a commit, and a look at the most sources takes a few milliseconds.
const TIDY: Duration = Duration::from_mins(1);

/// Tidies the store until `shutdown`, the first time at the start, for what a crash left.
pub(super) async fn tidy(store: Arc<dyn Store>, shutdown: CancellationToken) {
    let mut due = each(TIDY);
    while shutdown.run_until_cancelled(due.tick()).await.is_some() {
        // A store that can't be written is told of by those who write.
        if let Err(error) = store.tidy().await {
            tracing::debug!(%error, "the store was not tidied");
        }
    }
}

/// Forgets the sources that the limits need not know any more, until `shutdown`. A store that hangs keeps nobody remembered.
pub(super) async fn forget(limiter: Arc<Limiter>, guard: Arc<Guard>, shutdown: CancellationToken) {
    let mut due = each(TIDY);
    while shutdown.run_until_cancelled(due.tick()).await.is_some() {
        let now = Instant::now();
        limiter.forget(now);
        guard.forget(now);
    }
}

/// At once, and then each `period`: what took longer is not made up for.
fn each(period: Duration) -> Interval {
    let mut due = tokio::time::interval(period);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    due
}

/// One run, and the one line about it.
async fn trim(stores: &Stores, keeping: Keeping) {
    let Keeping { events: keep_events, days: keep_days, access_log: keep_access_log, every } = keeping;
    match try_trim(stores, keeping).await {
        Ok((Trimmed { events, uids, days, breakdowns, installations }, TrimmedAccess { entries, tokens })) => {
            tracing::info!(
                events,
                uids,
                days,
                breakdowns,
                installations,
                access_log = entries,
                tokens,
                "deleted what is older than {keep_events} days (events), {keep_days} days (installations) and \
                 {keep_access_log} days (access log)"
            );
        }
        Err(error) => tracing::error!(%error, "what is too old could not all be deleted; tried again in {every:?}"),
    }
}

async fn try_trim(stores: &Stores, keeping: Keeping) -> Result<(Trimmed, TrimmedAccess), WriteError> {
    let now = Timestamp::now();
    let rows = stores.rows.trim(keeping.cutoffs(now)).await?;
    Ok((rows, stores.access.trim_access(before(now, keeping.access_log), now).await?))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::backend::access::{IngestTokens, Recorder};
    use crate::backend::limit::{Limits, Source};
    use crate::backend::store::SqliteStore;

    #[tokio::test(start_paused = true)]
    async fn a_source_is_forgotten_within_a_minute_though_nobody_else_comes() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<SqliteStore> = Arc::new(SqliteStore::open(&folder.path().join("telemetry.db")).unwrap());
        let (recorder, _recording) = Recorder::new(store.clone());
        let guard = Arc::new(Guard::new(store, recorder, None, false, IngestTokens::open(None).unwrap()));
        // Full again at once, since that time is not the test's.
        let limiter = Limiter::new(&Limits { requests: 1_000_000_000, ..Limits::default() });
        let job = tokio::spawn(forget(Arc::clone(&limiter), guard, CancellationToken::new()));
        tokio::time::sleep(TIDY / 2).await;
        limiter.connect(Source::of(Ipv4Addr::LOCALHOST.into())).unwrap();
        assert_eq!(limiter.known_sources(), 1);
        tokio::time::sleep(TIDY).await;
        assert_eq!(limiter.known_sources(), 0);
        job.abort();
    }

    #[test]
    fn uids_outlive_a_short_retention_and_go_with_the_events_of_a_long_one() {
        let now: Timestamp = "2026-11-23T20:00:00Z".parse().unwrap();
        let cutoffs = |events, days| Keeping { events, days, ..Keeping::default() }.cutoffs(now);
        let short = cutoffs(7, 1);
        assert_eq!(short.events.to_string(), "2026-11-16T20:00:00Z");
        assert_eq!(short.uids.to_string(), "2026-10-23T20:00:00Z");
        assert_eq!(short.days.to_string(), "2026-11-22");
        let long = cutoffs(400, 400);
        assert_eq!(long.uids, long.events);
    }
}
