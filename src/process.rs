//! Infrastructure of the process, for agent and backend: locks, logs, probes, and the shutdown.

pub mod json_log;
pub mod lock;
pub mod log_throttle;
pub mod probes;
pub mod shutdown;
