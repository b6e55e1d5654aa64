//! The backend's own accounts, for `/metrics`: what came, what became of it, and how the store does.
//!
//! They count requests, rows and time, never who sent or what. The names follow Prometheus' conventions.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::admit::{Reason, Refused};
use crate::health;

const REQUESTS: &str = "kamaji_telemetry_backend_requests_total";
const ADMITTED: &str = "kamaji_telemetry_backend_rows_admitted_total";
const REFUSED: &str = "kamaji_telemetry_backend_refused_total";
const LATE: &str = "kamaji_telemetry_backend_late_total";
const COMMITS: &str = "kamaji_telemetry_backend_commits_total";
const COMMIT: &str = "kamaji_telemetry_backend_commit_seconds";
const WAITING: &str = "kamaji_telemetry_backend_rows_waiting";
const SIZE: &str = "kamaji_telemetry_backend_store_bytes";
const LAST: &str = "kamaji_telemetry_backend_last_write_timestamp_seconds";
const READY: &str = "kamaji_telemetry_backend_ready";

/// On which way a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP.
    Http,
    /// The JSON of today's Kamaji.
    Kamaji,
}

impl Transport {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
            Self::Kamaji => "kamaji",
        }
    }
}

/// Keeps accounts from here on; before, and where nobody can read them, they cost nothing.
pub(super) fn open() {
    health::accounts();
    describe();
}

/// Says what each account is, and shows those that have a value before anything happens.
fn describe() {
    describe_counter!(
        REQUESTS,
        Unit::Count,
        "Requests by transport and result: an HTTP status, or a gRPC code's number."
    );
    describe_counter!(ADMITTED, Unit::Count, "Rows that were admitted and committed, repeats included, by kind.");
    describe_counter!(REFUSED, Unit::Count, "Points, log records and bodies that were refused, by reason.");
    describe_counter!(LATE, Unit::Count, "Points and log records that were acknowledged and dropped as too old.");
    describe_counter!(COMMITS, Unit::Count, "Commits by result: OK or FAILED. Many requests share one.");
    describe_histogram!(COMMIT, Unit::Seconds, "How long a commit took.");
    describe_gauge!(
        WAITING,
        Unit::Count,
        "Rows that wait to be committed; beyond the store's bound senders are told to wait."
    );
    describe_gauge!(SIZE, Unit::Bytes, "What the store takes on disk.");
    describe_gauge!(LAST, Unit::Seconds, "When rows were last committed; 0 if not since the start.");
    describe_gauge!(READY, Unit::Count, "1 where the store can be read, 0 where it can't.");
    for reason in Reason::ALL {
        counter!(REFUSED, "reason" => reason.label()).increment(0);
    }
    for kind in ["cycle", "event"] {
        counter!(ADMITTED, "kind" => kind).increment(0);
    }
    for result in ["OK", "FAILED"] {
        counter!(COMMITS, "result" => result).increment(0);
    }
    counter!(LATE).increment(0);
    for name in [WAITING, SIZE, LAST, READY] {
        gauge!(name).set(0.0);
    }
}

/// A request was answered. `result` is one of few: a status code of HTTP or of gRPC.
pub(super) fn answered(transport: Transport, result: String) {
    counter!(REQUESTS, "transport" => transport.as_str(), "result" => result).increment(1);
}

/// Rows of a request are committed.
pub(super) fn admitted(cycles: usize, events: usize) {
    counter!(ADMITTED, "kind" => "cycle").increment(cycles as u64);
    counter!(ADMITTED, "kind" => "event").increment(events as u64);
}

/// Points or records were refused, or too old.
pub(super) fn refused(refused: &Refused, late: u64) {
    for (reason, count) in refused.iter() {
        counter!(REFUSED, "reason" => reason.label()).increment(count);
    }
    counter!(LATE).increment(late);
}

/// A body of today's Kamaji was refused.
pub(super) fn refused_body(reason: &'static str) {
    counter!(REFUSED, "reason" => reason).increment(1);
}

/// A commit ended.
pub(super) fn committed(is_ok: bool, took: Duration) {
    histogram!(COMMIT).record(took);
    counter!(COMMITS, "result" => if is_ok { "OK" } else { "FAILED" }).increment(1);
    if is_ok {
        gauge!(LAST).set(jiff::Timestamp::now().as_duration().as_secs_f64());
    }
}

/// Rows begin to wait for a commit.
#[expect(clippy::cast_precision_loss, reason = "bounded far below 2^53")]
pub(super) fn begin_to_wait(rows: usize) {
    gauge!(WAITING).increment(rows as f64);
}

/// Rows do not wait any more, committed or not.
#[expect(clippy::cast_precision_loss, reason = "bounded far below 2^53")]
pub(super) fn end_to_wait(rows: usize) {
    gauge!(WAITING).decrement(rows as f64);
}

/// What the store takes, where that is known, and whether it can be read.
#[expect(clippy::cast_precision_loss, reason = "a store of 2^53 bytes is 9 PB")]
pub(super) fn store(bytes: Option<u64>, ready: bool) {
    if let Some(bytes) = bytes {
        gauge!(SIZE).set(bytes as f64);
    }
    gauge!(READY).set(f64::from(u8::from(ready)));
}
