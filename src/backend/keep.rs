//! How long rows are kept, and the daily job that deletes what is older.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, ToSpan};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::store::{Cutoffs, Store, Trimmed, utc_day};

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
    /// How often what is older is deleted; the first time at the start.
    pub every: Duration,
}

impl Default for Keeping {
    /// A year can be held against the one before, with a month to do it in.
    fn default() -> Self {
        Self { events: 400, days: 400, every: Duration::from_hours(24) }
    }
}

impl Keeping {
    /// What is deleted at `now`.
    pub fn cutoffs(&self, now: Timestamp) -> Cutoffs {
        let Self { events, days, every: _ } = *self;
        let before = |days: u16| now - SignedDuration::from_hours(24 * i64::from(days));
        let days = utc_day(now).saturating_sub(i32::from(days).days());
        Cutoffs { events: before(events), uids: before(events.max(UIDS)), days }
    }
}

/// Deletes what is too old, now and then, until `shutdown`.
pub(super) async fn run(store: Arc<dyn Store>, keeping: Keeping, shutdown: CancellationToken) {
    let mut due = tokio::time::interval(keeping.every);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let job = async {
        loop {
            due.tick().await;
            trim(store.as_ref(), keeping).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = job => {}
    }
}

/// One run, and the one line about it.
async fn trim(store: &dyn Store, keeping: Keeping) {
    let Keeping { events: keep_events, days: keep_days, every } = keeping;
    match store.trim(keeping.cutoffs(Timestamp::now())).await {
        Ok(Trimmed { events, uids, days, breakdowns, installations }) => tracing::info!(
            events,
            uids,
            days,
            breakdowns,
            installations,
            "deleted what is older than {keep_events} days (events) and {keep_days} days (installations)"
        ),
        Err(error) => tracing::error!(%error, "what is too old could not all be deleted; tried again in {every:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_outlive_a_short_retention_and_go_with_the_events_of_a_long_one() {
        let now: Timestamp = "2026-11-23T20:00:00Z".parse().unwrap();
        let cutoffs = |events, days| Keeping { events, days, every: Duration::MAX }.cutoffs(now);
        let short = cutoffs(7, 1);
        assert_eq!(short.events.to_string(), "2026-11-16T20:00:00Z");
        assert_eq!(short.uids.to_string(), "2026-10-23T20:00:00Z");
        assert_eq!(short.days.to_string(), "2026-11-22");
        let long = cutoffs(400, 400);
        assert_eq!(long.uids, long.events);
    }
}
