//! The demo.

pub mod cluster;
pub mod fleet;
pub mod tenant;
