//! The counts that the gauges send.

use std::collections::BTreeMap;

use super::row::Row;
use crate::catalog::{KubernetesMinor, KubernetesVersion, LifecycleState};

/// The number of control planes in each state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Control planes whose API server answers.
    pub running: u32,
    /// Control planes that are scaled to zero.
    pub sleeping: u32,
    /// Control planes that do not work, or not yet.
    pub not_ready: u32,
    /// Control planes that are changing their version.
    pub upgrading: u32,
    /// All control planes by the minor of their desired version.
    pub by_version: BTreeMap<KubernetesMinor, u32>,
}

impl Counts {
    /// Adds one control plane.
    pub(super) fn add(mut self, row: &Row) -> Self {
        let count = match row.status.state() {
            LifecycleState::Running => &mut self.running,
            LifecycleState::Sleeping => &mut self.sleeping,
            LifecycleState::NotReady => &mut self.not_ready,
            LifecycleState::Upgrading => &mut self.upgrading,
        };
        *count += 1;
        let version = row.reported.unwrap_or(KubernetesVersion::Unknown);
        *self.by_version.entry(version.to_minor()).or_default() += 1;
        self
    }
}
