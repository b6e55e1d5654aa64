//! Rare versions, which are shown as `other`: one that a few installations report is a private build or a forgery, or
//! tells who somebody is.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use super::definitions::Versioned;
use crate::backend::store::fold::{DimensionPart, EventAspect};
use crate::backend::store::{AgentVersion, Day, Dimension, Facts, VersionFact};
use crate::catalog::{BY_VERSION, KamajiMinor, KamajiVersion, KubernetesMinor, KubernetesVersion};

/// A version, or a minor version, that may be masked.
pub trait Maskable: Versioned + Hash {
    /// The one that stands for masked ones.
    const OTHER: Self;
}

/// An exact version, which has a minor version.
pub trait ExactVersion: Maskable {
    /// The minor version.
    type Minor: Maskable;

    /// Returns the minor version.
    fn minor(self) -> Self::Minor;
}

/// The versions that keep their names.
struct KeptVersions {
    kamaji: BTreeSet<KamajiVersion>,
    kamaji_minors: BTreeSet<KamajiMinor>,
    kubernetes: BTreeSet<KubernetesVersion>,
    agents: BTreeSet<String>,
    tenant_minors: BTreeSet<KubernetesMinor>,
}

/// Largest sums of installations, or of events, by version.
struct LargestSums<V>(HashMap<V, u64>);

/// Masks the exact versions that fewer than `min` installations report.
///
/// A version keeps its name if at least `min` installations run it on one of the days of the version days, in the
/// pairs, or in the conditions; a minor of Kamaji likewise. Versions of events keep their names by the same numbers, so
/// that without such facts each is masked. A tenant minor keeps its name by at least `min` events, or installations
/// whose extended gauges tell it. `latest` and `unknown` tell nothing, and stay. Rows that become alike are added up;
/// of a gauge's values this counts an installation once for each masked value. 0 masks nothing.
pub fn masked(facts: &Facts, min: u64) -> Cow<'_, Facts> {
    if min == 0 {
        return Cow::Borrowed(facts);
    }
    let (kept, mut facts) = (KeptVersions::of(facts, min), facts.clone());
    facts.kamaji_days = mask_days(&facts.kamaji_days, &kept.kamaji);
    facts.kubernetes_days = mask_days(&facts.kubernetes_days, &kept.kubernetes);
    mask_agents(&mut facts, &kept.agents);
    mask_windows(&mut facts, &kept, min);
    mask_events(&mut facts, &kept);
    Cow::Owned(facts)
}

/// Returns the versions that at least `min` installations report on one of the days. `latest`, `unknown` and `other`
/// are among them.
pub fn kept_versions<V: Maskable>(rows: &[VersionFact<V>], min: u64) -> BTreeSet<V> {
    let mut largest = LargestSums::new();
    largest.add_days(rows);
    largest.kept(min).chain(rows.iter().map(|row| row.version).filter(|version| version.place().is_none())).collect()
}

/// Returns the versions that at least `min` installations report over all rows. `latest`, `unknown` and `other` are
/// among them.
pub fn kept_by_sums<V: Maskable>(rows: impl Iterator<Item = (V, u64)>, min: u64) -> BTreeSet<V> {
    let mut sums = LargestSums::new();
    sums.add_sums(rows);
    sums.0
        .into_iter()
        .filter(|(version, sum)| *sum >= min || version.place().is_none())
        .map(|(version, _)| version)
        .collect()
}

/// Returns the rows with the versions that are not kept as `other`, in the same order of the days.
pub fn mask_days<V: Maskable>(rows: &[VersionFact<V>], kept: &BTreeSet<V>) -> Vec<VersionFact<V>> {
    let masked = rows.iter().map(|row| VersionFact { version: mask(row.version, kept), ..row.clone() });
    merged_days(masked)
}

/// Returns the rows by minor version, in the same order of the days.
pub fn minor_days<V: ExactVersion>(rows: &[VersionFact<V>]) -> Vec<VersionFact<V::Minor>> {
    merged_days(rows.iter().map(|row| {
        let VersionFact { day, version, installations, control_planes, weight } = *row;
        VersionFact { day, version: version.minor(), installations, control_planes, weight }
    }))
}

