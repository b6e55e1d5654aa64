//! Half a year of simulated history of many installations, written directly into the backend's store. The number of
//! installations grows, releases spread in waves, and test installations live for a day.

mod installation;
mod releases;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};

use crate::backend::store::{
    Batch, EventRow, GaugeSnapshot, Hour, Report, Source, Store, WriteError, truncate_to_hour,
};
use crate::catalog::{Event, EventRecord, SERVICE_VERSION};
use installation::{Installation, uuid};

/// The days of history: half a year shows a release from its first day to its last.
const DAYS: i64 = 180;

/// The number of installations that live for more than a day.
const LASTING: usize = 200;

/// The number of installations that live for one day.
const SHORT_LIVED: usize = 100;

/// The amount of history that was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WrittenHistory {
    /// The number of installations.
    pub installations: usize,
    /// The number of snapshots, one per installation and day.
    pub snapshots: usize,
    /// The number of events.
    pub events: usize,
}

/// Writes the history that ends at `now` into a store. The same seed results in the same history, and writing it twice
/// has no further effect.
pub async fn write(store: &dyn Store, seed: u64, now: Timestamp) -> Result<WrittenHistory, WriteError> {
    let mut written = WrittenHistory { installations: LASTING + SHORT_LIVED, ..WrittenHistory::default() };
    for batch in days(seed, now) {
        written.snapshots += batch.snapshots.len();
        written.events += batch.events.len();
        store.write(batch).await?;
    }
    Ok(written)
}

/// Returns the history as one batch per day, oldest first.
fn days(seed: u64, now: Timestamp) -> impl Iterator<Item = Batch> {
    let mut random = Rng::with_seed(seed);
    let mut installations: Vec<_> = (0..LASTING).map(|_| Installation::lasting(&mut random, DAYS)).collect();
    installations.extend((0..SHORT_LIVED).map(|_| Installation::short_lived(&mut random, DAYS)));
    let source = Source::Agent(SERVICE_VERSION.parse().expect("the catalog allows the agent's own version"));
    (0..DAYS).rev().map(move |age| {
        let mut batch = Batch::default();
        for installation in installations.iter().filter(|installation| installation.is_active(age)) {
            let time = snapshot_time(&mut random, now, age);
            batch.snapshots.push(snapshot(installation, age, time, &source));
            let events = installation.events(&mut random, age).into_iter();
            batch.events.extend(events.map(|event| event_row(&mut random, installation, age, time, event, &source)));
        }
        batch
    })
}

/// Returns the time of the snapshot of the day `age`, which is a few minutes before the end of the day.
fn snapshot_time(random: &mut Rng, now: Timestamp, age: i64) -> Timestamp {
    now - SignedDuration::from_hours(24 * age) - SignedDuration::from_secs(random.i64(0..300))
}

fn snapshot(installation: &Installation, age: i64, time: Timestamp, source: &Source) -> GaugeSnapshot {
    GaugeSnapshot {
        installation: installation.uuid,
        received: Hour::of(time),
        report: Report {
            counts: installation.counts(age),
            source: source.clone(),
            kamaji_version: installation.kamaji(age),
            kubernetes_version: installation.kubernetes(age),
            dimensions: Vec::new(),
        },
    }
}

fn event_row(
    random: &mut Rng,
    installation: &Installation,
    age: i64,
    time: Timestamp,
    event: Event,
    source: &Source,
) -> EventRow {
    let record = EventRecord {
        uid: uuid(random),
        time: truncate_to_hour(time - SignedDuration::from_hours(random.i64(0..24))),
        kamaji_version: installation.kamaji(age),
        kubernetes_version: installation.kubernetes(age),
        event,
    };
    EventRow { record, source: source.clone(), bulk: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::store::{OverviewQuery, SqliteStore, StateCounts};

    const QUERY: OverviewQuery = OverviewQuery {
        now: Timestamp::UNIX_EPOCH,
        versions: 20,
        min_installations: 0,
        dimensions: 0,
        installations: 1_000,
        events: 10,
        days: 200,
    };

    #[tokio::test]
    async fn the_history_shows_growth_releases_and_failures() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("telemetry.db")).unwrap();
        let now = Timestamp::now();
        let written = write(&store, 1, now).await.unwrap();
        assert!(written.snapshots > 10_000 && written.events > 1_000, "{written:?}");
        let overview = store.overview(OverviewQuery { now, ..QUERY }).await.unwrap();
        // All but the first, on which none is confirmed.
        assert!(overview.days.len() >= 179, "{} days", overview.days.len());
        assert!(overview.day.active > 100, "{:?}", overview.day);
        assert!(overview.month.not_confirmed > 5, "{:?}", overview.month);
        assert!(overview.kamaji_versions.len() > 4 && overview.kubernetes_versions.len() > 3);
        assert!(
            overview.control_planes.sleeping > 0 && overview.control_planes.not_ready > 0,
            "{:?}",
            overview.control_planes
        );
        let (first, last) = (overview.days[0], overview.days[overview.days.len() - 2]);
        assert!(last.installations > first.installations * 3 / 2, "{first:?} {last:?}");
    }

    #[test]
    fn the_same_seed_results_in_the_same_history() {
        let history = |seed| days(seed, Timestamp::UNIX_EPOCH).collect::<Vec<_>>();
        assert!(history(1) == history(1));
        assert!(history(1) != history(2));
    }

    #[test]
    fn the_counts_of_an_installation_never_exceed_its_size() {
        let mut random = Rng::with_seed(3);
        for _ in 0..500 {
            let installation = Installation::lasting(&mut random, DAYS);
            for age in (0..DAYS).filter(|age| installation.is_active(*age)) {
                let StateCounts { running, sleeping, not_ready, upgrading } = installation.counts(age);
                let all = running + sleeping + not_ready + upgrading;
                assert!((1..200).contains(&all), "{installation:?} on {age}: {all}");
            }
        }
    }
}
