//! Kamaji's usage telemetry.
pub mod agent;
pub mod backend;
pub mod health;
pub mod process;
pub mod signals;
