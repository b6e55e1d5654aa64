//! The text that a run prints.

use std::fmt::Write as _;
use std::time::Duration;

use super::LoadConfig;
use super::figures::LoadFigures;
use super::processes::MeasuredProcess;
use super::schedule::INTERVAL;
use super::stores::StoredRecords;

/// The percentiles of the latency that are printed; the last one is the longest.
const PERCENTS: [usize; 4] = [50, 90, 99, 100];

/// Returns the introduction: the load, and the flags that each backend needs for it.
pub(super) fn introduction(config: &LoadConfig) -> String {
    let LoadConfig { installations, urls, speed, outage, duration, .. } = config;
    let cycles = f64::from(*installations) * speed / INTERVAL.as_secs_f64();
    let mut text = format!(
        "A fleet of {installations} installations sends for {duration:?}, its clock {speed} times as fast: {cycles:.1} \
         snapshots a second.\n"
    );
    if !outage.is_zero() {
        let _ =
            writeln!(text, "It is back from an outage of {outage:?}: all of it retries within a minute of its clock.");
    }
    let local = urls.iter().all(|url| url.to_string().contains("//127.") || url.to_string().contains("//localhost"));
    let proxy = if local { "127.0.0.1/32" } else { "THE_ADDRESS_OF_THIS_MACHINE" };
    let _ = write!(
        text,
        "Each installation has an address of its own in X-Forwarded-For, from 2001:db8::/32, so that limits apply to each.\n\
         Each backend needs these flags for it:\n    --trusted-proxy {proxy}"
    );
    // An agent has one snapshot a second at most, and so has one that is faster.
    if *speed > 1.0 {
        text.push_str(" --rate-limit-snapshots 0");
    }
    let _ = writeln!(
        text,
        "\nand --max-new-installations {installations}, unless its store was filled with --fill, or is filled by an earlier run."
    );
    text
}

/// Returns a line on the state of a run.
pub(super) fn progress(figures: &LoadFigures, elapsed: Duration, in_flight: usize) -> String {
    format!(
        "{:>6.0?}  {} snapshots and {} events acknowledged, {} attempts failed, {in_flight} in flight",
        Duration::from_secs(elapsed.as_secs()),
        figures.snapshots_acknowledged,
        figures.events_acknowledged,
        figures.failed(),
    )
}

/// The outcome of a run.
pub(super) struct LoadOutcome {
    pub(super) figures: LoadFigures,
    /// The real duration.
    pub(super) elapsed: Duration,
    pub(super) speed: f64,
    pub(super) events_waiting: usize,
    /// `None` without a store.
    pub(super) records: Option<StoredRecords>,
    pub(super) processes: Vec<MeasuredProcess>,
}

/// Returns the report of a run.
pub(super) fn report(outcome: LoadOutcome) -> String {
    let LoadOutcome { mut figures, elapsed, speed, events_waiting, records, processes } = outcome;
    let mut text = String::new();
    let seconds = elapsed.as_secs_f64();
    let requests = figures.acknowledged_requests();
    let a_second = per(requests, seconds);
    let _ = writeln!(text, "\nAfter {seconds:.1} s: {requests} requests acknowledged, {a_second:.0} a second.");
    let LoadFigures { snapshots_sent, snapshots_acknowledged, event_requests_sent, events_acknowledged, .. } = figures;
    let _ = writeln!(text, "snapshots     {snapshots_sent} sent, {snapshots_acknowledged} acknowledged");
    let _ = writeln!(
        text,
        "events        {} made, {events_acknowledged} acknowledged in {event_requests_sent} requests, {events_waiting} waiting",
        figures.events_made
    );
    let failures: Vec<_> = figures.failures.iter().map(|(failure, count)| format!("{failure}: {count}")).collect();
    let failures = if failures.is_empty() { "none".to_owned() } else { failures.join(", ") };
    let _ = writeln!(text, "failed        {failures}");
    if let Some((second, due)) = figures.due_by_second.iter().enumerate().max_by_key(|(_, due)| **due) {
        let _ = writeln!(text, "busiest       {due} attempts due in one second of the fleet's clock, after {second} s");
    }
    let latencies = figures.percentiles(PERCENTS).map(|latency| latency.as_secs_f64() * 1e3 / speed);
    let latencies = PERCENTS.iter().zip(latencies).map(|(percent, latency)| match percent {
        100 => format!("longest {latency:.1}"),
        _ => format!("p{percent} {latency:.1}"),
    });
    let latencies = latencies.collect::<Vec<_>>().join(", ");
    let _ = writeln!(text, "latency       {latencies} ms, from when it was due to the acknowledgement");
    for process in &processes {
        text.push_str(&process_line(process, seconds, requests));
    }
    text.push_str(&stored_line(records));
    text
}

fn process_line(process: &MeasuredProcess, seconds: f64, requests: usize) -> String {
    let cpu = process.cpu().as_secs_f64();
    let megabytes = process.peak_memory() / 1_000_000;
    format!(
        "process       {}: {cpu:.2} s of CPU, {:.2} cores, {:.1} us a request; {megabytes} MB at its peak\n",
        process.label(),
        cpu / seconds.max(f64::MIN_POSITIVE),
        per_request(cpu, requests),
    )
}

fn stored_line(records: Option<StoredRecords>) -> String {
    let Some(StoredRecords { events, installations, acknowledged, .. }) = records else {
        return "stored        not compared: expected --store with the store of the backends\n".to_owned();
    };
    format!(
        "stored        {events} new events; the last acknowledged snapshot of {installations} of {acknowledged} installations\n"
    )
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn per(count: usize, seconds: f64) -> f64 {
    count as f64 / seconds.max(f64::MIN_POSITIVE)
}

/// Returns the microseconds of CPU of a request.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn per_request(cpu: f64, requests: usize) -> f64 {
    if requests == 0 { 0.0 } else { cpu * 1e6 / requests as f64 }
}
