//! The time of each question, alone and while gauges and events come in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use jiff::Timestamp;
use kamaji_telemetry::backend::insights::answer::Asked;
use kamaji_telemetry::backend::insights::parameters::{Parameters, QuestionName};
use kamaji_telemetry::backend::insights::questions::ask;
use kamaji_telemetry::backend::store::{
    Batch, EventRow, GaugeSnapshot, Hour, Report, Source, SqliteStore, StateCounts, Store, truncate_to_hour,
};
use kamaji_telemetry::catalog::{Event, EventRecord};
use uuid::Uuid;

use crate::Times;
use crate::budget::add_row;

/// The number of times that each question is asked: enough for a 99th percentile.
const TIMES: usize = 200;

/// The snapshots of one request, and its events: those of a gateway.
const RECORDS: usize = 16;

/// The questions with the parameters that read most: the widest window, and both components.
const QUESTIONS: [(QuestionName, &[(&str, &str)]); 12] = [
    (QuestionName::Overview, &[]),
    (QuestionName::Overview, &[("window", "365d")]),
    (QuestionName::Versions, &[("window", "90d")]),
    (QuestionName::Versions, &[("window", "365d")]),
    (QuestionName::Versions, &[("window", "365d"), ("component", "kubernetes")]),
    (QuestionName::TestMatrix, &[]),
    (QuestionName::Health, &[("window", "365d")]),
    (QuestionName::Upgrades, &[("window", "365d")]),
    (QuestionName::Deprecation, &[]),
    (QuestionName::Deprecation, &[("component", "kubernetes")]),
    (QuestionName::Features, &[]),
    (QuestionName::Coverage, &[("window", "365d")]),
];

/// Measures all questions, and prints a table.
pub(crate) async fn measure(store: &Arc<SqliteStore>) -> anyhow::Result<()> {
    println!("each question {TIMES} times, in ms");
    println!("{:42} {:>8} {:>8} {:>8}", "alone", "p50", "p99", "worst");
    add("alone", measure_all(store).await?)?;
    let (ended, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load = tokio::spawn(send(Arc::clone(store), Arc::clone(&ended), Arc::clone(&received)));
    println!("{:42} {:>8} {:>8} {:>8}", "\nwhile gauges and events come in", "p50", "p99", "worst");
    let started = std::time::Instant::now();
    let slowest = measure_all(store).await?;
    let seconds = started.elapsed().as_secs_f64();
    ended.store(true, Ordering::Relaxed);
    load.await??;
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = received.load(Ordering::Relaxed) as f64 / seconds;
    println!("{rate:.0} snapshots and as many events a second came in meanwhile");
    add(&format!("while {rate:.0} snapshots and as many events a second come in"), slowest)
}

/// Measures and prints each question. Returns the 99th percentile of the slowest, in milliseconds.
async fn measure_all(store: &Arc<SqliteStore>) -> anyhow::Result<f64> {
    let mut slowest: f64 = 0.0;
    for (name, given) in QUESTIONS {
        let parameters = Parameters::parse(name, given.iter().copied(), &[])?;
        let times = Times::of(TIMES, async || {
            let asked = Asked { at: Timestamp::now(), min_installations: 3 };
            ask(store.as_ref(), name, parameters, asked).await.map(drop)
        });
        let query = given.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ");
        let times = times.await?;
        slowest = slowest.max(times.at(99));
        println!("{:42} {}", format!("{name} {query}"), times.show());
    }
    Ok(slowest)
}

/// The largest 99th percentile of a question, in milliseconds.
const MAX_P99: f64 = 50.0;

/// Adds what was reached to the table of budgets.
fn add(when: &str, slowest: f64) -> anyhow::Result<()> {
    let what = format!("insights, the slowest question, {when}: p99");
    Ok(add_row(&what, &format!("{slowest:.0} ms"), "≤ 50 ms", slowest <= MAX_P99)?)
}

/// Sends snapshots of new and known installations, and an event with each, one request after the other.
async fn send(store: Arc<SqliteStore>, ended: Arc<AtomicBool>, received: Arc<AtomicU64>) -> anyhow::Result<()> {
    let mut number = 0_u128;
    while !ended.load(Ordering::Relaxed) {
        let snapshots = (0..RECORDS).map(|_| {
            number += 1;
            snapshot(Uuid::from_u128(number % 10_000))
        });
        let events = (0..RECORDS).map(|_| event());
        store.write(Batch { snapshots: snapshots.collect(), events: events.collect() }).await?;
        received.fetch_add(RECORDS as u64, Ordering::Relaxed);
    }
    Ok(())
}

fn event() -> EventRow {
    let record = EventRecord {
        uid: Uuid::new_v4(),
        time: truncate_to_hour(Timestamp::now()),
        kamaji_version: "v1.7.2".parse().expect("a version"),
        kubernetes_version: "v1.35.1".parse().expect("a version"),
        event: Event::Created { tcp_version: "v1.35.1".parse().expect("a version"), extended: None },
    };
    EventRow { record, source: Source::Agent("2.0.0".parse().expect("a version")), bulk: false }
}

fn snapshot(installation: Uuid) -> GaugeSnapshot {
    let running = fastrand::u32(1..40);
    let report = Report {
        counts: StateCounts { running, ..StateCounts::default() },
        source: Source::Agent("2.0.0".parse().expect("a version")),
        kamaji_version: "v1.7.2".parse().expect("a version"),
        kubernetes_version: "v1.35.1".parse().expect("a version"),
        dimensions: Vec::new(),
    };
    GaugeSnapshot { installation, received: Hour::of(Timestamp::now()), report }
}
