//! Background jobs: retention, checkpoints, eviction and the health check.

pub(super) mod checkpoint;
pub(super) mod evict;
pub(super) mod health;
pub(super) mod intake;
mod repeat;
pub(super) mod retention;
