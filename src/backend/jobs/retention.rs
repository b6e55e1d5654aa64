//! Retention: the daily deletion of rows that are too old.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::repeat::repeat;
use crate::backend::auth::ReaderTokens;
use crate::backend::clock::Clock;
use crate::backend::store::{Cutoffs, Hour, Pruned, PrunedAuth, Stores, WriteError};

/// The minimum number of days for which uids of events are stored, whatever the retention: a day longer than the oldest
/// event that is accepted. The extra day covers the rounding to hours and clock skew.
const MIN_UID_DAYS: u16 = 31;

/// The retention of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Retention of events, in days; at least 1.
    pub events: u16,
    /// Retention of an installation's daily snapshots, and of installations that no longer report, in days; at least 1.
    pub installations: u16,
    /// Retention of the audit log, and of tokens that were revoked or have expired, in days; at least 1.
    pub audit_log: u16,
    /// The interval between two deletions. The first is at the start.
    pub interval: Duration,
}

impl Default for Retention {
    /// Returns 400 days, with which a year can be compared with the one before and a month is left to do so. The audit
    /// log is needed for as long as somebody investigates a leak: 90 days.
    fn default() -> Self {
        Self { events: 400, installations: 400, audit_log: 90, interval: Duration::from_hours(24) }
    }
}

impl Retention {
    /// Returns the times before which rows are deleted at `now`.
    pub fn cutoffs(&self, now: Timestamp) -> Cutoffs {
        let Self { events, installations, audit_log: _, interval: _ } = *self;
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

/// Deletes rows that are too old, at each interval of `retention`, until `shutdown`.
pub(in crate::backend) async fn run(
    stores: Stores,
    retention: Retention,
    reader_tokens: ReaderTokens,
    clock: Clock,
    shutdown: CancellationToken,
) {
    let (stores, reader_tokens, clock) = (&stores, &reader_tokens, &clock);
    repeat(retention.interval, shutdown, || prune(stores, retention, reader_tokens, clock.now())).await;
}

/// Deletes rows that are too old, and logs one line about it.
async fn prune(stores: &Stores, retention: Retention, reader_tokens: &ReaderTokens, now: Timestamp) {
    match try_prune(stores, retention, reader_tokens, now).await {
        Ok((rows, auth)) => log(rows, auth, retention),
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
    now: Timestamp,
) -> Result<(Pruned, PrunedAuth), WriteError> {
    let rows = stores.rows.prune(retention.cutoffs(now)).await?;
    let before = days_before(now, retention.audit_log);
    Ok((rows, stores.auth.prune_auth(before, now, reader_tokens.prefixes()).await?))
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
