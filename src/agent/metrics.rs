//! The agent's own metrics, for `/metrics`: what it has done, and what waits.
//!
//! They go through a recorder of their own rather than the meter provider, which consent turns off, and leave the
//! process only where somebody scrapes it. The names follow Prometheus' conventions.

use jiff::Timestamp;
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

const OBSERVED: &str = "kamaji_telemetry_agent_events_observed_total";
const JOURNALLED: &str = "kamaji_telemetry_agent_events_persisted_total";
const SENT: &str = "kamaji_telemetry_agent_events_sent_total";
const ACKNOWLEDGED: &str = "kamaji_telemetry_agent_events_acknowledged_total";
const REFUSED: &str = "kamaji_telemetry_agent_events_rejected_total";
const COALESCED: &str = "kamaji_telemetry_agent_events_coalesced_total";
const PENDING: &str = "kamaji_telemetry_agent_events_pending";
const WAITING: &str = "kamaji_telemetry_agent_control_planes_backlogged";
const OLDEST: &str = "kamaji_telemetry_agent_oldest_pending_event_timestamp_seconds";
const LAST: &str = "kamaji_telemetry_agent_last_acknowledgement_timestamp_seconds";
const EXPORTS: &str = "kamaji_telemetry_agent_exports_total";
const WRITES: &str = "kamaji_telemetry_agent_journal_writes_total";
const LISTS: &str = "kamaji_telemetry_agent_watch_relists_total";
const ENABLED: &str = "kamaji_telemetry_agent_enabled";
const LEADER: &str = "kamaji_telemetry_agent_leader";

/// The two signals, as exports are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// GaugeInstruments.
    Metrics,
    /// EventExporter.
    Logs,
}

impl Signal {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }
}

/// Says what each account is, and shows those that have a value before anything happens.
pub fn describe() {
    describe_counter!(OBSERVED, Unit::Count, "EventExporter that were made of what the watch said.");
    describe_counter!(JOURNALLED, Unit::Count, "EventExporter that were written to the journal.");
    describe_counter!(SENT, Unit::Count, "EventExporter in requests to the collector, repeats included.");
    describe_counter!(ACKNOWLEDGED, Unit::Count, "EventExporter that the collector acknowledged.");
    describe_counter!(REFUSED, Unit::Count, "EventExporter that the collector refused for good.");
    describe_counter!(
        COALESCED,
        Unit::Count,
        "States of control planes that were superseded before the outbox had room for them."
    );
    describe_gauge!(PENDING, Unit::Count, "EventExporter that are not yet acknowledged.");
    describe_gauge!(WAITING, Unit::Count, "Control planes with something to report that the outbox has no room for.");
    describe_gauge!(OLDEST, Unit::Seconds, "When the oldest event that is not yet acknowledged happened; 0 if none.");
    describe_gauge!(LAST, Unit::Seconds, "When the collector last acknowledged events; 0 if never.");
    describe_counter!(EXPORTS, Unit::Count, "Requests to the collector by signal and result: OK, FAILED, or the code.");
    describe_counter!(WRITES, Unit::Count, "Writes of the journal by result.");
    describe_counter!(LISTS, Unit::Count, "Times that the watch began with a list of everything, its first included.");
    describe_gauge!(ENABLED, Unit::Count, "1 where telemetry is on, 0 where it is off.");
    describe_gauge!(LEADER, Unit::Count, "1 where this replica watches and sends, 0 where another does.");
    for name in [OBSERVED, JOURNALLED, SENT, ACKNOWLEDGED, REFUSED, COALESCED, LISTS] {
        counter!(name).increment(0);
    }
    for name in [PENDING, WAITING, OLDEST, LAST, ENABLED, LEADER] {
        gauge!(name).set(0.0);
    }
}

/// Telemetry is on or off.
pub fn enabled(is_enabled: bool) {
    gauge!(ENABLED).set(f64::from(u8::from(is_enabled)));
}

/// This replica leads, until this is dropped. What waits is then another replica's to tell.
#[derive(Debug)]
pub struct Leading(());

impl Leading {
    /// This replica leads from here on.
    pub fn begin() -> Self {
        gauge!(LEADER).set(1.0);
        Self(())
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        gauge!(LEADER).set(0.0);
        pending(0, 0);
        times(None, None);
    }
}

/// EventExporter were made.
pub fn observed(events: usize) {
    counter!(OBSERVED).increment(events as u64);
}

/// States were superseded for want of room.
pub fn coalesced(states: u64) {
    counter!(COALESCED).increment(states);
}

/// The journal was written, with this many events that were not in it before.
pub fn journalled(events: u64) {
    counter!(JOURNALLED).increment(events);
    counter!(WRITES, "result" => "OK").increment(1);
}

/// The journal was not written.
pub fn not_journalled() {
    counter!(WRITES, "result" => "FAILED").increment(1);
}

/// The watch begins with a list of everything.
pub fn watch_restarted() {
    counter!(LISTS).increment(1);
}

/// A request of this many events was answered with `result`, a gRPC code.
pub fn sent(events: usize, result: &'static str) {
    counter!(SENT).increment(events as u64);
    exported(Signal::Logs, result);
}

/// A request was answered with `result`.
pub fn exported(signal: Signal, result: &'static str) {
    counter!(EXPORTS, "signal" => signal.as_str(), "result" => result).increment(1);
}

/// EventExporter were acknowledged.
pub fn acknowledged(events: usize) {
    counter!(ACKNOWLEDGED).increment(events as u64);
}

/// EventExporter were refused for good.
pub fn refused(events: u64) {
    counter!(REFUSED).increment(events);
}

/// What waits now.
#[expect(clippy::cast_precision_loss, reason = "both are far below 2^53")]
pub fn pending(events: usize, waiting: usize) {
    gauge!(PENDING).set(events as f64);
    gauge!(WAITING).set(waiting as f64);
}

/// The time of the oldest event that waits, and of the last acknowledgement.
pub fn times(oldest: Option<Timestamp>, last_acknowledgement: Option<Timestamp>) {
    let seconds = |time: Option<Timestamp>| time.map_or(0.0, |time| time.as_duration().as_secs_f64());
    gauge!(OLDEST).set(seconds(oldest));
    gauge!(LAST).set(seconds(last_acknowledgement));
}
