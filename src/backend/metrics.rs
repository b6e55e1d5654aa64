//! The backend's own metrics, for `/metrics`: requests, the outcome of their records, and the state of the store.
//!
//! They count requests, records and time, and never name a sender. The names follow Prometheus' conventions.

mod labels;

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::process::probes;
pub(super) use labels::{ConnectionRejection, IntakePeriod, LimitKind, TokenFile, Transport};

const REQUESTS_TOTAL: &str = "kamaji_telemetry_backend_requests_total";
const RECORDS_ACCEPTED_TOTAL: &str = "kamaji_telemetry_backend_records_accepted_total";
const RECORDS_REJECTED_TOTAL: &str = "kamaji_telemetry_backend_records_rejected_total";
const RECORDS_EXPIRED_TOTAL: &str = "kamaji_telemetry_backend_records_expired_total";
const COMMITS_TOTAL: &str = "kamaji_telemetry_backend_commits_total";
const COMMIT_DURATION_SECONDS: &str = "kamaji_telemetry_backend_commit_duration_seconds";
const WRITE_QUEUE_RECORDS: &str = "kamaji_telemetry_backend_write_queue_records";
const STORE_SIZE_BYTES: &str = "kamaji_telemetry_backend_store_size_bytes";
const LAST_WRITE_TIMESTAMP_SECONDS: &str = "kamaji_telemetry_backend_last_write_timestamp_seconds";
const REQUESTS_RATE_LIMITED_TOTAL: &str = "kamaji_telemetry_backend_requests_rate_limited_total";
const CONNECTIONS: &str = "kamaji_telemetry_backend_connections";
const CONNECTIONS_REJECTED_TOTAL: &str = "kamaji_telemetry_backend_connections_rejected_total";
const TLS_CERTIFICATE_EXPIRY_TIMESTAMP_SECONDS: &str =
    "kamaji_telemetry_backend_tls_certificate_expiry_timestamp_seconds";
const TLS_RELOADS_TOTAL: &str = "kamaji_telemetry_backend_tls_reloads_total";
const TOKEN_FILE_RELOADS_TOTAL: &str = "kamaji_telemetry_backend_token_file_reloads_total";
const NEW_INSTALLATIONS: &str = "kamaji_telemetry_backend_new_installations";
const NEW_VERSIONS: &str = "kamaji_telemetry_backend_new_versions";
const BULK_RECORDS: &str = "kamaji_telemetry_backend_bulk_records";
const READY: &str = "kamaji_telemetry_backend_ready";

/// The values of the label `result`.
const RESULTS: [&str; 2] = ["success", "failure"];

const fn result(is_success: bool) -> &'static str {
    let [success, failure] = RESULTS;
    if is_success { success } else { failure }
}

/// Installs the recorder. Without it, metrics cost nothing and are lost. `reject_reasons` are the values of the label
/// `reason` of rejected records.
pub(super) fn open(reject_reasons: impl IntoIterator<Item = &'static str>) {
    probes::metrics_handle();
    describe();
    describe_intake();
    init();
    for reason in reject_reasons {
        records_rejected(reason, 0);
    }
}

