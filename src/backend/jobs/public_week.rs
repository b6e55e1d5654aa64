//! The weekly snapshot of the public page.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::repeat::repeat;
use crate::backend::clock_guard::ClockGuard;
use crate::backend::insights::public_week::publish;
use crate::backend::store::fold::ESTABLISHED_DAYS;
use crate::backend::store::{Day, Hour, ReadError, Store, StoredWeek, WriteError};
use crate::process::log_throttle::LogThrottle;

/// The interval in which the job looks for a week that has ended. A look reads one row and one short file.
const INTERVAL: Duration = Duration::from_mins(1);

/// The time after the end of a week until it is counted: what was received before the end is written by then, and so is
/// what a clock that is an hour off received.
const DELAY: SignedDuration = SignedDuration::from_hours(1);

/// The reason for which no week was published.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    /// The clock disagrees with the store, which the guard has logged. A week that is published on a wrong clock keeps
    /// all weeks before it from being published.
    #[error("the clock disagrees with the store")]
    ClockOff,
    #[error("the week cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Publishes each week once it has ended, until `shutdown`.
pub(in crate::backend) async fn run(store: Arc<dyn Store>, guard: Arc<ClockGuard>, shutdown: CancellationToken) {
    static THROTTLE: LogThrottle = LogThrottle::hourly();
    let (store, guard) = (store.as_ref(), guard.as_ref());
    repeat(INTERVAL, shutdown, || async {
        match publish_ended_week(store, guard).await {
            Ok(None) | Err(PublishError::ClockOff) => {}
            Ok(Some(monday)) => tracing::info!(week = %monday.date(), "published a week"),
            Err(error) => THROTTLE.failed(|count| {
                tracing::error!(%error, count, "failed to publish the last week; it is tried again, unless the week is marked as published");
            }),
        }
    })
    .await;
}

/// Publishes the week that ended last, unless it or a later one was published before, or the store is too young for it;
/// returns the Monday of a week that it published. Weeks before it that were missed stay missing.
async fn publish_ended_week(store: &dyn Store, guard: &ClockGuard) -> Result<Option<Day>, PublishError> {
    let monday = ended_week(guard.now().map_err(|_| PublishError::ClockOff)?);
    if store.last_public_week().await? >= Some(monday) {
        return Ok(None);
    }
    // A store that was not there 28 days before holds no established installation, and tells nothing of how many there
    // are.
    if store.intake(monday).await?.before.len() < ESTABLISHED_DAYS.unsigned_abs() as usize {
        return Ok(None);
    }
    let counts = store.week_counts(monday).await?;
    let week = publish(monday.date(), &counts, &store.public_key().await?);
    let content = serde_json::to_string(&week)?;
    let is_published = store.publish_week(StoredWeek { monday, content }).await?;
    Ok(is_published.then_some(monday))
}

/// Returns the Monday of the last week that ended [`DELAY`] before `now` or earlier.
fn ended_week(now: Timestamp) -> Day {
    Hour::of(now - DELAY).day().week_before()
}

#[cfg(test)]
mod tests {
    use jiff::civil::Date;
    use uuid::Uuid;

    use super::*;
    use crate::backend::clock::ManualClock;
    use crate::backend::insights::public_week::PublicWeek;
    use crate::backend::store::sqlite::backup;
    use crate::backend::store::{Batch, GaugeSnapshot, PublicWeekStore, Report, Source, SqliteStore, StateCounts};
    use crate::catalog::{KamajiVersion, KubernetesVersion};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn day(text: &str) -> Day {
        Day::of(text.parse::<Date>().unwrap())
    }

    /// Returns a report of an installation with this many control planes, 13 of every 30 on the newer versions.
    fn snapshot(installation: u128, received: Hour) -> GaugeSnapshot {
        let is_newer = installation % 30 < 13;
        let running = u32::try_from(installation % 10).unwrap();
        GaugeSnapshot {
            installation: Uuid::from_u128(installation),
            received,
            report: Report {
                counts: StateCounts { running, ..StateCounts::default() },
                source: Source::Agent("0.1.0".parse().unwrap()),
                kamaji_version: KamajiVersion::normalize(if is_newer { "v1.1.0" } else { "26.7.4-edge" }),
                kubernetes_version: KubernetesVersion::normalize(if is_newer { "v1.35.1" } else { "v1.34.0" }),
                dimensions: vec![],
            },
        }
    }

