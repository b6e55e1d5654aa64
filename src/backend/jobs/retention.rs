//! How long rows are kept, and the daily job that deletes what is older.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, ToSpan};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::backend::store::{Cutoffs, Pruned, PrunedAuth, Store, Stores, WriteError, utc_day};

/// Uids of events are kept a day longer than the oldest event is accepted, whatever the retention: so that a repeat is
/// known as one, on either side of an hour and of two clocks.
const UIDS: u16 = 31;

/// How long rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Days for which events are kept, at least 1.
    pub events: u16,
    /// Days for which the days of installations are kept, and installations that are not seen any more; at least 1.
    pub days: u16,
    /// Days for which the audit log is kept, and tokens that ended; at least 1.
    pub audit_log: u16,
    /// How often what is older is deleted; the first time at the start.
    pub every: Duration,
}

impl Default for Retention {
    /// A year can be held against the one before, with a month to do it in. TokenRef read is of use for as long as somebody
    /// asks about a leak.
    fn default() -> Self {
        Self { events: 400, days: 400, audit_log: 90, every: Duration::from_hours(24) }
    }
}

impl Retention {
    /// What is deleted at `now`.
    pub fn cutoffs(&self, now: Timestamp) -> Cutoffs {
        let Self { events, days, audit_log: _, every: _ } = *self;
        let before = |days: u16| before(now, days);
        let days = utc_day(now).saturating_sub(i32::from(days).days());
        Cutoffs { events: before(events), uids: before(events.max(UIDS)), days }
    }
}

fn before(now: Timestamp, days: u16) -> Timestamp {
    now - SignedDuration::from_hours(24 * i64::from(days))
}

/// Deletes what is too old, now and then, until `shutdown`.
pub(in crate::backend) async fn run(stores: Stores, keeping: Retention, shutdown: CancellationToken) {
    let mut due = each(keeping.every);
    let job = async {
        loop {
            due.tick().await;
            prune(&stores, keeping).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = job => {}
    }
}

/// How often the store is tidied: what a minute left is soon gone. A write waits for a store that is tidied no longer than
/// for a commit.
const TIDY: Duration = Duration::from_mins(1);

/// Tidies the store until `shutdown`, the first time at the start, for what a crash left.
pub(in crate::backend) async fn checkpoint(store: Arc<dyn Store>, shutdown: CancellationToken) {
    let mut due = each(TIDY);
    while shutdown.run_until_cancelled(due.tick()).await.is_some() {
        // A store that can't be written is told of by those who write.
        if let Err(error) = store.checkpoint().await {
            tracing::debug!(%error, "the store was not tidied");
        }
    }
}

/// At once, and then each `period`: what took longer is not made up for.
fn each(period: Duration) -> Interval {
    let mut due = tokio::time::interval(period);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    due
}

/// One run, and the one line about it.
async fn prune(stores: &Stores, keeping: Retention) {
    let Retention { events: retention_events, days: retention_installations, audit_log: retention_audit_log, every } =
        keeping;
    match try_trim(stores, keeping).await {
        Ok((Pruned { events, uids, days, dimensions, installations }, PrunedAuth { entries, tokens })) => {
            tracing::info!(
                events,
                uids,
                days,
                dimensions,
                installations,
                audit_log = entries,
                tokens,
                "deleted what is older than {retention_events} days (events), {retention_installations} days (installations) and \
                 {retention_audit_log} days (audit log)"
            );
        }
        Err(error) => tracing::error!(%error, "what is too old could not all be deleted; tried again in {every:?}"),
    }
}

async fn try_trim(stores: &Stores, keeping: Retention) -> Result<(Pruned, PrunedAuth), WriteError> {
    let now = Timestamp::now();
    let rows = stores.rows.prune(keeping.cutoffs(now)).await?;
    Ok((rows, stores.access.prune_auth(before(now, keeping.audit_log), now).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_outlive_a_short_retention_and_go_with_the_events_of_a_long_one() {
        let now: Timestamp = "2026-11-23T20:00:00Z".parse().unwrap();
        let cutoffs = |events, days| Retention { events, days, ..Retention::default() }.cutoffs(now);
        let short = cutoffs(7, 1);
        assert_eq!(short.events.to_string(), "2026-11-16T20:00:00Z");
        assert_eq!(short.uids.to_string(), "2026-10-23T20:00:00Z");
        assert_eq!(short.days.to_string(), "2026-11-22");
        let long = cutoffs(400, 400);
        assert_eq!(long.uids, long.events);
    }
}
