//! Kamaji's usage telemetry.
pub mod backend;
pub mod signals;
