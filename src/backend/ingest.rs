//! Turns requests into records: OTLP over gRPC and HTTP, and the JSON of Kamaji's built-in telemetry.

mod error;
pub(super) mod kamaji;
pub(super) mod otlp;
mod stack;
pub mod validate;
