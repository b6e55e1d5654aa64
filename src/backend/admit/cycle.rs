//! A cycle is put together from its points: the four gauges once each, and what breaks them down.

use super::metrics::Sender;
use super::time::Placed;
use super::{Admitted, Reason};
use crate::backend::store::{Breakdown, Counts, Cycle, Source};
use crate::signals::{KamajiVersion, KubernetesVersion, Metric, NOT_READY, RUNNING, SLEEPING, UPGRADING};

/// The most points of one extended gauge. Kubernetes makes three minor versions a year, and has made 40: this is room
/// for a fleet that runs all of the next ten years. There are fewer drivers.
const MAX_POINTS: usize = 64;

/// One admitted point.
#[derive(Debug)]
pub(super) struct Point {
    pub(super) metric: &'static Metric,
    /// Where the metric is an extended one.
    pub(super) breakdown: Option<Breakdown>,
    pub(super) time: Placed,
    pub(super) count: u32,
    pub(super) versions: (KamajiVersion, KubernetesVersion),
}

/// The points of one resource and scope.
#[derive(Debug, Default)]
pub(super) struct Draft {
    states: Vec<Point>,
    breakdowns: Vec<(Breakdown, Point)>,
}

impl Draft {
    pub(super) fn push(&mut self, mut point: Point) {
        match point.breakdown.take() {
            Some(breakdown) => self.breakdowns.push((breakdown, point)),
            None => self.states.push(point),
        }
    }

    /// Makes a cycle of the points, if they are one.
    pub(super) fn finish(self, sender: &Sender, admitted: &mut Admitted) {
        let Self { states, breakdowns } = self;
        let Some((counts, versions)) = complete(&states) else {
            admitted.refused.add(Reason::Cycle, states.len());
            admitted.refused.add(Reason::Breakdown, breakdowns.len());
            return;
        };
        // The gauges of one cycle are read one after the other: its time is that of the last.
        let time = states.iter().filter_map(|point| match point.time {
            Placed::At(time) => Some(time),
            Placed::Late => None,
        });
        let Some(time) = time.max() else {
            admitted.late += u64::try_from(states.len() + breakdowns.len()).unwrap_or(u64::MAX);
            return;
        };
        let sent = breakdowns.len();
        let breakdowns = distinct(breakdowns, versions);
        admitted.refused.add(Reason::Breakdown, sent - breakdowns.len());
        let (kamaji_version, kubernetes_version) = versions;
        let Sender { installation, agent_version } = sender.clone();
        admitted.rows.cycles.push(Cycle {
            installation,
            time,
            counts,
            source: Source::Agent(agent_version),
            kamaji_version,
            kubernetes_version,
            breakdowns,
        });
    }
}

/// The counts, if each of the four gauges is there once and all have the same attributes. A missing one would be read
/// as zero.
fn complete(states: &[Point]) -> Option<(Counts, (KamajiVersion, KubernetesVersion))> {
    let versions = states.first()?.versions;
    if states.len() != 4 || states.iter().any(|point| point.versions != versions) {
        return None;
    }
    let count = |metric: &Metric| states.iter().find(|point| point.metric.name == metric.name).map(|point| point.count);
    let counts = Counts {
        running: count(&RUNNING)?,
        sleeping: count(&SLEEPING)?,
        not_ready: count(&NOT_READY)?,
        upgrading: count(&UPGRADING)?,
    };
    Some((counts, versions))
}

/// Those that belong to the cycle, each once, as many of a gauge as there may be.
fn distinct(
    breakdowns: Vec<(Breakdown, Point)>,
    versions: (KamajiVersion, KubernetesVersion),
) -> Vec<(Breakdown, u32)> {
    let mut kept: Vec<(Breakdown, u32)> = Vec::new();
    for (breakdown, point) in breakdowns {
        let of_metric = kept.iter().filter(|(other, _)| other.metric().name == breakdown.metric().name).count();
        let repeated = kept.iter().any(|(other, _)| *other == breakdown);
        if point.versions == versions && of_metric < MAX_POINTS && !repeated {
            kept.push((breakdown, point.count));
        }
    }
    kept
}
