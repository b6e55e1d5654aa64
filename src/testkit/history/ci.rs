//! Clusters that CI makes and deletes within hours. None is ever confirmed.

use fastrand::Rng;
use uuid::Uuid;

use super::DAYS;
use super::calendar::Calendar;
use super::releases::{Channel, Updates, kubernetes};
use crate::backend::store::{Hour, Report, Source, StateCounts};
use crate::catalog::{Event, KamajiVersion, KubernetesVersion, Status};
use crate::testkit::random_uuid;

/// The most hours between the first and the last report: a long test. 20 would confirm an installation on another day.
const MAX_HOURS: i32 = 4;

/// A cluster of a test run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CiCluster {
    pub(super) uuid: Uuid,
    /// The hours of the first and of the last report. They may be on two days.
    pub(super) hours: [Hour; 2],
    pub(super) kamaji: KamajiVersion,
    pub(super) kubernetes: KubernetesVersion,
    size: u32,
    is_failing: bool,
}

/// Creates the clusters of all days: two to four on each.
pub(super) fn clusters(random: &mut Rng, calendar: Calendar) -> Vec<CiCluster> {
    let mut clusters = Vec::new();
    for age in (0..DAYS).rev() {
        for _ in 0..random.u8(2..5) {
            let first = calendar.hour(age, random.i32(0..24));
            let last = Hour::from_number(first.number() + random.i32(0..=MAX_HOURS));
            let line = if random.u8(0..3) == 0 { Channel::Latest } else { Channel::Edge };
            clusters.push(CiCluster {
                uuid: random_uuid(random),
                hours: [first, last],
                kamaji: line.kamaji(age, Updates { last: 0, interval: 1 }),
                kubernetes: kubernetes(age, random.i64(0..60)),
                size: random.u32(1..4),
                is_failing: random.u8(0..4) == 0,
            });
        }
    }
    clusters
}

impl CiCluster {
    /// Returns each report.
    pub(super) fn report(&self, source: &Source) -> Report {
        let not_ready = u32::from(self.is_failing);
        Report {
            counts: StateCounts { running: self.size - not_ready, not_ready, ..StateCounts::default() },
            source: source.clone(),
            kamaji_version: self.kamaji,
            kubernetes_version: self.kubernetes,
            dimensions: Vec::new(),
        }
    }

    /// Returns the events: each control plane is created in the first hour, and deleted in the last.
    pub(super) fn events(&self) -> impl Iterator<Item = (Hour, Event)> {
        let [first, last] = self.hours;
        let tcp_version = self.kubernetes;
        let status = if self.is_failing { Status::Provisioning } else { Status::Ready };
        let created = (first, Event::Created { tcp_version, extended: None });
        let deleted = (last, Event::Deleted { status, tcp_version });
        (0..self.size).flat_map(move |_| [created, deleted])
    }
}
