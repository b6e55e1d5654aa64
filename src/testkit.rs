//! A simulated Kubernetes API server and a fleet of control planes behind it: for the demo, the unit tests and the
//! benchmarks.

#[cfg(test)]
pub(crate) mod api_server;
pub mod cluster;
pub mod demo;
pub mod fleet;
pub mod history;
pub mod relay;
pub mod tenant;
