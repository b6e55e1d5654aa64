//! Assembly of a gauge snapshot from its points: the four state gauges once each, and the extended gauges.

use super::{RejectReason, Validated};
use crate::backend::store::{AgentVersion, Dimension, GaugeSnapshot, Hour, Report, Source, StateCounts};
use uuid::Uuid;

use crate::catalog::{
    KamajiVersion, KubernetesMinor, KubernetesVersion, Metric, NOT_READY, RUNNING, SLEEPING, UPGRADING,
};

/// The most points of one extended gauge. Kubernetes has three minor versions a year and supports each for 14 months: this
/// is room for a cluster whose control planes are of all versions of five years. There are fewer drivers.
const MAX_POINTS: usize = 16;

/// The agent that sent the metrics, from their resource.
#[derive(Debug, Clone)]
pub(super) struct AgentIdentity {
    pub(super) installation: Uuid,
    pub(super) agent_version: AgentVersion,
}

/// A valid point.
#[derive(Debug)]
pub(super) struct DataPoint {
    pub(super) metric: &'static Metric,
    /// The dimension that the point counts, if its metric is extended.
    pub(super) dimension: Option<Dimension>,
    /// True if its time is near enough to the time of receipt.
    pub(super) is_current: bool,
    pub(super) count: u32,
    pub(super) versions: (KamajiVersion, KubernetesVersion),
}

/// The points of one resource and scope.
#[derive(Debug, Default)]
pub(super) struct SnapshotBuilder {
    states: Vec<DataPoint>,
    dimensions: Vec<(Dimension, DataPoint)>,
}

impl SnapshotBuilder {
    pub(super) fn push(&mut self, mut point: DataPoint) {
        match point.dimension.take() {
            Some(dimension) => self.dimensions.push((dimension, point)),
            None => self.states.push(point),
        }
    }

    /// Builds the snapshot and adds it to `validated`, or rejects its points. Its hour is that of the receipt: the sender's
    /// time only tells whether it is expired.
    pub(super) fn finish(self, agent: &AgentIdentity, received: Hour, validated: &mut Validated) {
        let Self { states, dimensions } = self;
        let Some((counts, versions)) = complete(&states) else {
            validated.rejections.add(RejectReason::Snapshot, states.len());
            validated.rejections.add(RejectReason::Dimension, dimensions.len());
            return;
        };
        if !states.iter().all(|point| point.is_current) {
            validated.expired += u64::try_from(states.len() + dimensions.len()).unwrap_or(u64::MAX);
            return;
        }
        let (dimensions, rejected) = distinct(dimensions, versions);
        validated.rejections.add(RejectReason::Dimension, rejected);
        let (kamaji_version, kubernetes_version) = versions;
        let AgentIdentity { installation, agent_version } = agent.clone();
        let source = Source::Agent(agent_version);
        let report = Report { counts, source, kamaji_version, kubernetes_version, dimensions };
        validated.records.snapshots.push(GaugeSnapshot { installation, received, report });
    }
}

/// Returns the counts, if each of the four gauges is there once and all have the same attributes. A missing gauge would
/// count as zero.
fn complete(states: &[DataPoint]) -> Option<(StateCounts, (KamajiVersion, KubernetesVersion))> {
    let versions = states.first()?.versions;
    if states.len() != 4 || states.iter().any(|point| point.versions != versions) {
        return None;
    }
    let count = |metric: &Metric| states.iter().find(|point| point.metric.name == metric.name).map(|point| point.count);
    let counts = StateCounts {
        running: count(&RUNNING)?,
        sleeping: count(&SLEEPING)?,
        not_ready: count(&NOT_READY)?,
        upgrading: count(&UPGRADING)?,
    };
    Some((counts, versions))
}

/// The greatest minor version of Kubernetes 1 that is kept apart: at three a year, it is of the year 2047.
const MAX_MINOR: u16 = 99;

/// Returns the dimension of a value that is kept apart, or that of all others and true: a minor version that will not be for
/// decades is none.
fn known(dimension: Dimension) -> (Dimension, bool) {
    match dimension.value().parse() {
        Ok(KubernetesMinor::Minor { major, minor }) if major != 1 || minor > MAX_MINOR => {
            (Dimension::other(dimension.metric()), true)
        }
        _ => (dimension, false),
    }
}

/// Returns the dimensions that belong to the snapshot, each once, at most [`MAX_POINTS`] of a gauge, and the number of points
/// that are rejected.
fn distinct(
    dimensions: Vec<(Dimension, DataPoint)>,
    versions: (KamajiVersion, KubernetesVersion),
) -> (Vec<(Dimension, u32)>, usize) {
    let (mut distinct, mut rejected): (Vec<(Dimension, u32)>, usize) = (Vec::new(), 0);
    for (dimension, point) in dimensions {
        let (known, is_other) = known(dimension);
        let of_metric = distinct.iter().filter(|(other, _)| other.metric().name == known.metric().name).count();
        match distinct.iter_mut().find(|(other, _)| *other == known) {
            _ if point.versions != versions => rejected += 1,
            Some((_, sum)) if is_other => *sum = sum.saturating_add(point.count),
            None if of_metric < MAX_POINTS => distinct.push((known, point.count)),
            _ => rejected += 1,
        }
    }
    (distinct, rejected)
}