    /// Stores the first receipt and the last receipts of installations.
    async fn receive(store: &SqliteStore, installations: std::ops::Range<u128>, times: &[&str]) {
        for time in times {
            let received = Hour::of(at(time));
            let snapshots = installations.clone().map(|installation| snapshot(installation, received)).collect();
            store.write(Batch { snapshots, ..Batch::default() }).await.unwrap();
        }
    }

    fn guard(clock: &ManualClock) -> ClockGuard {
        ClockGuard::new(clock.clone().into(), None, None)
    }

    async fn weeks(store: &SqliteStore) -> Vec<PublicWeek> {
        let stored = store.public_weeks().await.unwrap();
        stored.iter().map(|week| serde_json::from_str(&week.content).unwrap()).collect()
    }

    #[test]
    fn a_week_has_ended_on_the_monday_after_it_at_one_o_clock() {
        for (now, week) in [
            ("2026-11-22T23:59:59Z", "2026-11-09"),
            ("2026-11-23T00:59:59Z", "2026-11-09"),
            ("2026-11-23T01:00:00Z", "2026-11-16"),
            ("2026-11-30T00:59:59Z", "2026-11-16"),
            ("2021-01-04T01:00:00Z", "2020-12-28"),
        ] {
            assert_eq!(ended_week(at(now)).date().to_string(), week, "{now}");
        }
    }

    #[tokio::test]
    async fn a_week_is_made_once_and_neither_erasure_nor_late_data_nor_a_restore_changes_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("telemetry.db");
        let store = SqliteStore::open(&path).unwrap();
        receive(&store, 0..60, &["2026-10-01T00:00:00Z", "2026-10-15T00:00:00Z", "2026-11-18T12:00:00Z"]).await;
        let copy = folder.path().join("copy.db");
        backup::backup(&path, &copy).unwrap();

        let clock = ManualClock::new(at("2026-11-23T00:59:00Z"));
        store.publish_week(StoredWeek { monday: day("2026-11-09"), content: "{}".into() }).await.unwrap();
        assert_eq!(publish_ended_week(&store, &guard(&clock)).await.unwrap(), None, "the week before is there");
        clock.set(at("2026-11-23T01:00:00Z"));
        assert_eq!(publish_ended_week(&store, &guard(&clock)).await.unwrap(), Some(day("2026-11-16")));
        let made = store.public_weeks().await.unwrap();
        assert_eq!((made.len(), made[0].monday), (2, day("2026-11-16")));
        assert!(made[0].content.contains("\"fewer_than\":null"), "{made:?}");

        for installation in 0..30 {
            store.erase(Uuid::from_u128(installation)).await.unwrap();
        }
        receive(&store, 60..200, &["2026-10-01T00:00:00Z", "2026-10-15T00:00:00Z", "2026-11-18T12:00:00Z"]).await;
        clock.set(at("2026-11-29T12:00:00Z"));
        assert_eq!(publish_ended_week(&store, &guard(&clock)).await.unwrap(), None);
        let other = StoredWeek { monday: day("2026-11-16"), content: "other".into() };
        assert!(!store.publish_week(other).await.unwrap());
        assert_eq!(store.public_weeks().await.unwrap(), made);

