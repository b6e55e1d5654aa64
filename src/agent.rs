//! agent
pub mod cluster;
pub mod consent;
pub mod deliver;
pub mod journal;
pub mod observe;
pub mod quiet;
