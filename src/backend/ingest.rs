//! From requests to records: OTLP over gRPC and HTTP, and the JSON of Kamaji's built-in telemetry.

pub(super) mod kamaji;
pub(super) mod otlp;
pub mod validate;
