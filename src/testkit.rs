//! A simulated Kubernetes cluster with a fleet of control planes, for the demo, the unit tests and the benchmarks.

#[cfg(test)]
pub(crate) mod in_process;
pub mod demo;
pub mod fleet;
pub mod history;
pub mod load;
pub mod relay;
pub mod simulated_cluster;
pub mod tenant;
