//! The installations of the simulated fleet, each made from its number.

use std::net::Ipv6Addr;
use std::time::Duration;

use fastrand::Rng;
use uuid::Uuid;

use crate::backend::store::{GaugeSnapshot, Hour, InvalidAgentVersion, Report, Source, StateCounts};
use crate::catalog::{KamajiVersion, KubernetesVersion, SERVICE_VERSION};
use crate::testkit::random_uuid;

/// The most installations of a fleet. Each has an address of its own: a /56 of `2001:db8::/32`, of which there are 2^24.
pub const MAX_INSTALLATIONS: u32 = 10_000_000;

/// The seed of every fleet: a store is filled with the installations that send later.
const SEED: u64 = 0x6b61_6d61_6a69;

/// Versions of Kamaji, repeated by their weight.
const KAMAJI: [&str; 8] = ["v1.0.0", "v1.1.0", "v1.1.1", "v1.2.0", "v1.2.1", "v1.2.1", "26.10.2-edge", "26.11.3-edge"];

/// Versions of the management cluster, repeated by their weight.
const KUBERNETES: [&str; 8] = ["v1.32.6", "v1.33.4", "v1.34.3", "v1.35.1", "v1.35.4", "v1.36.1", "v1.36.3", "v1.37.0"];

/// The bits of an address before those of the installation: the documentation range `2001:db8::/32` (RFC 3849).
const ADDRESSES: u128 = 0x2001_0db8 << 96;

/// The number of bits after the first 56, which stand for one client.
const SITE_BITS: u32 = 128 - 56;

/// An installation of the fleet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct FleetInstallation {
    number: u32,
    pub(super) uuid: Uuid,
    /// The time of its first cycle, as a fraction of the interval.
    phase: f64,
    pub(super) kamaji: KamajiVersion,
    pub(super) kubernetes: KubernetesVersion,
    counts: StateCounts,
}

impl FleetInstallation {
    /// Returns the installation with this number, which is always the same.
    pub(super) fn new(number: u32) -> Self {
        let mut random = Rng::with_seed(SEED ^ u64::from(number));
        let counts = StateCounts {
            running: random.u32(1..60),
            sleeping: random.u32(0..5),
            not_ready: random.u32(0..2),
            upgrading: random.u32(0..2),
        };
        Self {
            number,
            uuid: random_uuid(&mut random),
            phase: random.f64(),
            kamaji: KamajiVersion::normalize(KAMAJI[random.usize(..KAMAJI.len())]),
            kubernetes: KubernetesVersion::normalize(KUBERNETES[random.usize(..KUBERNETES.len())]),
            counts,
        }
    }

    /// Returns the address, which no other installation shares, and from which nothing is ever sent.
    pub(super) fn address(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(ADDRESSES | u128::from(self.number) << SITE_BITS | 1)
    }

    /// Returns the time of the first cycle.
    pub(super) fn first_cycle(&self, interval: Duration) -> Duration {
        interval.mul_f64(self.phase)
    }

    /// Returns the counts after so many changes, which are different each time.
    pub(super) fn counts(&self, changes: u32) -> StateCounts {
        StateCounts { running: self.counts.running + changes, ..self.counts }
    }

    /// Returns the snapshot of a receipt before the first change.
    pub(super) fn snapshot(&self, received: Hour) -> Result<GaugeSnapshot, InvalidAgentVersion> {
        let report = Report {
            counts: self.counts(0),
            source: Source::Agent(SERVICE_VERSION.parse()?),
            kamaji_version: self.kamaji,
            kubernetes_version: self.kubernetes,
            dimensions: Vec::new(),
        };
        Ok(GaugeSnapshot { installation: self.uuid, received, report })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn each_installation_is_itself_and_has_a_client_of_its_own() {
        let fleet = || (0..10_000).chain([MAX_INSTALLATIONS - 1]).map(FleetInstallation::new);
        let uuids: HashSet<_> = fleet().map(|installation| installation.uuid).collect();
        let sites: HashSet<_> = fleet().map(|installation| installation.address().to_bits() >> SITE_BITS).collect();
        assert_eq!((uuids.len(), sites.len()), (10_001, 10_001));
        assert!(fleet().eq(fleet()));
        let documentation: ipnet::IpNet = "2001:db8::/32".parse().unwrap();
        assert!(fleet().all(|installation| documentation.contains(&IpAddr::from(installation.address()))));
    }
}
