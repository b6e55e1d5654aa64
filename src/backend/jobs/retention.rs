//! Retention: the daily deletion of rows that are too old.

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::repeat::repeat;
use crate::backend::auth::ReaderTokens;
use crate::backend::clock_guard::{ClockGuard, utc_date};
use crate::backend::store::{Cutoffs, Hour, Pruned, PrunedAuth, ReadError, StaleRows, Stores, WriteError};

/// The minimum number of days for which uids of events are stored, whatever the retention: a day longer than the oldest
/// event that is accepted. The extra day covers the rounding to hours and clock skew.
const MIN_UID_DAYS: u16 = 31;

/// The largest share of the rows that one deletion takes: that of 80 of 400 days, which no clock that passes the guard
/// makes stale.
const MAX_SHARE: f64 = 0.2;

/// The retention of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Retention of events, in days; at least 1.
    pub events: u16,
    /// Retention of an installation's daily snapshots, and of installations that no longer report, in days; at least 1.
    pub installations: u16,
    /// Retention of the audit log, and of tokens that were revoked or have expired, in days; at least 1.
    pub audit_log: u16,
    /// The interval between two deletions.
    pub interval: Duration,
    /// The time from the start to the first deletion: long enough for an operator who sees that a clock or a retention is
    /// wrong to stop the process.
    pub delay: Duration,
}

impl Default for Retention {
    /// Returns 400 days, with which a year can be compared with the one before and a month is left to do so. The audit
    /// log is needed for as long as somebody investigates a leak: 90 days.
    fn default() -> Self {
        Self {
            events: 400,
            installations: 400,
            audit_log: 90,
            interval: Duration::from_hours(24),
            delay: Duration::from_mins(5),
        }
    }
}

impl Retention {
    /// Returns the largest share of the rows that one deletion may take: a fifth or, where a short retention makes that
    /// much stale between two deletions, twice what is expected.
    fn max_share(&self) -> f64 {
        let shortest = Duration::from_hours(24) * u32::from(self.events.min(self.installations));
        let expected = self.interval.as_secs_f64() / (shortest + self.interval).as_secs_f64();
        (2.0 * expected).max(MAX_SHARE)
    }

    /// Returns the times before which rows are deleted at `now`.
    pub fn cutoffs(&self, now: Timestamp) -> Cutoffs {
        let Self { events, installations, audit_log: _, interval: _, delay: _ } = *self;
        Cutoffs {
            events: Hour::of(days_before(now, events)),
            uids: Hour::of(days_before(now, events.max(MIN_UID_DAYS))),
            installations: Hour::of(now).day().minus(installations.into()),
        }
    }
}

fn days_before(now: Timestamp, days: u16) -> Timestamp {
    now - SignedDuration::from_hours(24 * i64::from(days))
}

/// The reason for which nothing was deleted.
#[derive(Debug, thiserror::Error)]
enum PruneError {
    /// The clock disagrees with the store, which the guard has logged.
    #[error("the clock disagrees with the store")]
    ClockOff,
    #[error(
        "{stale} of {total} rows are older than the retention, more than are deleted at once: if the clock and the retention \
         are right, restart with --trust-clock={today}"
    )]
    TooMany { stale: u64, total: u64, today: Date },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Deletes rows that are too old, at each interval of `retention`, until `shutdown`.
pub(in crate::backend) async fn run(
    stores: Stores,
    retention: Retention,
    reader_tokens: ReaderTokens,
    guard: Arc<ClockGuard>,
    shutdown: CancellationToken,
) {
    if shutdown.run_until_cancelled(tokio::time::sleep(retention.delay)).await.is_none() {
        return;
    }
    let (stores, reader_tokens, guard) = (&stores, &reader_tokens, guard.as_ref());
    repeat(retention.interval, shutdown, || prune(stores, retention, reader_tokens, guard)).await;
}

/// Deletes rows that are too old, and logs one line about it.
async fn prune(stores: &Stores, retention: Retention, reader_tokens: &ReaderTokens, guard: &ClockGuard) {
    match try_prune(stores, retention, reader_tokens, guard).await {
        Ok((rows, auth)) => log(rows, auth, retention),
        Err(PruneError::ClockOff) => {}
        Err(error) => tracing::error!(
            %error, retry_after = ?retention.interval,
            "failed to delete all rows that are older than the retention"
        ),
    }
}

async fn try_prune(
    stores: &Stores,
    retention: Retention,
    reader_tokens: &ReaderTokens,
    guard: &ClockGuard,
) -> Result<(Pruned, PrunedAuth), PruneError> {
    let now = guard.now().map_err(|_| PruneError::ClockOff)?;
    let before = days_before(now, retention.audit_log);
    let auth = stores.auth.prune_auth(before, now, reader_tokens.prefixes()).await?;
    let cutoffs = retention.cutoffs(now);
    let StaleRows { stale, total } = stores.rows.stale_rows(cutoffs).await?;
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let is_too_many = stale as f64 > retention.max_share() * total as f64;
    if is_too_many && !guard.trusts(now) {
        return Err(PruneError::TooMany { stale, total, today: utc_date(now) });
    }
    Ok((stores.rows.prune(cutoffs).await?, auth))
}

fn log(rows: Pruned, auth: PrunedAuth, retention: Retention) {
    let Pruned { events, uids, days, installations } = rows;
    let PrunedAuth { entries, tokens } = auth;
    tracing::info!(
        events,
        uids,
        days,
        installations,
        audit_log = entries,
        tokens,
        retention_events_days = retention.events,
        retention_installations_days = retention.installations,
        retention_audit_log_days = retention.audit_log,
        "deleted rows that are older than the retention"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_may_go_at_once_or_what_a_short_retention_makes_stale() {
        let share = |events, hours| {
            Retention { events, interval: Duration::from_hours(hours), ..Retention::default() }.max_share()
        };
        assert!((share(400, 24) - 0.2).abs() < 1e-9);
        assert!((share(1, 24) - 1.0).abs() < 1e-9);
        assert!((share(3, 24) - 0.5).abs() < 1e-9);
        assert!((share(1, 1) - 0.2).abs() < 1e-9);
    }

    #[test]
    fn uids_outlive_a_short_retention_and_go_with_the_events_of_a_long_one() {
        let now: Timestamp = "2026-11-23T20:00:00Z".parse().unwrap();
        let cutoffs = |events, installations| Retention { events, installations, ..Retention::default() }.cutoffs(now);
        let short = cutoffs(7, 1);
        assert_eq!(short.events.start().to_string(), "2026-11-16T20:00:00Z");
        assert_eq!(short.uids.start().to_string(), "2026-10-23T20:00:00Z");
        assert_eq!(short.installations.date().to_string(), "2026-11-22");
        let long = cutoffs(400, 400);
        assert_eq!(long.uids, long.events);
    }
}
