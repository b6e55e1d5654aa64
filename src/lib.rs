//! Kamaji's usage telemetry.
pub mod agent;
pub mod cli;
pub mod commands;
pub mod health;
pub mod process;
pub mod signals;
