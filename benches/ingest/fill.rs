//! Filling of a store through its own writes.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use kamaji_telemetry::backend::store::{
    Batch, EventRow, GaugeSnapshot, Hour, Report, Source, SqliteStore, StateCounts, Store, truncate_to_hour,
};
use kamaji_telemetry::catalog::{Event, EventRecord};
use uuid::Uuid;

use crate::requests::COUNTS;
use crate::samples::{KAMAJI, KUBERNETES};

/// The number of records in a commit. Ordered by their keys, they are on few pages.
const BATCH: usize = 10_000;

/// Writes records.
pub(crate) async fn write(
    store: &SqliteStore,
    snapshots: Vec<GaugeSnapshot>,
    events: Vec<EventRow>,
) -> anyhow::Result<()> {
    Ok(store.write(Batch { snapshots, events }).await?)
}

/// Stores `count` events, evenly over the last `hours` hours, into the new file `file`.
pub(crate) fn events(file: &Path, count: u32, hours: u32) -> anyhow::Result<()> {
    let mut random = fastrand::Rng::with_seed(1);
    let begin = Timestamp::now() - SignedDuration::from_hours(i64::from(hours) - 1);
    let hour = |number: u32| i64::from(number) * i64::from(hours) / i64::from(count);
    let mut events =
        (0..count).map(|number| event(begin + SignedDuration::from_hours(hour(number)), &mut random)).peekable();
    fill(file, async |store| {
        while events.peek().is_some() {
            write(store, vec![], events.by_ref().take(BATCH).collect::<Result<_, _>>()?).await?;
        }
        Ok(())
    })
}

/// Stores a receipt of two days ago and one of now of each of `installations`, which are sorted, into the new file
/// `file`. The reports are as the load sends them.
pub(crate) fn installations(file: &Path, installations: &[Uuid]) -> anyhow::Result<()> {
    let now = Hour::of(Timestamp::now());
    fill(file, async |store| {
        for received in [now.minus(48), now] {
            for batch in installations.chunks(BATCH) {
                let snapshots = batch.iter().map(|uuid| snapshot(*uuid, received)).collect::<Result<_, _>>()?;
                write(store, snapshots, vec![]).await?;
            }
        }
        Ok(())
    })
}

/// Opens a new store, fills it, and closes it with an empty inbox and no write-ahead log.
fn fill(file: &Path, write: impl AsyncFnOnce(&SqliteStore) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let store = SqliteStore::open(file)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        write(&store).await?;
        Ok(store.checkpoint().await?)
    })
}

fn snapshot(installation: Uuid, received: Hour) -> anyhow::Result<GaugeSnapshot> {
    let [running, sleeping, not_ready, upgrading] = COUNTS;
    let report = Report {
        counts: StateCounts { running, sleeping, not_ready, upgrading },
        source: source()?,
        kamaji_version: KAMAJI.parse()?,
        kubernetes_version: KUBERNETES.parse()?,
        dimensions: vec![],
    };
    Ok(GaugeSnapshot { installation, received, report })
}

/// Returns a random event in the hour of `time`.
pub(crate) fn event(time: Timestamp, random: &mut fastrand::Rng) -> anyhow::Result<EventRow> {
    let tcp_version = "v1.35.1".parse()?;
    let event = match random.u8(0..5) {
        0 | 1 => Event::Created { tcp_version, extended: None },
        2 | 3 => Event::Updated { old_tcp_version: "v1.34.2".parse()?, new_tcp_version: tcp_version },
        _ => Event::Deleted { status: "Ready".parse()?, tcp_version },
    };
    let record = EventRecord {
        uid: Uuid::new_v4(),
        time: truncate_to_hour(time),
        kamaji_version: "v1.10.2".parse()?,
        kubernetes_version: "v1.35.1".parse()?,
        event,
    };
    Ok(EventRow { record, source: source()?, bulk: false })
}

/// The sender in the samples.
fn source() -> anyhow::Result<Source> {
    Ok(Source::Agent("0.1.0".parse()?))
}
