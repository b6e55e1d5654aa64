//! Background jobs: retention, checkpoints, eviction, the health check, the record of the operation, and the public page's
//! weeks.

pub(super) mod checkpoint;
pub(super) mod evict;
pub(super) mod health;
pub(super) mod intake;
pub(super) mod operations;
pub(super) mod public_week;
mod repeat;
pub(super) mod retention;
