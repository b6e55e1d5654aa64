//! agent
pub mod cluster;
pub mod observe;