fn describe() {
    describe_counter!(
        REQUESTS_TOTAL,
        Unit::Count,
        "Requests by transport and result: an HTTP status, or success or a gRPC status code in lower snake case."
    );
    describe_counter!(
        RECORDS_ACCEPTED_TOTAL,
        Unit::Count,
        "Snapshots and events that were committed, repeats included, by kind."
    );
    describe_counter!(
        RECORDS_REJECTED_TOTAL,
        Unit::Count,
        "Points, log records and bodies that were rejected, by reason."
    );
    describe_counter!(
        RECORDS_EXPIRED_TOTAL,
        Unit::Count,
        "Points and log records that were acknowledged and dropped as too old."
    );
    describe_counter!(COMMITS_TOTAL, Unit::Count, "Commits by result: success or failure. Many requests share one.");
    describe_histogram!(COMMIT_DURATION_SECONDS, Unit::Seconds, "Duration of a commit.");
    describe_gauge!(
        WRITE_QUEUE_RECORDS,
        Unit::Count,
        "Records that are queued for a commit; senders are told to retry when the queue is full."
    );
    describe_gauge!(STORE_SIZE_BYTES, Unit::Bytes, "Bytes that the store takes on disk.");
    describe_gauge!(
        LAST_WRITE_TIMESTAMP_SECONDS,
        Unit::Seconds,
        "Time of the last commit; 0 if there was none since the start."
    );
    describe_gauge!(READY, Unit::Count, "1 if the store can be read, else 0.");
    describe_counter!(REQUESTS_RATE_LIMITED_TOTAL, Unit::Count, "Requests that exceeded a limit, by limit.");
    describe_gauge!(CONNECTIONS, Unit::Count, "Open connections, by port.");
    describe_counter!(
        CONNECTIONS_REJECTED_TOTAL,
        Unit::Count,
        "Connections that were closed unread or after many refusals, by reason."
    );
    describe_gauge!(
        TLS_CERTIFICATE_EXPIRY_TIMESTAMP_SECONDS,
        Unit::Seconds,
        "Time at which the certificate in use expires."
    );
    describe_counter!(
        TLS_RELOADS_TOTAL,
        Unit::Count,
        "Reloads of a changed certificate by result: success, or failure if it cannot be used."
    );
    describe_counter!(
        TOKEN_FILE_RELOADS_TOTAL,
        Unit::Count,
        "Reloads of a changed token file, the first read included, by file and result: success, or failure if it cannot be used."
    );
}

/// Describes the metrics of what is new.
fn describe_intake() {
    describe_gauge!(
        NEW_INSTALLATIONS,
        Unit::Count,
        "Installations that were received for the first time, by period: today in UTC, or the median of the 28 days before."
    );
    describe_gauge!(
        NEW_VERSIONS,
        Unit::Count,
        "Versions and values of extended gauges that were never seen before, by period: today in UTC, or the median of the 28 days before."
    );
    describe_gauge!(
        BULK_RECORDS,
        Unit::Count,
        "New installations and events beyond their client's share, by period: today in UTC, or the median of the 28 days before."
    );
}

/// Shows each series from the start, so that the first increment is seen as one.
fn init() {
    for period in IntakePeriod::ALL {
        intake(period, None);
    }
    for file in TokenFile::ALL {
        for result in RESULTS {
            counter!(TOKEN_FILE_RELOADS_TOTAL, "file" => file.as_str(), "result" => result).increment(0);
        }
    }
    for limit in LimitKind::ALL {
        counter!(REQUESTS_RATE_LIMITED_TOTAL, "limit" => limit.as_str()).increment(0);
    }
    for reason in ConnectionRejection::ALL {
        counter!(CONNECTIONS_REJECTED_TOTAL, "reason" => reason.as_str()).increment(0);
    }
    for result in RESULTS {
        counter!(COMMITS_TOTAL, "result" => result).increment(0);
    }
    records_accepted(0, 0);
    records_expired(0);
    for name in [WRITE_QUEUE_RECORDS, STORE_SIZE_BYTES, LAST_WRITE_TIMESTAMP_SECONDS, READY] {
        gauge!(name).set(0.0);
    }
}

/// Counts a completed request. `result` is one of few: an HTTP status, or `success` or a gRPC code.
pub(super) fn requests(transport: Transport, result: String) {
    counter!(REQUESTS_TOTAL, "transport" => transport.as_str(), "result" => result).increment(1);
}

/// Counts the committed records of a request.
pub(super) fn records_accepted(snapshots: usize, events: usize) {
    counter!(RECORDS_ACCEPTED_TOTAL, "kind" => "snapshot").increment(snapshots as u64);
    counter!(RECORDS_ACCEPTED_TOTAL, "kind" => "event").increment(events as u64);
}

