//! Clusters whose Kamaji sends its built-in telemetry. Some of them run an agent as well.

use fastrand::Rng;
use uuid::{Builder, Uuid};

use super::installation::Installation;
use crate::backend::store::{Report, Source, StateCounts};

/// A cluster with built-in telemetry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BuiltIn {
    /// The pseudonym of the cluster's UID: nothing ties it to the installation's UUID.
    pub(super) pseudonym: Uuid,
    /// The cluster's Kamaji and control planes.
    pub(super) cluster: Installation,
}

impl BuiltIn {
    pub(super) fn new(random: &mut Rng, cluster: Installation) -> Self {
        Self { pseudonym: Builder::from_custom_bytes(random.u128(..).to_be_bytes()).into_uuid(), cluster }
    }

    /// Returns the report of Kamaji on the day `age`. It counts as running what is just being made, and tells of
    /// datastores always.
    pub(super) fn report(&self, age: i64) -> Report {
        let counts = self.cluster.counts(age);
        let StateCounts { running, not_ready, .. } = counts;
        let being_made = if self.cluster.is_stuck(age) { 0 } else { not_ready };
        Report {
            counts: StateCounts { running: running + being_made, not_ready: not_ready - being_made, ..counts },
            source: Source::Kamaji,
            kamaji_version: self.cluster.kamaji(age),
            kubernetes_version: self.cluster.kubernetes(age),
            dimensions: self.cluster.datastores(age),
        }
    }
}
