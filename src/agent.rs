//! agent
pub mod cluster;
pub mod observe;
pub mod quiet;
