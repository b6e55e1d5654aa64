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

/// Returns a random UUID from a seeded generator.
pub(crate) fn random_uuid(random: &mut fastrand::Rng) -> uuid::Uuid {
    uuid::Builder::from_random_bytes(random.u128(..).to_be_bytes()).into_uuid()
}
