//! A snapshot is put together from its points: the four gauges once each, and what breaks them down.

use super::metrics::Sender;
use super::time::Timestamped;
use super::{RejectReason, Validated};
use crate::backend::store::{Dimension, GaugeSnapshot, Source, StateCounts};
use crate::catalog::{KamajiVersion, KubernetesVersion, Metric, NOT_READY, RUNNING, SLEEPING, UPGRADING};

/// The most points of one extended gauge. Kubernetes makes three minor versions a year, and has made 40: this is room
/// for a fleet that runs all of the next ten years. There are fewer drivers.
const MAX_POINTS: usize = 64;

/// One admitted point.
#[derive(Debug)]
pub(super) struct DataPoint {
    pub(super) metric: &'static Metric,
    /// Where the metric is an extended one.
    pub(super) dimension: Option<Dimension>,
    pub(super) time: Timestamped,
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

    /// Makes a snapshot of the points, if they are one.
    pub(super) fn finish(self, sender: &Sender, admitted: &mut Validated) {
        let Self { states, dimensions } = self;
        let Some((counts, versions)) = complete(&states) else {
            admitted.refused.add(RejectReason::Snapshot, states.len());
            admitted.refused.add(RejectReason::Dimension, dimensions.len());
            return;
        };
        // The gauges of one snapshot are read one after the other: its time is that of the last.
        let time = states.iter().filter_map(|point| match point.time {
            Timestamped::At(time) => Some(time),
            Timestamped::Expired => None,
        });
        let Some(time) = time.max() else {
            admitted.late += u64::try_from(states.len() + dimensions.len()).unwrap_or(u64::MAX);
            return;
        };
        let sent = dimensions.len();
        let dimensions = distinct(dimensions, versions);
        admitted.refused.add(RejectReason::Dimension, sent - dimensions.len());
        let (kamaji_version, kubernetes_version) = versions;
        let Sender { installation, agent_version } = sender.clone();
        admitted.rows.snapshots.push(GaugeSnapshot {
            installation,
            time,
            counts,
            source: Source::Agent(agent_version),
            kamaji_version,
            kubernetes_version,
            dimensions,
        });
    }
}

/// The counts, if each of the four gauges is there once and all have the same attributes. A missing one would be read
/// as zero.
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

/// Those that belong to the snapshot, each once, as many of a gauge as there may be.
fn distinct(
    dimensions: Vec<(Dimension, DataPoint)>,
    versions: (KamajiVersion, KubernetesVersion),
) -> Vec<(Dimension, u32)> {
    let mut kept: Vec<(Dimension, u32)> = Vec::new();
    for (dimension, point) in dimensions {
        let of_metric = kept.iter().filter(|(other, _)| other.metric().name == dimension.metric().name).count();
        let repeated = kept.iter().any(|(other, _)| *other == dimension);
        if point.versions == versions && of_metric < MAX_POINTS && !repeated {
            kept.push((dimension, point.count));
        }
    }
    kept
}