/// Returns a version that is kept or has no order, and `other` in place of any other.
pub fn mask<V: Maskable>(version: V, kept: &BTreeSet<V>) -> V {
    if version.place().is_none() || kept.contains(&version) { version } else { V::OTHER }
}

fn merged_days<V: Maskable>(rows: impl Iterator<Item = VersionFact<V>>) -> Vec<VersionFact<V>> {
    merge(
        rows,
        |row| (row.day, row.version),
        |sum, row| {
            sum.installations += row.installations;
            sum.control_planes += row.control_planes;
            sum.weight += row.weight;
        },
    )
}

/// Adds up the rows of one key, in the order in which the keys occur.
fn merge<R, K: Eq + Hash>(
    rows: impl IntoIterator<Item = R>,
    key: impl Fn(&R) -> K,
    add: impl Fn(&mut R, &R),
) -> Vec<R> {
    let (mut merged, mut positions) = (Vec::<R>::new(), HashMap::new());
    for row in rows {
        let position = *positions.entry(key(&row)).or_insert(merged.len());
        match merged.get_mut(position) {
            Some(sum) => add(sum, &row),
            None => merged.push(row),
        }
    }
    merged
}

impl<V: Maskable> LargestSums<V> {
    fn new() -> Self {
        Self(HashMap::new())
    }

    fn add_days(&mut self, rows: &[VersionFact<V>]) {
        let mut sums = HashMap::<(Day, V), u64>::new();
        for row in rows {
            *sums.entry((row.day, row.version)).or_default() += row.installations;
        }
        self.raise(sums.into_iter().map(|((_, version), sum)| (version, sum)));
    }

    /// Adds up the numbers of each version, and raises the largest sums to them.
    fn add_sums(&mut self, rows: impl Iterator<Item = (V, u64)>) {
        let mut sums = HashMap::<V, u64>::new();
        for (version, number) in rows {
            *sums.entry(version).or_default() += number;
        }
        self.raise(sums.into_iter());
    }

    fn raise(&mut self, sums: impl Iterator<Item = (V, u64)>) {
        for (version, sum) in sums {
            let largest = self.0.entry(version).or_default();
            *largest = (*largest).max(sum);
        }
    }

    fn kept(self, min: u64) -> impl Iterator<Item = V> {
        self.0.into_iter().filter_map(move |(version, sum)| (sum >= min).then_some(version))
    }
}

impl KeptVersions {
    fn of(facts: &Facts, min: u64) -> Self {
        let Facts { kamaji_days, kubernetes_days, pairs, conditions, .. } = facts;
        let (mut kamaji, mut kamaji_minors, mut kubernetes) =
            (LargestSums::new(), LargestSums::new(), LargestSums::new());
        kamaji.add_days(kamaji_days);
        kamaji.add_sums(pairs.iter().map(|pair| (pair.kamaji, pair.installations)));
        kamaji.add_sums(conditions.iter().map(|row| (row.kamaji, row.installations)));
        kamaji_minors.add_days(&minor_days(kamaji_days));
        kamaji_minors.add_sums(pairs.iter().map(|pair| (pair.kamaji.to_minor(), pair.installations)));
        kamaji_minors.add_sums(conditions.iter().map(|row| (row.kamaji.to_minor(), row.installations)));
        kubernetes.add_days(kubernetes_days);
        kubernetes.add_sums(pairs.iter().map(|pair| (pair.kubernetes, pair.installations)));
        Self {
            kamaji: kamaji.kept(min).collect(),
            kamaji_minors: kamaji_minors.kept(min).collect(),
            kubernetes: kubernetes.kept(min).collect(),
            agents: kept_agents(facts, min),
            tenant_minors: kept_tenant_minors(facts, min),
        }
    }
}

fn kept_agents(facts: &Facts, min: u64) -> BTreeSet<String> {
    let rows = merge(
        facts.agent_days.iter().cloned(),
        |row| (row.day, row.version.clone()),
        |sum, row| sum.installations += row.installations,
    );
    rows.into_iter().filter(|row| row.installations >= min).map(|row| row.version.to_string()).collect()
}

