//! Kamaji's usage telemetry.
pub mod signals;
