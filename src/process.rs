//! Infrastructure of the process, for agent and backend: locks, logs, metric labels, probes, redaction, and the shutdown.

pub mod grpc_code;
pub mod json_log;
pub mod lock;
pub mod log_throttle;
pub mod probes;
pub mod redact;
pub mod reload;
pub mod shutdown;