/// Returns the minors that enough events tell: as created and reached, as the ends of updates, or by day. These sums
/// count events several times, and are not added up.
fn kept_tenant_minors(facts: &Facts, min: u64) -> BTreeSet<KubernetesMinor> {
    let mut largest = LargestSums::new();
    largest.add_sums(facts.event_days.iter().map(|row| (row.minor, row.events)));
    largest.add_sums(facts.event_weeks.iter().filter_map(|row| match row.aspect {
        EventAspect::Created { minor, .. } | EventAspect::Reached { minor, .. } => Some((minor, row.events)),
        _ => None,
    }));
    largest.add_sums(facts.event_weeks.iter().flat_map(|row| match row.aspect {
        EventAspect::Created { minor, .. } => vec![(minor, row.events)],
        EventAspect::MinorUpdate { from, to } => vec![(from, row.events), (to, row.events)],
        _ => Vec::new(),
    }));
    largest.kept(min).collect()
}

/// Returns the tenant minor of a point of the gauge that tells them.
pub fn tenant_minor(dimension: &Dimension) -> Option<KubernetesMinor> {
    if dimension.metric().name != BY_VERSION.name {
        return None;
    }
    Some(dimension.value().parse().unwrap_or(KubernetesMinor::Other))
}

fn mask_agents(facts: &mut Facts, kept: &BTreeSet<String>) {
    let masked = std::mem::take(&mut facts.agent_days).into_iter().map(|mut row| {
        if !kept.contains(&row.version.to_string()) {
            row.version = AgentVersion::other();
        }
        row
    });
    facts.agent_days = merge(
        masked,
        |row| (row.day, row.version.clone()),
        |sum, row| {
            sum.installations += row.installations;
            sum.control_planes += row.control_planes;
            sum.weight += row.weight;
        },
    );
}

fn mask_windows(facts: &mut Facts, kept: &KeptVersions, min: u64) {
    for pair in &mut facts.pairs {
        pair.kamaji = mask(pair.kamaji, &kept.kamaji);
        pair.kubernetes = mask(pair.kubernetes, &kept.kubernetes);
    }
    facts.pairs = merge(
        std::mem::take(&mut facts.pairs),
        |pair| (pair.kamaji, pair.kubernetes),
        |sum, pair| {
            sum.installations += pair.installations;
            sum.control_planes += pair.control_planes;
            sum.weight += pair.weight;
        },
    );
    for row in &mut facts.conditions {
        row.kamaji = mask(row.kamaji, &kept.kamaji);
    }
    facts.conditions = merge(
        std::mem::take(&mut facts.conditions),
        |row| (row.kamaji, row.size, row.stuck, row.upgrading_long),
        |sum, row| {
            sum.installations += row.installations;
            sum.weight += row.weight;
        },
    );
    for row in &mut facts.dimensions {
        if let DimensionPart::Value(value) = &mut row.part
            && tenant_minor(value).is_some()
            && row.installations < min
        {
            *value = Dimension::other(value.metric());
        }
    }
    facts.dimensions = merge(
        std::mem::take(&mut facts.dimensions),
        |row| row.part.clone(),
        |sum, row| {
            sum.installations += row.installations;
            sum.count += row.count;
        },
    );
}

fn mask_events(facts: &mut Facts, kept: &KeptVersions) {
    for row in &mut facts.event_days {
        row.minor = mask(row.minor, &kept.tenant_minors);
    }
    facts.event_days = merge(
        std::mem::take(&mut facts.event_days),
        |row| (row.day, row.change, row.minor),
        |sum, row| sum.events += row.events,
    );
    for row in &mut facts.event_weeks {
        row.aspect = mask_aspect(row.aspect, kept);
    }
    facts.event_weeks = merge(
        std::mem::take(&mut facts.event_weeks),
        |row| (row.week, row.aspect),
        |sum, row| sum.events += row.events,
    );
}

