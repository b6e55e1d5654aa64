//! What the agent and the backend share as processes: locks, logs, probes, and the shutdown.

pub mod json_log;
pub mod lock;
pub mod log_throttle;
pub mod probes;
pub mod shutdown;
