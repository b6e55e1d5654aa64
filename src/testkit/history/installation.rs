//! A simulated installation: its lifetime, size, versions and failures.

use fastrand::Rng;
use uuid::{Builder, Uuid};

use super::releases::{Channel, kubernetes, kubernetes_after};
use crate::backend::store::StateCounts;
use crate::catalog::{Event, KamajiVersion, KubernetesVersion, Status};

/// The statuses with which control planes are deleted. One in four does not work.
const LAST_STATUSES: [Status; 8] = [
    Status::Ready,
    Status::Ready,
    Status::Ready,
    Status::Ready,
    Status::Ready,
    Status::Sleeping,
    Status::NotReady,
    Status::Provisioning,
];

/// An installation. The age of a day is the number of days before today.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Installation {
    pub(super) uuid: Uuid,
    first: i64,
    last: i64,
    channel: Channel,
    kamaji_lag: i64,
    kubernetes_lag: i64,
    size_at_first: u32,
    /// The number of control planes that are added in a hundred days.
    growth: u32,
    /// The percentage of control planes that are scaled to zero.
    sleeping: u32,
    /// The age of the first day of a week with failures.
    failure_week: i64,
}

impl Installation {
    /// Creates an installation that lives for more than a day. Most begin late in the `days`, and some end before
    /// today.
    pub(super) fn lasting(random: &mut Rng, days: i64) -> Self {
        // The larger of two random days is in the newer half in three of four cases, so that the growth accelerates.
        let since = random.i64(-days / 4..days).max(random.i64(-days / 4..days));
        let first = (days - 1 - since).min(days - 1);
        let last = if random.u8(0..8) == 0 { random.i64(0..=first) } else { 0 };
        let lag = [random.i64(1..20), random.i64(1..20), random.i64(20..60), random.i64(60..150)];
        Self {
            uuid: uuid(random),
            first,
            last,
            channel: if random.u8(0..4) == 0 { Channel::Edge } else { Channel::Stable },
            kamaji_lag: lag[random.usize(..lag.len())],
            kubernetes_lag: random.i64(10..220),
            size_at_first: random.u32(1..6) * random.u32(1..6),
            growth: random.u32(0..30),
            sleeping: if random.u8(0..5) == 0 { random.u32(10..60) } else { 0 },
            failure_week: random.i64(0..days),
        }
    }

    /// Creates an installation of a test run, which lives for one day.
    pub(super) fn short_lived(random: &mut Rng, days: i64) -> Self {
        let day = random.i64(0..days);
        Self {
            uuid: uuid(random),
            first: day,
            last: day,
            channel: if random.bool() { Channel::Edge } else { Channel::Stable },
            kamaji_lag: 0,
            kubernetes_lag: random.i64(0..30),
            size_at_first: random.u32(1..3),
            growth: 0,
            sleeping: 0,
            failure_week: if random.u8(0..4) == 0 { day } else { -1 },
        }
    }

    /// Returns whether the installation sends gauges on the day `age`.
    pub(super) fn is_active(&self, age: i64) -> bool {
        (self.last..=self.first).contains(&age)
    }

    /// Returns the version of Kamaji on the day `age`.
    pub(super) fn kamaji(&self, age: i64) -> KamajiVersion {
        KamajiVersion::normalize(self.channel.kamaji(age, self.kamaji_lag))
    }

    /// Returns the version of the management cluster on the day `age`.
    pub(super) fn kubernetes(&self, age: i64) -> KubernetesVersion {
        KubernetesVersion::normalize(kubernetes(age, self.kubernetes_lag))
    }

    /// Returns the counts of control planes on the day `age`.
    pub(super) fn counts(&self, age: i64) -> StateCounts {
        let size = self.size(age);
        let sleeping = size * self.sleeping / 100;
        let is_failing = (self.failure_week - 7..=self.failure_week).contains(&age);
        let not_ready = if is_failing { (size - sleeping).div_ceil(5) } else { 0 };
        // An upgrade takes minutes, so that a snapshot sees few. They follow an upgrade of the management cluster in a
        // week.
        let upgrades = self.kubernetes(age) != self.kubernetes(age + 7);
        let upgrading = u32::from(upgrades && size - sleeping > not_ready + 3);
        StateCounts { running: size - sleeping - not_ready - upgrading, sleeping, not_ready, upgrading }
    }

    /// Returns the events of the day `age`.
    pub(super) fn events(&self, random: &mut Rng, age: i64) -> Vec<Event> {
        let tenant = kubernetes(age, random.i64(0..120));
        let tcp_version = KubernetesVersion::normalize(tenant);
        let before = if age == self.first { 0 } else { self.size(age + 1) };
        // Independent of the growth, one is created and another deleted on some days.
        let turnover = u32::from(random.u32(0..100) < self.size(age).min(30));
        let created = self.size(age) - before + turnover;
        let mut events = vec![Event::Created { tcp_version, extended: None }; created as usize];
        for _ in 0..turnover {
            let status = LAST_STATUSES[random.usize(..LAST_STATUSES.len())];
            events.push(Event::Deleted { status, tcp_version });
        }
        if let Some(newer) = kubernetes_after(tenant).filter(|_| random.u32(0..60) < self.size(age).min(20)) {
            let new_tcp_version = KubernetesVersion::normalize(newer);
            events.push(Event::Updated { old_tcp_version: tcp_version, new_tcp_version });
        }
        events
    }

    fn size(&self, age: i64) -> u32 {
        let days = u32::try_from(self.first - age).unwrap_or(0);
        self.size_at_first + self.growth * days / 100
    }
}

/// Returns a random UUID from a seeded generator.
pub(super) fn uuid(random: &mut Rng) -> Uuid {
    Builder::from_random_bytes(random.u128(..).to_be_bytes()).into_uuid()
}
