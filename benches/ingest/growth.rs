//! The growth of a store's file in a year.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use kamaji_telemetry::backend::store::{Dimension, GaugeSnapshot, Hour, Report, Source, SqliteStore, StateCounts};
use kamaji_telemetry::catalog::{BY_VERSION, DATASTORE_COUNT, DATASTORE_USED_BY};
use uuid::Uuid;

use crate::fill;

/// The number of days that are stored.
const DAYS: i64 = 365;

/// The number of events of an installation in a year: one creation and one upgrade a week, one deletion a fortnight.
const EVENTS: u32 = 2 * 52 + 26;

/// Stores a year of `installations` and prints the size of each kind of record.
pub(crate) fn run(installations: u32) -> anyhow::Result<()> {
    let plain = bytes(installations, false, 0)?;
    let extended = bytes(installations, true, 0)? - plain;
    let events = bytes(installations, false, EVENTS)? - plain;
    let year = |bytes: f64| bytes / f64::from(installations) / 1e3;
    println!("\nthe file after {DAYS} days of {installations} installations, kB an installation");
    println!("  its days and its latest state  {:>8.1}", year(plain));
    println!(
        "  {EVENTS} events                     {:>8.1}, {:.0} bytes each",
        year(events),
        year(events) * 1e3 / f64::from(EVENTS)
    );
    println!("  extended gauges of 6 points    {:>8.1}", year(extended));
    Ok(())
}

/// Returns the size of the file of a store after it is closed.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn bytes(installations: u32, extended: bool, events: u32) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("telemetry.db");
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(fill(&file, installations, extended, events))?;
    Ok(file.metadata()?.len() as f64)
}

async fn fill(file: &Path, installations: u32, extended: bool, events: u32) -> anyhow::Result<()> {
    let store = SqliteStore::open(file)?;
    let mut random = fastrand::Rng::with_seed(1);
    let installations: Vec<_> = (0..installations).map(|_| Uuid::new_v4()).collect();
    let begin = Timestamp::now() - SignedDuration::from_hours(24 * DAYS);
    for day in 0..DAYS {
        let noon = begin + SignedDuration::from_hours(24 * day);
        let snapshots =
            installations.iter().map(|uuid| snapshot(*uuid, noon, extended, &mut random)).collect::<Result<_, _>>()?;
        let count = usize::try_from(events)? * installations.len() / usize::try_from(DAYS)?;
        let mut event = |_| fill::event(noon + SignedDuration::from_secs(random.i64(0..40_000)), &mut random);
        let events = (0..count).map(&mut event).collect::<Result<_, _>>()?;
        fill::write(&store, snapshots, events).await?;
    }
    Ok(())
}

fn snapshot(
    installation: Uuid,
    noon: Timestamp,
    extended: bool,
    random: &mut fastrand::Rng,
) -> anyhow::Result<GaugeSnapshot> {
    let of = [(&BY_VERSION, "v1.33"), (&BY_VERSION, "v1.34"), (&BY_VERSION, "v1.35")];
    let drivers = [(&DATASTORE_COUNT, "etcd"), (&DATASTORE_USED_BY, "etcd"), (&DATASTORE_USED_BY, "PostgreSQL")];
    let points = of.into_iter().chain(drivers).filter(|_| extended);
    Ok(GaugeSnapshot {
        installation,
        received: Hour::of(noon + SignedDuration::from_secs(random.i64(0..40_000))),
        report: Report {
            counts: StateCounts {
                running: random.u32(0..300),
                sleeping: random.u32(0..20),
                not_ready: 0,
                upgrading: 0,
            },
            source: Source::Agent("0.1.0".parse()?),
            kamaji_version: "v1.10.2".parse()?,
            kubernetes_version: "v1.35.1".parse()?,
            dimensions: points
                .map(|(metric, value)| Ok((Dimension::new(metric, value)?, random.u32(0..300))))
                .collect::<anyhow::Result<_>>()?,
        },
    })
}
