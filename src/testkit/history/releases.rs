//! A calendar of simulated releases, by which versions spread through the history as in a real fleet.

/// The number of days since a release, and its version.
type Release = (i64, &'static str);

/// Stable releases of the simulated Kamaji, oldest first.
const KAMAJI: [Release; 6] =
    [(400, "v1.0.0"), (165, "v1.0.1"), (118, "v1.0.2"), (84, "v1.1.0"), (41, "v1.1.1"), (12, "v1.2.0")];

/// Edge releases of the simulated Kamaji, one a month, oldest first.
const KAMAJI_EDGE: [Release; 7] = [
    (200, "26.5.2-edge"),
    (171, "26.6.1-edge"),
    (140, "26.7.4-edge"),
    (109, "26.8.3-edge"),
    (78, "26.9.1-edge"),
    (46, "26.10.2-edge"),
    (9, "26.11.3-edge"),
];

/// Releases of Kubernetes, oldest first.
const KUBERNETES: [Release; 9] = [
    (700, "v1.31.8"),
    (520, "v1.32.6"),
    (390, "v1.33.4"),
    (300, "v1.34.1"),
    (190, "v1.34.5"),
    (150, "v1.35.1"),
    (95, "v1.35.4"),
    (52, "v1.36.0"),
    (20, "v1.36.2"),
];

/// The line of Kamaji releases that an installation follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Stable,
    Edge,
}

impl Channel {
    /// Returns the version that runs `age` days before today, if updates follow a release after `lag` days.
    pub(super) fn kamaji(self, age: i64, lag: i64) -> &'static str {
        match self {
            Self::Stable => newest(&KAMAJI, age, lag),
            Self::Edge => newest(&KAMAJI_EDGE, age, lag),
        }
    }
}

/// Returns the Kubernetes version that runs `age` days before today, if updates follow a release after `lag` days.
pub(super) fn kubernetes(age: i64, lag: i64) -> &'static str {
    newest(&KUBERNETES, age, lag)
}

/// Returns the next Kubernetes version, if there is one.
pub(super) fn kubernetes_after(version: &str) -> Option<&'static str> {
    let next = KUBERNETES.iter().skip_while(|(_, release)| *release != version).nth(1);
    next.map(|(_, release)| *release)
}

fn newest(releases: &[Release], age: i64, lag: i64) -> &'static str {
    let reached = releases.iter().rev().find(|(released, _)| *released >= age + lag);
    reached.unwrap_or(&releases[0]).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{KamajiVersion, KubernetesVersion};

    #[test]
    fn an_installation_updates_after_its_lag() {
        assert_eq!(Channel::Stable.kamaji(12, 0), "v1.2.0");
        assert_eq!(Channel::Stable.kamaji(13, 0), "v1.1.1");
        assert_eq!(Channel::Stable.kamaji(0, 12), "v1.2.0");
        assert_eq!(Channel::Stable.kamaji(0, 13), "v1.1.1");
        assert_eq!(Channel::Stable.kamaji(500, 0), "v1.0.0");
    }

    #[test]
    fn every_release_is_a_version_of_the_catalog() {
        for (_, version) in KAMAJI.iter().chain(&KAMAJI_EDGE) {
            assert!(version.parse::<KamajiVersion>().is_ok(), "{version}");
        }
        for (_, version) in KUBERNETES {
            assert!(version.parse::<KubernetesVersion>().is_ok(), "{version}");
        }
    }
}