/// Counts points, records or bodies that are rejected for one reason.
pub(super) fn records_rejected(reason: &'static str, count: u64) {
    counter!(RECORDS_REJECTED_TOTAL, "reason" => reason).increment(count);
}

/// Counts points or records that are acknowledged and dropped as too old.
pub(super) fn records_expired(count: u64) {
    counter!(RECORDS_EXPIRED_TOTAL).increment(count);
}

/// Counts a request that exceeds a limit.
pub(super) fn requests_rate_limited(limit: LimitKind) {
    counter!(REQUESTS_RATE_LIMITED_TOTAL, "limit" => limit.as_str()).increment(1);
}

/// Counts a connection that is closed unread, or after many refusals.
pub(super) fn connections_rejected(reason: ConnectionRejection) {
    counter!(CONNECTIONS_REJECTED_TOTAL, "reason" => reason.as_str()).increment(1);
}

/// Adds an open connection.
pub(super) fn connection_opened(port: &'static str) {
    gauge!(CONNECTIONS, "port" => port).increment(1.0);
}

/// Subtracts a closed connection.
pub(super) fn connection_closed(port: &'static str) {
    gauge!(CONNECTIONS, "port" => port).decrement(1.0);
}

/// Counts a reload of the certificate.
pub(super) fn tls_reloads(is_success: bool) {
    counter!(TLS_RELOADS_TOTAL, "result" => result(is_success)).increment(1);
}

/// Counts a reload of a token file.
pub(super) fn token_file_reloads(file: TokenFile, is_success: bool) {
    counter!(TOKEN_FILE_RELOADS_TOTAL, "file" => file.as_str(), "result" => result(is_success)).increment(1);
}

/// Sets the expiry of the certificate in use, in seconds since 1970.
#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^53")]
pub(super) fn tls_certificate_expiry(expires: i64) {
    gauge!(TLS_CERTIFICATE_EXPIRY_TIMESTAMP_SECONDS).set(expires as f64);
}

/// Counts a commit, and records its duration.
pub(super) fn commits(is_success: bool, duration: Duration) {
    histogram!(COMMIT_DURATION_SECONDS).record(duration);
    counter!(COMMITS_TOTAL, "result" => result(is_success)).increment(1);
    if is_success {
        gauge!(LAST_WRITE_TIMESTAMP_SECONDS).set(jiff::Timestamp::now().as_duration().as_secs_f64());
    }
}

/// Adds records that are queued for a commit.
#[expect(clippy::cast_precision_loss, reason = "bounded far below 2^53")]
pub(super) fn write_queue_pushed(records: usize) {
    gauge!(WRITE_QUEUE_RECORDS).increment(records as f64);
}

/// Subtracts records that are not queued any more, committed or not.
#[expect(clippy::cast_precision_loss, reason = "bounded far below 2^53")]
pub(super) fn write_queue_popped(records: usize) {
    gauge!(WRITE_QUEUE_RECORDS).decrement(records as f64);
}

/// Sets the size of the store.
#[expect(clippy::cast_precision_loss, reason = "a store of 2^53 bytes is 9 PB")]
pub(super) fn store_size(bytes: u64) {
    gauge!(STORE_SIZE_BYTES).set(bytes as f64);
}

/// Sets the numbers of new installations, of new versions, and of what is in bulk, of a period. `None` is not a number, with
/// which no alert compares.
#[expect(clippy::cast_precision_loss, reason = "numbers of rows are far below 2^53")]
pub(super) fn intake(period: IntakePeriod, numbers: Option<[u64; 3]>) {
    let [installations, versions, bulk] = numbers.map_or([f64::NAN; 3], |numbers| numbers.map(|number| number as f64));
    let period = period.as_str();
    gauge!(NEW_INSTALLATIONS, "period" => period).set(installations);
    gauge!(NEW_VERSIONS, "period" => period).set(versions);
    gauge!(BULK_RECORDS, "period" => period).set(bulk);
}

/// Sets whether the store can be read.
pub(super) fn ready(is_ready: bool) {
    gauge!(READY).set(f64::from(u8::from(is_ready)));
}
