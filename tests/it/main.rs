//! The tests that drive real servers.

mod cluster;
mod relay;
mod servers;