fn mask_aspect(aspect: EventAspect, kept: &KeptVersions) -> EventAspect {
    let kamaji_minor = |minor| mask(minor, &kept.kamaji_minors);
    let tenant_minor = |minor| mask(minor, &kept.tenant_minors);
    match aspect {
        EventAspect::Created { kamaji, minor } => {
            EventAspect::Created { kamaji: kamaji_minor(kamaji), minor: tenant_minor(minor) }
        }
        EventAspect::Reached { kamaji, minor } => {
            EventAspect::Reached { kamaji: kamaji_minor(kamaji), minor: tenant_minor(minor) }
        }
        EventAspect::MinorUpdate { from, to } => {
            EventAspect::MinorUpdate { from: tenant_minor(from), to: tenant_minor(to) }
        }
        EventAspect::PatchUpdate { kamaji, is_downgrade } => {
            EventAspect::PatchUpdate { kamaji: mask(kamaji, &kept.kamaji), is_downgrade }
        }
        EventAspect::Deletion { kamaji, status } => {
            EventAspect::Deletion { kamaji: mask(kamaji, &kept.kamaji), status }
        }
        EventAspect::ClusterApi(_) | EventAspect::NetworkProfile(_) => aspect,
    }
}

impl Maskable for KamajiVersion {
    const OTHER: Self = Self::Other;
}

impl Maskable for KamajiMinor {
    const OTHER: Self = Self::Other;
}

impl Maskable for KubernetesVersion {
    const OTHER: Self = Self::Other;
}

impl Maskable for KubernetesMinor {
    const OTHER: Self = Self::Other;
}

impl ExactVersion for KamajiVersion {
    type Minor = KamajiMinor;

    fn minor(self) -> KamajiMinor {
        self.to_minor()
    }
}

impl ExactVersion for KubernetesVersion {
    type Minor = KubernetesMinor;

