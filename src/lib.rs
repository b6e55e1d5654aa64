//! Kamaji's usage telemetry.
pub mod agent;
pub mod signals;
