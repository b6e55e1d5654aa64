//! Background jobs: retention, checkpoint, eviction and health.

pub(super) mod evict;
pub(super) mod health;
pub(super) mod retention;
