//! A calendar of simulated releases, by which versions spread through the history as in a real fleet.

use std::sync::LazyLock;

use fastrand::Rng;

use crate::backend::store::Source;
use crate::catalog::{KamajiVersion, KubernetesVersion};

/// The number of days since a release, and its version.
type Release = (i64, &'static str);

/// Stable releases of the simulated Kamaji, oldest first. [`BAD_RELEASE`] is mended by the patch two weeks later.
const KAMAJI: [Release; 7] = [
    (700, "v1.0.0"),
    (470, "v1.0.1"),
    (300, "v1.0.2"),
    (210, "v1.1.0"),
    (120, "v1.1.1"),
    (BAD_RELEASE_AGE, BAD_RELEASE),
    (PATCH_AGE, "v1.2.1"),
];

/// The release under which control planes get stuck.
const BAD_RELEASE: &str = "v1.2.0";

/// The days since the bad release: long enough to have spread, and recent enough that many still run it.
pub(super) const BAD_RELEASE_AGE: i64 = 32;

/// The days since the patch of the bad release.
pub(super) const PATCH_AGE: i64 = 18;

/// Edge releases of the simulated Kamaji, about one a month, oldest first. Their form changed in spring.
const KAMAJI_EDGE: [Release; 16] = [
    (430, "edge-25.9.2"),
    (400, "edge-25.10.2"),
    (376, "edge-25.11.1"),
    (348, "edge-25.12.2"),
    (316, "edge-26.1.1"),
    (289, "edge-26.2.1"),
    (258, "26.3.2-edge"),
    (227, "26.4.1-edge"),
    (196, "26.5.2-edge"),
    (165, "26.6.1-edge"),
    (137, "26.7.2-edge"),
    (126, "26.7.4-edge"),
    (105, "26.8.3-edge"),
    (77, "26.9.1-edge"),
    (45, "26.10.2-edge"),
    (10, "26.11.3-edge"),
];

/// Releases of Kubernetes, oldest first.
const KUBERNETES: [Release; 16] = [
    (840, "v1.31.4"),
    (780, "v1.31.8"),
    (715, "v1.32.0"),
    (640, "v1.32.6"),
    (583, "v1.33.0"),
    (520, "v1.33.4"),
    (457, "v1.34.0"),
    (400, "v1.34.3"),
    (345, "v1.35.0"),
    (300, "v1.35.1"),
    (240, "v1.35.4"),
    (219, "v1.36.0"),
    (170, "v1.36.1"),
    (110, "v1.36.3"),
    (93, "v1.37.0"),
    (40, "v1.37.2"),
];

/// Releases of the simulated agent, oldest first.
const AGENT: [Release; 3] = [(400, "2.0.0"), (210, "2.0.1"), (60, "2.1.0")];

/// The days for which a tenant control plane is upgraded from a release.
const UPGRADED_FOR: i64 = 500;

/// Releases with their parsed versions: the history asks for them a million times.
struct Releases<V>(Vec<(i64, V)>);

static STABLE: LazyLock<Releases<KamajiVersion>> = LazyLock::new(|| Releases::of(&KAMAJI, KamajiVersion::normalize));

static EDGE: LazyLock<Releases<KamajiVersion>> = LazyLock::new(|| Releases::of(&KAMAJI_EDGE, KamajiVersion::normalize));

static MANAGEMENT: LazyLock<Releases<KubernetesVersion>> =
    LazyLock::new(|| Releases::of(&KUBERNETES, KubernetesVersion::normalize));

static AGENTS: LazyLock<Releases<Source>> = LazyLock::new(|| {
    let parse = |version: &str| Source::Agent(version.parse().expect("the catalog allows the agents' versions"));
    Releases::of(&AGENT, parse)
});

/// Each step between two releases, with the ages of both.
static STEPS: LazyLock<Vec<PossibleStep>> = LazyLock::new(|| {
    let releases = &MANAGEMENT.0;
    let pairs = releases.iter().flat_map(|from| releases.iter().map(move |to| (*from, *to)));
    let possible = pairs.filter_map(|((from_age, from), (to_age, to))| {
        let step = step_between(from, to)?;
        Some(PossibleStep { step, from_age, to_age, versions: (from, to) })
    });
    possible.collect()
});

/// A step between two releases.
struct PossibleStep {
    step: UpgradeStep,
    from_age: i64,
    to_age: i64,
    versions: (KubernetesVersion, KubernetesVersion),
}

/// The Kamaji that an installation follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Stable,
    Edge,
    /// The image's tag is `latest`.
    Latest,
    /// The version cannot be determined.
    Unknown,
}

/// The updates of an installation, which take the newest release: the last one, and those before it at an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Updates {
    /// The age of the day of the last update.
    pub(super) last: i64,
    /// The days between two updates.
    pub(super) interval: i64,
}

/// A change of a tenant's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UpgradeStep {
    PatchUp,
    PatchDown,
    /// To the next minor version.
    Minor,
    /// To the next but one: Kamaji refuses to skip a minor version, but two upgrades may be seen as one.
    CoalescedMinors,
}

