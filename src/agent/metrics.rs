//! The agent's own metrics, served at `/metrics`.
//!
//! They use a recorder of their own rather than the OpenTelemetry meter provider, which exists only while telemetry is
//! on, and leave the process only when somebody scrapes it. Names follow the Prometheus conventions.

use jiff::Timestamp;
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

const EVENTS_OBSERVED: &str = "kamaji_telemetry_agent_events_observed_total";
const EVENTS_PERSISTED: &str = "kamaji_telemetry_agent_events_persisted_total";
const EVENTS_SENT: &str = "kamaji_telemetry_agent_events_sent_total";
const EVENTS_ACKNOWLEDGED: &str = "kamaji_telemetry_agent_events_acknowledged_total";
const EVENTS_REJECTED: &str = "kamaji_telemetry_agent_events_rejected_total";
const EVENTS_COALESCED: &str = "kamaji_telemetry_agent_events_coalesced_total";
const EVENTS_PENDING: &str = "kamaji_telemetry_agent_events_pending";
const CONTROL_PLANES_BACKLOGGED: &str = "kamaji_telemetry_agent_control_planes_backlogged";
const OLDEST_PENDING_EVENT_TIMESTAMP: &str = "kamaji_telemetry_agent_oldest_pending_event_timestamp_seconds";
const LAST_ACKNOWLEDGEMENT_TIMESTAMP: &str = "kamaji_telemetry_agent_last_acknowledgement_timestamp_seconds";
const EXPORTS: &str = "kamaji_telemetry_agent_exports_total";
const CONNECTION_RELOADS: &str = "kamaji_telemetry_agent_connection_reloads_total";
const JOURNAL_WRITES: &str = "kamaji_telemetry_agent_journal_writes_total";
const WATCH_RELISTS: &str = "kamaji_telemetry_agent_watch_relists_total";
const ENABLED: &str = "kamaji_telemetry_agent_enabled";
const LEADER: &str = "kamaji_telemetry_agent_leader";

/// The label `result` of what succeeded.
pub const SUCCESS: &str = "success";
/// The label `result` of what failed, where no gRPC status code says more.
pub const FAILURE: &str = "failure";

/// An OpenTelemetry signal, the label `signal` of exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Gauges.
    Metrics,
    /// Events.
    Logs,
}

impl Signal {
    /// Returns the label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }
}

/// Describes all metrics, and registers those without labels at zero.
pub fn describe() {
    describe_counters();
    describe_gauge!(EVENTS_PENDING, Unit::Count, "Events that the collector has not acknowledged yet.");
    describe_gauge!(
        CONTROL_PLANES_BACKLOGGED,
        Unit::Count,
        "Control planes with a change that the full outbox has no room for."
    );
    describe_gauge!(
        OLDEST_PENDING_EVENT_TIMESTAMP,
        Unit::Seconds,
        "Unix time of the oldest event that is not acknowledged yet; 0 if there is none."
    );
    describe_gauge!(
        LAST_ACKNOWLEDGEMENT_TIMESTAMP,
        Unit::Seconds,
        "Unix time of the last acknowledgement of events by the collector; 0 if there was none."
    );
    describe_gauge!(ENABLED, Unit::Count, "1 if telemetry is on, 0 if it is off.");
    describe_gauge!(LEADER, Unit::Count, "1 if this replica watches and sends, 0 if it waits for the Lease.");
    for name in [
        EVENTS_OBSERVED,
        EVENTS_PERSISTED,
        EVENTS_SENT,
        EVENTS_ACKNOWLEDGED,
        EVENTS_REJECTED,
        EVENTS_COALESCED,
        WATCH_RELISTS,
    ] {
        counter!(name).increment(0);
    }
    for name in [
        EVENTS_PENDING,
        CONTROL_PLANES_BACKLOGGED,
        OLDEST_PENDING_EVENT_TIMESTAMP,
        LAST_ACKNOWLEDGEMENT_TIMESTAMP,
        ENABLED,
        LEADER,
    ] {
        gauge!(name).set(0.0);
    }
}

