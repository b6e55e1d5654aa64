//! Turns requests into records: OTLP over gRPC and HTTP, in protobuf and JSON, and the JSON of Kamaji's built-in telemetry.
//!
//! ```text
//! stack ──▶ otlp   ──▶ validate ──▶ store
//!      └──▶ kamaji ──────────────────┘
//! ```
//!
//! The response to a request is sent after the commit of its records.

mod error;
pub mod json;
pub(super) mod kamaji;
pub(super) mod otlp;
mod refusals;
mod stack;
pub mod validate;

pub(super) use otlp::Ingester;
pub(super) use refusals::RefusalTally;
pub(super) use stack::GuardedStore;

/// Returns the labels of the reasons for which records are rejected, for the metrics.
pub(super) fn reject_reasons() -> impl Iterator<Item = &'static str> {
    validate::RejectReason::ALL.into_iter().map(validate::RejectReason::label)
}
