//! The events of an installation's control planes on a day.

use fastrand::Rng;

use super::deck::times;
use super::releases::{UpgradeStep, kubernetes, step};
use crate::catalog::{Event, ExtendedAttributes, NetworkProfile, Status};

/// The control planes of ten thousand that are deleted, and made again, on a day.
const TURNOVER: u32 = 30;

/// The control planes of ten thousand whose version is changed on a day.
const UPDATES: u32 = 40;

/// The control planes of ten thousand that are deleted, and made again, on a day because of the bad release; as many go back
/// to the patch before.
const GIVEN_UP: u32 = 12;

/// The last statuses of deleted control planes: one in six does not work.
const LAST_STATUSES: [Status; 6] =
    [Status::Ready, Status::Ready, Status::Ready, Status::Ready, Status::Sleeping, Status::NotReady];

/// The last statuses of control planes that are given up.
const GIVEN_UP_STATUSES: [Status; 4] = [Status::NotReady, Status::NotReady, Status::NotReady, Status::Provisioning];

/// The steps of updates, with their percentages.
const STEPS: [(u8, UpgradeStep); 4] = [
    (50, UpgradeStep::PatchUp),
    (3, UpgradeStep::PatchDown),
    (37, UpgradeStep::Minor),
    (10, UpgradeStep::CoalescedMinors),
];

/// Network profiles, repeated by their weight.
const NETWORK_PROFILES: [NetworkProfile; 8] = [
    NetworkProfile::LoadBalancer,
    NetworkProfile::LoadBalancer,
    NetworkProfile::LoadBalancer,
    NetworkProfile::ClusterIp,
    NetworkProfile::ClusterIp,
    NetworkProfile::NodePort,
    NetworkProfile::Ingress,
    NetworkProfile::Gateway,
];

/// The control planes of an installation on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tenants {
    /// Their number.
    pub(super) size: u32,
    /// The number of them that growth has added on the day.
    pub(super) added: u32,
    /// True if the bad release runs.
    pub(super) is_bad: bool,
    /// True if the extended attributes are sent.
    pub(super) extended: bool,
}

impl Tenants {
    /// Returns the events of the day `age`.
    pub(super) fn events(self, random: &mut Rng, age: i64) -> Vec<Event> {
        let given_up = if self.is_bad { GIVEN_UP } else { 0 };
        let deleted = times(random, self.size * TURNOVER, 10_000);
        let given_up_deleted = times(random, self.size * given_up, 10_000);
        let created = self.added + deleted + given_up_deleted;
        let mut events: Vec<_> = (0..created).map(|_| self.creation(random, age)).collect();
        events.extend((0..deleted).map(|_| deletion(random, age, &LAST_STATUSES)));
        events.extend((0..given_up_deleted).map(|_| deletion(random, age, &GIVEN_UP_STATUSES)));
        for _ in 0..times(random, self.size * UPDATES, 10_000) {
            let kind = random_step(random);
            events.extend(update(random, kind, age));
        }
        for _ in 0..times(random, self.size * given_up, 10_000) {
            events.extend(update(random, UpgradeStep::PatchDown, age));
        }
        events
    }

    fn creation(self, random: &mut Rng, age: i64) -> Event {
        let tcp_version = kubernetes(age, random.i64(0..150));
        let extended = self.extended.then(|| ExtendedAttributes {
            cluster_api: random.u8(0..10) < 6,
            network_profile: random.choice(NETWORK_PROFILES),
        });
        Event::Created { tcp_version, extended }
    }
}

fn deletion(random: &mut Rng, age: i64, statuses: &[Status]) -> Event {
    let tcp_version = kubernetes(age, random.i64(30..400));
    Event::Deleted { status: statuses[random.usize(..statuses.len())], tcp_version }
}

fn update(random: &mut Rng, kind: UpgradeStep, age: i64) -> Option<Event> {
    let (old_tcp_version, new_tcp_version) = step(random, kind, age)?;
    Some(Event::Updated { old_tcp_version, new_tcp_version })
}

fn random_step(random: &mut Rng) -> UpgradeStep {
    let mut percent = random.u8(0..100);
    for (share, step) in STEPS {
        match percent.checked_sub(share) {
            Some(rest) => percent = rest,
            None => return step,
        }
    }
    UpgradeStep::PatchUp
}
