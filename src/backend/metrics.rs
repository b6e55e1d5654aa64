//! The backend's own metrics, for `/metrics`: what came, what became of it, and how the store does.
//!
//! They count requests, rows and time, never who sent or what. The names follow Prometheus' conventions.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::process::probes;

const REQUESTS: &str = "kamaji_telemetry_backend_requests_total";
const ADMITTED: &str = "kamaji_telemetry_backend_records_accepted_total";
const REFUSED: &str = "kamaji_telemetry_backend_records_rejected_total";
const LATE: &str = "kamaji_telemetry_backend_records_expired_total";
const COMMITS: &str = "kamaji_telemetry_backend_commits_total";
const COMMIT: &str = "kamaji_telemetry_backend_commit_duration_seconds";
const WAITING: &str = "kamaji_telemetry_backend_write_queue_records";
const SIZE: &str = "kamaji_telemetry_backend_store_size_bytes";
const LAST: &str = "kamaji_telemetry_backend_last_write_timestamp_seconds";
const LIMITED: &str = "kamaji_telemetry_backend_requests_rate_limited_total";
const CONNECTIONS: &str = "kamaji_telemetry_backend_connections";
const NOT_ACCEPTED: &str = "kamaji_telemetry_backend_connections_rejected_total";
const EXPIRY: &str = "kamaji_telemetry_backend_tls_certificate_expiry_timestamp_seconds";
const RELOADS: &str = "kamaji_telemetry_backend_tls_reloads_total";
const TOKEN_FILES: &str = "kamaji_telemetry_backend_token_file_reloads_total";
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

/// Which limit a request met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LimitKind {
    /// Requests of a source.
    Requests,
    /// Rows of a source.
    Rows,
    /// Rows of a source that are stored in a day.
    Day,
    /// Gauge snapshots of an installation.
    Cycles,
    /// Bytes of bodies at once.
    Bodies,
    /// How long a request may take.
    Slow,
}

/// A file of tokens that is read again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenFile {
    /// Of those who read.
    Reader,
    /// Of those who send.
    Ingest,
}

/// Why a connection was closed before anything was read from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionRejection {
    /// There were as many as there may be.
    All,
    /// There were as many of its source.
    Source,
    /// Its source opened too many in a short time, or had sent too much.
    Rate,
    /// The handshake of TLS failed, or took too long.
    Tls,
}

impl LimitKind {
    const ALL: [Self; 6] = [Self::Requests, Self::Rows, Self::Day, Self::Cycles, Self::Bodies, Self::Slow];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Rows => "rows",
            Self::Day => "day",
            Self::Cycles => "snapshots",
            Self::Bodies => "bodies",
            Self::Slow => "slow",
        }
    }
}

impl ConnectionRejection {
    const ALL: [Self; 4] = [Self::All, Self::Source, Self::Rate, Self::Tls];

    const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Source => "source",
            Self::Rate => "rate",
            Self::Tls => "tls",
        }
    }
}

impl TokenFile {
    const ALL: [Self; 2] = [Self::Reader, Self::Ingest];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Ingest => "ingest",
        }
    }
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

/// Keeps metrics from here on; before, and where nobody can read them, they cost nothing. `reasons` are the labels of
/// records that are rejected.
pub(super) fn open(reasons: impl IntoIterator<Item = &'static str>) {
    probes::recorder();
    describe();
    for reason in reasons {
        counter!(REFUSED, "reason" => reason).increment(0);
    }
}

/// Says what each account is, and shows those that have a value before anything happens.
fn describe() {
    describe_counter!(
        REQUESTS,
        Unit::Count,
        "Requests by transport and result: an HTTP status, or a gRPC code's name."
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
    describe_counter!(LIMITED, Unit::Count, "Requests that met a limit, by which.");
    describe_gauge!(CONNECTIONS, Unit::Count, "Connections that are open, by port.");
    describe_counter!(NOT_ACCEPTED, Unit::Count, "Connections that were closed unread, by why.");
    describe_gauge!(EXPIRY, Unit::Seconds, "Until when the certificate in use is valid.");
    describe_counter!(
        RELOADS,
        Unit::Count,
        "Certificates that were put in the place of the one in use, by result: OK, or FAILED for one that can't be used."
    );
    describe_counter!(
        TOKEN_FILES,
        Unit::Count,
        "Contents that were found in a file of tokens, the first one included, by file and result: OK, or FAILED for one that can't be used."
    );
    for file in TokenFile::ALL {
        for result in ["OK", "FAILED"] {
            counter!(TOKEN_FILES, "file" => file.as_str(), "result" => result).increment(0);
        }
    }
    for limit in LimitKind::ALL {
        counter!(LIMITED, "limit" => limit.as_str()).increment(0);
    }
    for reason in ConnectionRejection::ALL {
        counter!(NOT_ACCEPTED, "reason" => reason.as_str()).increment(0);
    }
    for kind in ["snapshot", "event"] {
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
pub(super) fn admitted(snapshots: usize, events: usize) {
    counter!(ADMITTED, "kind" => "snapshot").increment(snapshots as u64);
    counter!(ADMITTED, "kind" => "event").increment(events as u64);
}

/// Counts points, records or bodies that are rejected for one reason.
pub(super) fn rejected(reason: &'static str, count: u64) {
    counter!(REFUSED, "reason" => reason).increment(count);
}

/// Counts points or records that are acknowledged and dropped as too old.
pub(super) fn expired(count: u64) {
    counter!(LATE).increment(count);
}

/// A request met a limit.
pub(super) fn limited(limit: LimitKind) {
    counter!(LIMITED, "limit" => limit.as_str()).increment(1);
}

/// A connection was closed unread.
pub(super) fn not_accepted(reason: ConnectionRejection) {
    counter!(NOT_ACCEPTED, "reason" => reason.as_str()).increment(1);
}

/// A connection was opened.
pub(super) fn connected(port: &'static str) {
    gauge!(CONNECTIONS, "port" => port).increment(1.0);
}

/// A connection was closed.
pub(super) fn disconnected(port: &'static str) {
    gauge!(CONNECTIONS, "port" => port).decrement(1.0);
}

/// Another certificate was found.
pub(super) fn reloaded(is_ok: bool) {
    counter!(RELOADS, "result" => if is_ok { "OK" } else { "FAILED" }).increment(1);
}

/// Other content was found in a file of tokens.
pub(super) fn token_file_reloaded(file: TokenFile, is_ok: bool) {
    let result = if is_ok { "OK" } else { "FAILED" };
    counter!(TOKEN_FILES, "file" => file.as_str(), "result" => result).increment(1);
}

/// The certificate in use.
#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^53")]
pub(super) fn certificate(expires: i64) {
    gauge!(EXPIRY).set(expires as f64);
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