impl Channel {
    /// Returns the version that runs on the day `age`.
    pub(super) fn kamaji(self, age: i64, updates: Updates) -> KamajiVersion {
        match self {
            Self::Stable => *STABLE.newest(updates.before(age)),
            Self::Edge => *EDGE.newest(updates.before(age)),
            Self::Latest => KamajiVersion::Latest,
            Self::Unknown => KamajiVersion::Unknown,
        }
    }
}

impl Updates {
    /// Returns the age of the last update that is over on the day `age`.
    fn before(self, age: i64) -> i64 {
        let Self { last, interval } = self;
        last + (age - last + interval - 1).max(0) / interval * interval
    }
}

impl<V> Releases<V> {
    fn of(releases: &[Release], parse: impl Fn(&str) -> V) -> Self {
        Self(releases.iter().map(|(age, version)| (*age, parse(version))).collect())
    }

    /// Returns the newest one of the day `age`, or the oldest.
    fn newest(&self, age: i64) -> &V {
        let reached = self.0.iter().rev().find(|(released, _)| *released >= age);
        &reached.unwrap_or(&self.0[0]).1
    }
}

/// Returns whether a version is the one under which control planes get stuck.
pub(super) fn is_bad(version: KamajiVersion) -> bool {
    version == *STABLE.newest(BAD_RELEASE_AGE)
}

/// Returns the Kubernetes version that runs on the day `age`, if updates follow a release after `lag` days.
pub(super) fn kubernetes(age: i64, lag: i64) -> KubernetesVersion {
    *MANAGEMENT.newest(age + lag)
}

/// Returns the source of what an agent sends on the day `age`, if updates follow a release after `lag` days.
pub(super) fn agent(age: i64, lag: i64) -> Source {
    AGENTS.newest(age + lag).clone()
}

/// Returns random versions before and after a step that is possible on the day `age`, if one is.
pub(super) fn step(random: &mut Rng, step: UpgradeStep, age: i64) -> Option<(KubernetesVersion, KubernetesVersion)> {
    let is_possible = |possible: &&PossibleStep| {
        let PossibleStep { step: kind, from_age, to_age, .. } = **possible;
        kind == step && (age..age + UPGRADED_FOR).contains(&from_age) && to_age >= age
    };
    let possible: Vec<_> = STEPS.iter().filter(is_possible).collect();
    random.choice(&possible).map(|possible| possible.versions)
}

/// Returns the step from one version to another, if it is one.
pub(super) fn step_between(from: KubernetesVersion, to: KubernetesVersion) -> Option<UpgradeStep> {
    let (KubernetesVersion::Release(from), KubernetesVersion::Release(to)) = (from, to) else { return None };
    match to.minor.checked_sub(from.minor)? {
        0 if to.patch > from.patch => Some(UpgradeStep::PatchUp),
        0 if to.patch < from.patch => Some(UpgradeStep::PatchDown),
        1 => Some(UpgradeStep::Minor),
        2 => Some(UpgradeStep::CoalescedMinors),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stable(age: i64, last: i64, interval: i64) -> String {
        Channel::Stable.kamaji(age, Updates { last, interval }).to_string()
    }

    #[test]
    fn an_installation_runs_the_release_that_was_the_newest_at_its_last_update() {
        assert_eq!(stable(0, 18, 90), "v1.2.1");
        assert_eq!(stable(0, 19, 90), "v1.2.0");
        assert_eq!(stable(19, 19, 90), "v1.2.0", "on the day of the update");
        assert_eq!(stable(20, 19, 90), "v1.1.1", "on the day before it");
        assert_eq!(stable(110, 19, 90), "v1.1.0", "before the update before it");
        assert_eq!(stable(5_000, 19, 90), "v1.0.0");
        assert!(is_bad(KamajiVersion::normalize(BAD_RELEASE)) && !is_bad(KamajiVersion::normalize("v1.2.1")));
    }

    #[test]
    fn a_step_is_between_releases_of_the_time() {
        let mut random = Rng::with_seed(1);
        for kind in [UpgradeStep::PatchUp, UpgradeStep::PatchDown, UpgradeStep::Minor, UpgradeStep::CoalescedMinors] {
            for age in [0, 100, 364] {
                let (from, to) = step(&mut random, kind, age).unwrap();
                assert_eq!(step_between(from, to), Some(kind), "{from} {to}");
                let released = |version| MANAGEMENT.0.iter().find(|(_, known)| *known == version).unwrap().0;
                assert!(released(from) >= age && released(to) >= age, "{from} {to} on {age}");
            }
        }
    }

    #[test]
    fn every_release_is_a_version_of_the_catalog_and_later_than_the_one_before() {
        for (_, version) in KAMAJI.iter().chain(&KAMAJI_EDGE) {
            assert!(version.parse::<KamajiVersion>().is_ok(), "{version}");
        }
        for (_, version) in KUBERNETES {
            assert!(version.parse::<KubernetesVersion>().is_ok(), "{version}");
        }
        for releases in [&KAMAJI[..], &KAMAJI_EDGE, &KUBERNETES, &AGENT] {
            assert!(releases.is_sorted_by(|(older, _), (newer, _)| older > newer), "{releases:?}");
        }
    }
}