    fn minor(self) -> KubernetesMinor {
        self.to_minor()
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_facts::{condition, day, kamaji, kamaji_day, kubernetes, minor, pair, week};
    use super::*;
    use crate::backend::store::fold::SizeClass;
    use crate::backend::store::{DimensionFact, EventWeekFact};
    use crate::catalog::Status;

    #[test]
    fn a_version_keeps_its_name_by_its_largest_number_on_any_day() {
        let kamaji_days = vec![
            kamaji_day("2026-11-01", "v1.9.0", 3),
            kamaji_day("2026-11-01", "v1.10.0", 2),
            kamaji_day("2026-11-01", "latest", 1),
            kamaji_day("2026-11-02", "v1.9.0", 1),
            kamaji_day("2026-11-02", "unknown", 1),
            kamaji_day("2026-11-02", "edge-26.7.4", 2),
            kamaji_day("2026-11-02", "v1.10.0", 1),
        ];
        let facts = Facts { kamaji_days, ..Facts::default() };
        let masked = masked(&facts, 3);
        let shown: Vec<_> = masked.kamaji_days.iter().map(|row| (row.version.to_string(), row.installations)).collect();
        let expected = [("v1.9.0", 3), ("other", 2), ("latest", 1), ("v1.9.0", 1), ("unknown", 1), ("other", 3)];
        assert_eq!(shown, expected.map(|(version, number)| (version.to_owned(), number)));
        assert_eq!(masked.kamaji_days.iter().map(|row| row.control_planes).sum::<u64>(), 11 * 10);
    }

    #[test]
    fn pairs_are_added_up_over_the_other_component_before_they_are_masked() {
        let pairs = vec![
            pair("v1.0.0", "v1.31.1", 2),
            pair("v1.0.0", "v1.32.1", 2),
            pair("v1.1.0", "v1.33.1", 1),
            pair("v1.1.1", "v1.33.2", 1),
        ];
        let facts = Facts { pairs, ..Facts::default() };
        let masked = masked(&facts, 3);
        let (named, other) = (kamaji("v1.0.0"), KamajiVersion::Other);
        let shown: Vec<_> = masked.pairs.iter().map(|row| (row.kamaji, row.kubernetes, row.installations)).collect();
        assert_eq!(shown, [(named, KubernetesVersion::Other, 4), (other, KubernetesVersion::Other, 2)]);
    }

    #[test]
    fn versions_of_events_keep_their_names_by_installations_and_tenant_minors_by_events() {
        let conditions = vec![condition("v1.0.0", SizeClass::One, 2), condition("v1.0.0", SizeClass::UpTo5, 1)];
        let deletion = |version| EventAspect::Deletion { kamaji: kamaji(version), status: Status::Ready };
        let created =
            |version, tenant| EventAspect::Created { kamaji: kamaji(version).to_minor(), minor: minor(tenant) };
        let event_weeks = vec![
            week("2026-11-02", deletion("v1.0.0"), 1),
            week("2026-11-02", deletion("v1.9.0"), 9),
            week("2026-11-02", created("v1.0.5", "v1.31"), 2),
            week("2026-11-02", created("v1.9.0", "v1.32"), 2),
            week("2026-11-09", created("v1.9.0", "v1.31"), 1),
            week("2026-11-09", EventAspect::MinorUpdate { from: minor("v1.30"), to: minor("v1.31") }, 2),
        ];
        let facts = Facts { conditions, event_weeks, ..Facts::default() };
        let expected = vec![
            week("2026-11-02", deletion("v1.0.0"), 1),
            week("2026-11-02", EventAspect::Deletion { kamaji: KamajiVersion::Other, status: Status::Ready }, 9),
            week("2026-11-02", created("v1.0.0", "v1.31"), 2),
            week("2026-11-02", EventAspect::Created { kamaji: KamajiMinor::Other, minor: KubernetesMinor::Other }, 2),
            week("2026-11-09", EventAspect::Created { kamaji: KamajiMinor::Other, minor: minor("v1.31") }, 1),
            week("2026-11-09", EventAspect::MinorUpdate { from: KubernetesMinor::Other, to: minor("v1.31") }, 2),
        ];
        assert_eq!(masked(&facts, 3).event_weeks, expected);
    }

    #[test]
    fn a_rare_value_of_the_gauge_of_tenant_minors_is_masked_and_that_of_drivers_stays() {
        let point = |metric, value: &str, installations| {
            let part = DimensionPart::Value(Dimension::new(metric, value).unwrap());
            DimensionFact { part, installations, count: 10 }
        };
        let driver = || point(&crate::catalog::DATASTORE_COUNT, "NATS", 1);
        let rare = [point(&BY_VERSION, "v1.30", 1), point(&BY_VERSION, "v1.29", 1)];
        let dimensions = rare.into_iter().chain([point(&BY_VERSION, "v1.31", 3), driver()]).collect();
        let facts = Facts { dimensions, ..Facts::default() };
        let part = DimensionPart::Value(Dimension::other(&BY_VERSION));
        let other = DimensionFact { part, installations: 2, count: 20 };
        assert_eq!(masked(&facts, 3).dimensions, [other, point(&BY_VERSION, "v1.31", 3), driver()]);
    }

    #[test]
    fn a_minimum_of_zero_masks_nothing() {
        let event_weeks: Vec<EventWeekFact> =
            vec![week("2026-11-02", EventAspect::PatchUpdate { kamaji: kamaji("v1.0.0"), is_downgrade: true }, 1)];
        let facts = Facts { pairs: vec![pair("v1.0.0", "v1.31.1", 1)], event_weeks, ..Facts::default() };
        assert_eq!(*masked(&facts, 0), facts);
    }

    #[test]
    fn days_by_minor_are_sums_over_both_edge_forms() {
        let rows = [
            kamaji_day("2026-11-01", "edge-26.7.4", 2),
            kamaji_day("2026-11-01", "26.7.5-edge", 3),
            kamaji_day("2026-11-01", "v1.9.3", 1),
        ];
        let minors: Vec<_> =
            minor_days(&rows).into_iter().map(|row| (row.day, row.version.to_string(), row.installations)).collect();
        let first = day("2026-11-01");
        assert_eq!(minors, [(first, "26.7".to_owned(), 5), (first, "v1.9".to_owned(), 1)]);
        let kept: Vec<_> = kept_versions(&minor_days(&rows), 3).into_iter().map(|minor| minor.to_string()).collect();
        assert_eq!(kept, ["26.7"]);
        assert_eq!(kubernetes("v1.31.0-rc.1").minor(), minor("v1.31"));
    }
}
