//! The process around the agent and the backend: its signals, its probes and metrics, and how often it logs.

pub mod lock;
pub mod log_throttle;
pub mod probes;
pub mod shutdown;