fn describe_counters() {
    describe_counter!(EVENTS_OBSERVED, Unit::Count, "Events made from changes of control planes.");
    describe_counter!(EVENTS_PERSISTED, Unit::Count, "Events written to the journal.");
    describe_counter!(EVENTS_SENT, Unit::Count, "Events sent to the collector, retries included.");
    describe_counter!(EVENTS_ACKNOWLEDGED, Unit::Count, "Events that the collector acknowledged.");
    describe_counter!(EVENTS_REJECTED, Unit::Count, "Events that the collector rejected and that are not sent again.");
    describe_counter!(
        EVENTS_COALESCED,
        Unit::Count,
        "States of control planes that a later state replaced before the outbox had room for them."
    );
    describe_counter!(
        EXPORTS,
        Unit::Count,
        "Requests to the collector by signal (metrics, logs) and result: success, failure, or for logs the gRPC status \
         code in lower snake case."
    );
    describe_counter!(
        CONNECTION_RELOADS,
        Unit::Count,
        "Reloads of changed files of the connection to the collector by result: success, or failure if they can't be used."
    );
    describe_counter!(JOURNAL_WRITES, Unit::Count, "Writes of the journal by result (success, failure).");
    describe_counter!(WATCH_RELISTS, Unit::Count, "Lists of all control planes, the first of each watch included.");
}

/// Sets whether telemetry is on.
pub fn enabled(is_enabled: bool) {
    gauge!(ENABLED).set(f64::from(u8::from(is_enabled)));
}

/// Counts a reload of the files of the connection to the collector.
pub fn connection_reloads(is_success: bool) {
    counter!(CONNECTION_RELOADS, "result" => if is_success { SUCCESS } else { FAILURE }).increment(1);
}

/// Marks this replica as the leader until it is dropped.
#[derive(Debug)]
pub struct LeaderGuard(());

impl LeaderGuard {
    /// Marks this replica as the leader.
    pub fn new() -> Self {
        gauge!(LEADER).set(1.0);
        Self(())
    }
}

impl Default for LeaderGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for LeaderGuard {
    fn drop(&mut self) {
        gauge!(LEADER).set(0.0);
        // The outbox is the next leader's to report.
        events_pending(0);
        control_planes_backlogged(0);
        event_timestamps(None, None);
    }
}

/// Counts events that were made from changes.
pub fn events_observed(count: usize) {
    counter!(EVENTS_OBSERVED).increment(count as u64);
}

/// Counts states that were superseded in the backlog.
pub fn events_coalesced(count: u64) {
    counter!(EVENTS_COALESCED).increment(count);
}

/// Counts a successful write of the journal, with `count` events that were not in it before.
pub fn events_persisted(count: u64) {
    counter!(EVENTS_PERSISTED).increment(count);
    counter!(JOURNAL_WRITES, "result" => SUCCESS).increment(1);
}

/// Counts a failed write of the journal.
pub fn journal_write_failed() {
    counter!(JOURNAL_WRITES, "result" => FAILURE).increment(1);
}

/// Counts a list of all control planes.
pub fn watch_relisted() {
    counter!(WATCH_RELISTS).increment(1);
}

/// Counts a request with `count` events and its result.
pub fn events_sent(count: usize, result: &'static str) {
    counter!(EVENTS_SENT).increment(count as u64);
    export(Signal::Logs, result);
}

/// Counts a request and its result.
pub fn export(signal: Signal, result: &'static str) {
    counter!(EXPORTS, "signal" => signal.as_str(), "result" => result).increment(1);
}

/// Counts acknowledged events.
pub fn events_acknowledged(count: usize) {
    counter!(EVENTS_ACKNOWLEDGED).increment(count as u64);
}

/// Counts rejected events.
pub fn events_rejected(count: u64) {
    counter!(EVENTS_REJECTED).increment(count);
}

/// Sets the number of unacknowledged events.
#[expect(clippy::cast_precision_loss, reason = "it is far below 2^53")]
pub fn events_pending(count: usize) {
    gauge!(EVENTS_PENDING).set(count as f64);
}

/// Sets the number of control planes in the backlog.
#[expect(clippy::cast_precision_loss, reason = "it is far below 2^53")]
pub fn control_planes_backlogged(count: usize) {
    gauge!(CONTROL_PLANES_BACKLOGGED).set(count as f64);
}

/// Sets the times of the oldest unacknowledged event and of the last acknowledgement.
pub fn event_timestamps(oldest_pending: Option<Timestamp>, last_acknowledgement: Option<Timestamp>) {
    let seconds = |time: Option<Timestamp>| time.map_or(0.0, |time| time.as_duration().as_secs_f64());
    gauge!(OLDEST_PENDING_EVENT_TIMESTAMP).set(seconds(oldest_pending));
    gauge!(LAST_ACKNOWLEDGEMENT_TIMESTAMP).set(seconds(last_acknowledgement));
}
