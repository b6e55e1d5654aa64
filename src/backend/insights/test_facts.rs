//! Builders of facts for the tests of the questions. Each installation has ten control planes unless it is said
//! otherwise.

use proptest::prelude::*;

use super::answer::Asked;
use crate::backend::store::fold::{EventAspect, EventChange, SizeClass, Standing};
use crate::backend::store::{
    ConditionFact, Day, DayFact, EventDayFact, EventWeekFact, PairFact, SeenFact, Totals, VersionFact,
};
use crate::catalog::{KamajiVersion, KubernetesMinor, KubernetesVersion};

/// The control planes of an installation.
pub(super) const CONTROL_PLANES: u64 = 10;

/// Reads a date.
pub(super) fn day(date: &str) -> Day {
    Day::of(date.parse().unwrap())
}

/// Reads a version of Kamaji; `other` as well.
pub(super) fn kamaji(version: &str) -> KamajiVersion {
    if version == "other" { KamajiVersion::Other } else { version.parse().unwrap() }
}

/// Reads a version of Kubernetes; `other` as well.
pub(super) fn kubernetes(version: &str) -> KubernetesVersion {
    if version == "other" { KubernetesVersion::Other } else { version.parse().unwrap() }
}

/// Reads a minor version of Kubernetes; `other` as well.
pub(super) fn minor(minor: &str) -> KubernetesMinor {
    if minor == "other" { KubernetesMinor::Other } else { minor.parse().unwrap() }
}

/// Asks at noon of the day after `through`, so that `through` is the last complete day. Nothing is masked.
pub(super) fn asked(through: &str) -> Asked {
    Asked { at: "12:00".parse().map(|noon| noon_of(day(through).plus(1), noon)).unwrap(), min_installations: 0 }
}

fn noon_of(day: Day, noon: jiff::civil::Time) -> jiff::Timestamp {
    day.date().to_datetime(noon).to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp()
}

/// Active installations of a day.
pub(super) fn active(date: &str, installations: u64) -> DayFact {
    let control_planes = Totals { running: installations * CONTROL_PLANES, ..Totals::default() };
    DayFact { day: day(date), installations, control_planes, weight: installations * CONTROL_PLANES }
}

/// Active installations of a day that run one version of Kamaji.
pub(super) fn kamaji_day(date: &str, version: &str, installations: u64) -> VersionFact<KamajiVersion> {
    version_day(day(date), kamaji(version), installations)
}

/// Active installations of a day that run one version of Kubernetes.
pub(super) fn kubernetes_day(date: &str, version: &str, installations: u64) -> VersionFact<KubernetesVersion> {
    version_day(day(date), kubernetes(version), installations)
}

/// Active installations of a day that run one version.
pub(super) fn version_day<V>(day: Day, version: V, installations: u64) -> VersionFact<V> {
    let control_planes = installations * CONTROL_PLANES;
    VersionFact { day, version, installations, control_planes, weight: control_planes }
}

/// Active installations of a window that run a pair of versions.
pub(super) fn pair(kamaji: &str, kubernetes: &str, installations: u64) -> PairFact {
    let (kamaji, kubernetes) = (self::kamaji(kamaji), self::kubernetes(kubernetes));
    let control_planes = installations * CONTROL_PLANES;
    PairFact { kamaji, kubernetes, installations, control_planes, weight: control_planes }
}

/// Active installations of a window of one version and size, without trouble.
pub(super) fn condition(version: &str, size: SizeClass, installations: u64) -> ConditionFact {
    let weight = installations * CONTROL_PLANES;
    ConditionFact { kamaji: kamaji(version), size, stuck: false, upgrading_long: false, installations, weight }
}

/// Installations that were received first, or last, on a day.
pub(super) fn seen(date: &str, standing: Standing, installations: u64) -> SeenFact {
    SeenFact { day: day(date), standing, installations }
}

/// Events of a day.
pub(super) fn event_day(date: &str, change: EventChange, minor: &str, events: u64) -> EventDayFact {
    EventDayFact { day: day(date), change, minor: self::minor(minor), events }
}

/// Events of the week of a date.
pub(super) fn week(date: &str, aspect: EventAspect, events: u64) -> EventWeekFact {
    EventWeekFact { week: day(date).monday(), aspect, events }
}

/// Any of a few versions of Kamaji, among them both edge forms and those without an order.
pub(super) fn any_kamaji() -> impl Strategy<Value = KamajiVersion> {
    let versions = ["v1.9.0", "v1.9.1", "v1.10.0-rc.1", "v1.10.0", "edge-26.7.4", "26.7.4-edge", "26.10.1-edge"];
    prop::sample::select([&versions[..], &["latest", "unknown", "other"]].concat()).prop_map(kamaji)
}

/// Any of a few versions of Kubernetes, among them those without an order.
pub(super) fn any_kubernetes() -> impl Strategy<Value = KubernetesVersion> {
    prop::sample::select(vec!["v1.9.5", "v1.10.0", "v1.10.1", "v1.31.0", "unknown", "other"]).prop_map(kubernetes)
}
