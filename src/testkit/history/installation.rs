//! One simulated installation: how long it lives, how large it is, what it runs, and how well.

use fastrand::Rng;
use uuid::{Builder, Uuid};

use super::releases::{Channel, kubernetes, kubernetes_after};
use crate::backend::store::StateCounts;
use crate::catalog::{Event, KamajiVersion, KubernetesVersion, Status};

/// Statuses with which control planes are deleted: one in four did not work.
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

/// An installation. Days are counted backwards: 0 is today.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Installation {
    pub(super) uuid: Uuid,
    first: i64,
    last: i64,
    channel: Channel,
    kamaji_lag: i64,
    kubernetes_lag: i64,
    size_at_first: u32,
    /// Control planes that come in a hundred days.
    growth: u32,
    /// Percent of control planes that are scaled to zero.
    sleeping: u32,
    /// The age of the first day of a week in which something is broken.
    trouble: i64,
}

impl Installation {
    /// One that stays: made some time in `days`, more of them lately, and some of them gone again.
    pub(super) fn lasting(random: &mut Rng, days: i64) -> Self {
        // The larger of two puts twice as many in the newer half: a curve that bends upwards.
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
            trouble: random.i64(0..days),
        }
    }

    /// One that a test run makes and throws away on the same day.
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
            trouble: if random.u8(0..4) == 0 { day } else { -1 },
        }
    }

    /// Whether it sends gauges on the day `age`.
    pub(super) fn is_there(&self, age: i64) -> bool {
        (self.last..=self.first).contains(&age)
    }

    /// The version of its Kamaji on the day `age`.
    pub(super) fn kamaji(&self, age: i64) -> KamajiVersion {
        KamajiVersion::normalise(self.channel.kamaji(age, self.kamaji_lag))
    }

    /// The version of its management cluster on the day `age`.
    pub(super) fn kubernetes(&self, age: i64) -> KubernetesVersion {
        KubernetesVersion::normalise(kubernetes(age, self.kubernetes_lag))
    }

    /// Its control planes on the day `age`.
    pub(super) fn counts(&self, age: i64) -> StateCounts {
        let size = self.size(age);
        let sleeping = size * self.sleeping / 100;
        let in_trouble = (self.trouble - 7..=self.trouble).contains(&age);
        let not_ready = if in_trouble { (size - sleeping).div_ceil(5) } else { 0 };
        // Upgrades take minutes: few are seen, and in the week after the management cluster's.
        let upgrades = self.kubernetes(age) != self.kubernetes(age + 7);
        let upgrading = u32::from(upgrades && size - sleeping > not_ready + 3);
        StateCounts { running: size - sleeping - not_ready - upgrading, sleeping, not_ready, upgrading }
    }

    /// What happened to its control planes on the day `age`.
    pub(super) fn events(&self, random: &mut Rng, age: i64) -> Vec<Event> {
        let tenant = kubernetes(age, random.i64(0..120));
        let tcp_version = KubernetesVersion::normalise(tenant);
        let before = if age == self.first { 0 } else { self.size(age + 1) };
        // Now and then one is made and another deleted, whatever the growth.
        let turnover = u32::from(random.u32(0..100) < self.size(age).min(30));
        let created = self.size(age) - before + turnover;
        let mut events = vec![Event::Created { tcp_version, with: None }; created as usize];
        for _ in 0..turnover {
            let status = LAST_STATUSES[random.usize(..LAST_STATUSES.len())];
            events.push(Event::Deleted { status, tcp_version });
        }
        if let Some(newer) = kubernetes_after(tenant).filter(|_| random.u32(0..60) < self.size(age).min(20)) {
            let new_tcp_version = KubernetesVersion::normalise(newer);
            events.push(Event::Updated { old_tcp_version: tcp_version, new_tcp_version });
        }
        events
    }

    fn size(&self, age: i64) -> u32 {
        let days = u32::try_from(self.first - age).unwrap_or(0);
        self.size_at_first + self.growth * days / 100
    }
}

/// A random UUID out of a seeded generator.
pub(super) fn uuid(random: &mut Rng) -> Uuid {
    Builder::from_random_bytes(random.u128(..).to_be_bytes()).into_uuid()
}