        drop(store);
        backup::restore(&copy, &path).unwrap();
        let store = SqliteStore::open(&path).unwrap();
        assert_eq!(store.public_weeks().await.unwrap(), []);
        assert_eq!(
            publish_ended_week(&store, &guard(&clock)).await.unwrap(),
            None,
            "it was published before the restore"
        );
        clock.set(at("2026-11-30T01:00:00Z"));
        assert_eq!(publish_ended_week(&store, &guard(&clock)).await.unwrap(), Some(day("2026-11-23")));
    }

    #[tokio::test]
    async fn below_fifty_installations_a_week_says_only_that() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("telemetry.db")).unwrap();
        let clock = ManualClock::new(at("2026-11-23T01:00:00Z"));
        receive(&store, 0..49, &["2026-10-01T00:00:00Z", "2026-10-15T00:00:00Z", "2026-11-18T12:00:00Z"]).await;
        publish_ended_week(&store, &guard(&clock)).await.unwrap();
        receive(&store, 0..50, &["2026-11-25T12:00:00Z"]).await;
        receive(&store, 100..105, &["2026-10-01T00:00:00Z", "2026-10-15T00:00:00Z", "2026-11-25T12:00:00Z"]).await;
        clock.set(at("2026-11-30T01:00:00Z"));
        publish_ended_week(&store, &guard(&clock)).await.unwrap();
        let [second, first] = weeks(&store).await.try_into().unwrap();
        assert_eq!((first.fewer_than, first.tables.len()), (Some(54), 0));
        assert_eq!((second.fewer_than, second.tables.len()), (None, 3), "{second:?}");
    }

    #[tokio::test]
    async fn the_first_week_of_a_store_is_the_one_before_which_it_was_there_for_28_days() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("telemetry.db")).unwrap();
        let clock = ManualClock::new(at("2026-11-23T01:00:00Z"));
        assert_eq!(publish_ended_week(&store, &guard(&clock)).await.unwrap(), None, "it is empty");
        receive(&store, 0..1, &["2026-10-20T00:00:00Z"]).await;
        assert_eq!(publish_ended_week(&store, &guard(&clock)).await.unwrap(), None, "it is a day too young");
        clock.set(at("2026-11-30T01:00:00Z"));
        assert_eq!(publish_ended_week(&store, &guard(&clock)).await.unwrap(), Some(day("2026-11-23")));
    }

    #[tokio::test]
    async fn nothing_is_published_on_a_clock_that_disagrees_with_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("telemetry.db")).unwrap();
        let clock = ManualClock::new(at("2029-11-23T01:00:00Z"));
        let guard = ClockGuard::new(clock.into(), None, Some(at("2026-11-18T12:00:00Z")));
        assert!(matches!(publish_ended_week(&store, &guard).await, Err(PublishError::ClockOff)));
        assert_eq!(store.last_public_week().await.unwrap(), None);
    }

    #[tokio::test]
    async fn those_are_counted_who_were_confirmed_and_first_received_four_weeks_before() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("telemetry.db")).unwrap();
        let monday = day("2026-11-16");
        // The last hour of the fourth Monday before, and the first hour of the day after it.
        receive(&store, 0..1, &["2026-10-19T23:00:00Z", "2026-11-16T00:00:00Z"]).await;
        receive(&store, 1..2, &["2026-10-20T00:00:00Z", "2026-11-16T00:00:00Z"]).await;
        // In the last hour of the week, and in the hours beside the week.
        receive(&store, 2..3, &["2026-10-01T00:00:00Z", "2026-11-22T23:00:00Z"]).await;
        receive(&store, 3..4, &["2026-10-01T00:00:00Z", "2026-11-15T23:00:00Z", "2026-11-23T00:00:00Z"]).await;
        // By the last report of the week, of two and of one after it.
        receive(&store, 36..37, &["2026-10-01T00:00:00Z", "2026-11-17T00:00:00Z"]).await;
        let mut last = snapshot(5, Hour::of(at("2026-11-19T00:00:00Z")));
        last.installation = Uuid::from_u128(36);
        store.write(Batch { snapshots: vec![last], ..Batch::default() }).await.unwrap();
        receive(&store, 36..37, &["2026-11-23T00:00:00Z"]).await;
        // Kamaji's built-in telemetry, and what is in bulk by then.
        for (installation, source, running) in
            [(40, Source::Kamaji, 1), (41, Source::Agent("0.1.0".parse().unwrap()), 30_000)]
        {
            for (time, running) in [("2026-10-01T00:00:00Z", 1), ("2026-11-17T00:00:00Z", running)] {
                let mut row = snapshot(installation, Hour::of(at(time)));
                row.report.source = source.clone();
                row.report.counts.running = running;
                store.write(Batch { snapshots: vec![row], ..Batch::default() }).await.unwrap();
            }
        }
        let counts = store.week_counts(monday).await.unwrap();
        let shown = |list: &[crate::backend::store::CategoryCount]| -> Vec<_> {
            list.iter().map(|count| (count.category.clone(), count.installations)).collect()
        };
        assert_eq!(counts.installations, 3);
        assert_eq!(shown(&counts.kamaji), [("v1.1".to_owned(), 3)]);
        assert_eq!(shown(&counts.kubernetes), [("v1.35".to_owned(), 3)]);
        assert_eq!(shown(&counts.sizes), [("0–5".to_owned(), 3)]);
    }
}
