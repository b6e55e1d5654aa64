//! Installations by day and version, with the sums of those that are newer or older within a line.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::Serialize;
use utoipa::ToSchema;

use super::definitions::{By, Component, Line, Place, Versioned, newest_first};
use super::wording::{MIN_FOR_PERCENT, count, percent, plural};
use crate::backend::store::{Day, VersionFact};

/// The fewest active installations at or above a version on the day of its first sighting: one or two are a trial or a
/// forgery.
pub const FIRST_SIGHTING: u64 = 3;

/// The days that may stand for a day without rows: the ones before it, up to six, since a backend may be away.
const STAND_IN_DAYS: i32 = 6;

/// Installations and their control planes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InstallationSums {
    /// The number of installations.
    pub installations: u64,
    /// Their control planes, not capped.
    pub control_planes: u64,
    /// Their weight by control planes.
    pub weight: u64,
}

/// The days that have rows.
#[derive(Debug)]
pub struct VersionDays<V>(BTreeMap<Day, DayVersions<V>>);

/// The versions of a day.
#[derive(Debug)]
pub struct DayVersions<V> {
    /// Newest first within a line, lines one after the other; those without an order last.
    rows: Vec<VersionRow<V>>,
}

#[derive(Debug)]
struct VersionRow<V> {
    version: V,
    sums: InstallationSums,
    /// Those of this and of all rows above it, of the same line.
    at_or_above: InstallationSums,
}

impl InstallationSums {
    /// Returns the number of installations, or their weight.
    pub const fn by(self, by: By) -> u64 {
        by.of(self.installations, self.weight)
    }

    /// Formats these as a part of `base`, which `noun` and `of_what` describe: `38 % of 1,200 installations of a line`.
    pub fn of(self, base: Self, by: By, noun: &str, of_what: &str) -> String {
        let whole = base.installations;
        format!("{} of {} {noun}{}{of_what}", self.part_of(base, by), count(whole), plural(whole))
    }

    /// Formats these as a percentage of `base`; as a number if it has under 20 installations, or if these are none.
    fn part_of(self, base: Self, by: By) -> String {
        match (base.has_percentages(), self.by(by)) {
            (true, 0) => "0".to_owned(),
            (true, part) => percent(part, base.by(by)),
            (false, _) => count(self.installations),
        }
    }

    /// Returns whether parts of these are told as percentages, and not as numbers of installations.
    pub const fn has_percentages(self) -> bool {
        self.installations >= MIN_FOR_PERCENT
    }

    /// Returns the beginning of a sentence that tells parts of these.
    pub const fn prefix(self, by: By) -> &'static str {
        match by {
            By::ControlPlanes if self.has_percentages() => "By control planes: ",
            By::ControlPlanes | By::Installations => "",
        }
    }

    /// Formats these as a part of `base` without the base, such as `38 %`; as `3 of 12` if it has under 20
    /// installations.
    pub fn share_of(self, base: Self, by: By) -> String {
        let part = self.part_of(base, by);
        let is_percentage = base.has_percentages() && self.by(by) > 0;
        if is_percentage { part } else { format!("{part} of {}", count(base.installations)) }
    }

    /// Returns these without `others`, which are among them.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self {
            installations: self.installations.saturating_sub(others.installations),
            control_planes: self.control_planes.saturating_sub(others.control_planes),
            weight: self.weight.saturating_sub(others.weight),
        }
    }
}

impl AddAssign for InstallationSums {
    fn add_assign(&mut self, other: Self) {
        self.installations += other.installations;
        self.control_planes += other.control_planes;
        self.weight += other.weight;
    }
}

impl<V: Versioned> VersionDays<V> {
    /// Sorts rows by day and version, and adds up those that are alike.
    pub fn of(rows: &[VersionFact<V>]) -> Self {
        let mut days = BTreeMap::<Day, BTreeMap<V, InstallationSums>>::new();
        for row in rows.iter().filter(|row| row.installations > 0) {
            let VersionFact { day, version, installations, control_planes, weight } = *row;
            let sums = InstallationSums { installations, control_planes, weight };
            *days.entry(day).or_default().entry(version).or_default() += sums;
        }
        Self(days.into_iter().map(|(day, versions)| (day, DayVersions::of(versions))).collect())
    }

    /// Returns a day; `None` if it has no rows.
    pub fn day(&self, day: Day) -> Option<&DayVersions<V>> {
        self.0.get(&day)
    }

    /// Returns the days from `first` to `last` that have rows, in their order.
    pub fn range(&self, first: Day, last: Day) -> impl Iterator<Item = (Day, &DayVersions<V>)> {
        // A range that ends before it begins is none, where the map's own would panic.
        self.0
            .range(first.min(last)..=last)
            .map(|(day, versions)| (*day, versions))
            .filter(move |(day, _)| *day >= first)
    }

    /// Returns a day or, if it has no rows, the last one of the six before it that has.
    pub fn day_or_before(&self, day: Day) -> Option<(Day, &DayVersions<V>)> {
        self.range(day.minus(STAND_IN_DAYS), day).last()
    }
}

impl<V: Versioned> DayVersions<V> {
    fn of(versions: BTreeMap<V, InstallationSums>) -> Self {
        let mut sorted: Vec<_> = versions.into_iter().collect();
        sorted.sort_by(|(left, _), (right, _)| newest_first(left.place(), right.place()).then(left.cmp(right)));
        let mut rows = Vec::<VersionRow<V>>::with_capacity(sorted.len());
        for (version, sums) in sorted {
            let above = rows.last().filter(|above| line(above.version) == line(version));
            let mut at_or_above = above.map(|above| above.at_or_above).unwrap_or_default();
            at_or_above += sums;
            rows.push(VersionRow { version, sums, at_or_above });
        }
        Self { rows }
    }

    /// Returns the versions and their installations, newest first.
    pub fn versions(&self) -> impl Iterator<Item = (V, InstallationSums)> {
        self.rows.iter().map(|row| (row.version, row.sums))
    }

    /// Returns the installations that run a version.
    pub fn running(&self, version: V) -> InstallationSums {
        self.rows.iter().find(|row| row.version == version).map(|row| row.sums).unwrap_or_default()
    }

    /// Returns all installations, those of an unknown version included.
    pub fn all(&self) -> InstallationSums {
        self.rows.iter().fold(InstallationSums::default(), |mut sum, row| {
            sum += row.sums;
            sum
        })
    }

    /// Returns the line that most installations run, by the unit; the stable one at a tie.
    pub fn largest_line(&self, by: By) -> Line {
        // The last of equal ones is found.
        let lines = [Line::Edge, Line::Stable].into_iter();
        lines.max_by_key(|line| self.line(*line).by(by)).unwrap_or(Line::Stable)
    }

    /// Returns the installations of a line.
    pub fn line(&self, line: Line) -> InstallationSums {
        self.down_to(line, |place| place.0 <= line)
    }

    /// Returns the installations at or above a place in its line.
    pub fn at_or_above(&self, place: Place) -> InstallationSums {
        self.down_to(place.0, |other| newest_first(Some(other), Some(place)) != Ordering::Greater)
    }

    /// Returns the installations at or below a place in its line.
    pub fn at_or_below(&self, place: Place) -> InstallationSums {
        let above = self.down_to(place.0, |other| newest_first(Some(other), Some(place)) == Ordering::Less);
        self.line(place.0).without(above)
    }

    /// Returns the installations of a line down to the last row whose place `is_within`; so are those of all rows above
    /// it.
    fn down_to(&self, line: Line, is_within: impl Fn(Place) -> bool) -> InstallationSums {
        let end = self.rows.partition_point(|row| row.version.place().is_some_and(&is_within));
        let last = end.checked_sub(1).and_then(|last| self.rows.get(last));
        last.filter(|row| self::line(row.version) == Some(line)).map(|row| row.at_or_above).unwrap_or_default()
    }
}

/// The name of a line, as rows have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineName {
    /// Releases.
    Stable,
    /// Edge releases of Kamaji.
    Edge,
}

impl LineName {
    /// Returns the name of the line of a version; `None` if it is in no order.
    pub fn of(version: impl Versioned) -> Option<Self> {
        line(version).map(|line| match line {
            Line::Stable => Self::Stable,
            Line::Edge => Self::Edge,
        })
    }
}

/// Returns versions newest first within a line, lines one after the other; those without an order last.
pub fn newest_first_of<V: Versioned>(versions: impl IntoIterator<Item = V>) -> Vec<V> {
    let mut versions: Vec<_> = versions.into_iter().collect();
    versions.sort_by(|left, right| newest_first(left.place(), right.place()).then(left.cmp(right)));
    versions
}

/// Returns the line of a version.
pub fn line(version: impl Versioned) -> Option<Line> {
    version.place().map(|(line, _)| line)
}

/// Returns the name of a component, as sentences have it.
pub const fn component_name(component: Component) -> &'static str {
    match component {
        Component::Kamaji => "Kamaji",
        Component::Kubernetes => "Kubernetes",
    }
}

/// Returns the line as the end of a noun, where there is more than one.
pub const fn line_of(component: Component, line: Line) -> &'static str {
    match (component, line) {
        (Component::Kubernetes, _) => "",
        (Component::Kamaji, Line::Stable) => " of the stable line",
        (Component::Kamaji, Line::Edge) => " of the edge line",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::definitions::is_at_or_below;
    use super::super::test_facts::{any_kamaji, day, kamaji, kamaji_day, version_day};
    use super::*;
    use crate::catalog::KamajiVersion;

    fn place(version: &str) -> Place {
        kamaji(version).place().unwrap()
    }

    #[test]
    fn sums_at_or_above_and_below_stay_within_a_line() {
        let rows = [
            kamaji_day("2026-11-01", "v1.9.0", 1),
            kamaji_day("2026-11-01", "v1.10.0", 2),
            kamaji_day("2026-11-01", "edge-26.7.4", 4),
            kamaji_day("2026-11-01", "26.7.4-edge", 8),
            kamaji_day("2026-11-01", "latest", 16),
            kamaji_day("2026-11-01", "unknown", 32),
        ];
        let days = VersionDays::of(&rows);
        let versions = days.day(day("2026-11-01")).unwrap();
        let above = |version| versions.at_or_above(place(version)).installations;
        let below = |version| versions.at_or_below(place(version)).installations;
        assert_eq!(["v1.8.0", "v1.9.0", "v1.9.9", "v1.10.0", "v1.11.0"].map(above), [3, 3, 2, 2, 0]);
        assert_eq!(["v1.8.0", "v1.9.0", "v1.9.9", "v1.10.0", "v1.11.0"].map(below), [0, 1, 1, 3, 3]);
        assert_eq!(["edge-26.7.4", "edge-26.7.5"].map(above), [12, 0]);
        assert_eq!(["26.7.4-edge", "edge-26.7.3"].map(below), [12, 0]);
        assert_eq!((versions.line(Line::Stable).installations, versions.all().installations), (3, 63));
    }

    #[test]
    fn a_day_without_rows_is_stood_in_for_by_one_of_the_six_before() {
        let days = VersionDays::of(&[kamaji_day("2026-11-01", "v1.9.0", 1), kamaji_day("2026-11-09", "v1.9.0", 2)]);
        let found = |date| days.day_or_before(day(date)).map(|(day, _)| day);
        assert_eq!(["2026-11-01", "2026-11-07"].map(found), [Some(day("2026-11-01")); 2]);
        assert_eq!((found("2026-11-08"), found("2026-11-09")), (None, Some(day("2026-11-09"))));
        assert_eq!(days.range(day("2026-11-09"), day("2026-11-01")).count(), 0);
    }

    #[test]
    fn under_twenty_installations_are_counts_also_by_control_planes() {
        let sums = |installations, weight| InstallationSums { installations, control_planes: weight, weight };
        let (few, enough) = (sums(19, 1_000), sums(20, 1_000));
        assert_eq!(sums(3, 900).of(few, By::ControlPlanes, "installation", ""), "3 of 19 installations");
        assert_eq!(
            sums(5, 900).of(enough, By::Installations, "installation", " here"),
            "25 % of 20 installations here"
        );
        assert_eq!(sums(5, 900).of(enough, By::ControlPlanes, "active one", ""), "90 % of 20 active ones");
        assert_eq!((few.prefix(By::ControlPlanes), enough.prefix(By::ControlPlanes)), ("", "By control planes: "));
        assert_eq!(enough.prefix(By::Installations), "");
        assert_eq!(sums(1, 1).share_of(sums(24_000_000, 24_000_000), By::Installations), "< 0.1 %");
        assert_eq!(sums(0, 0).of(sums(1, 1), By::Installations, "installation", ""), "0 of 1 installation");
    }

    proptest! {
        #[test]
        fn cumulative_sums_are_those_of_all_rows(
            rows in prop::collection::vec((any_kamaji(), 0_u64..5), 0..12),
            version in any_kamaji(),
        ) {
            let first = day("2026-11-01");
            let facts: Vec<_> = rows.iter().map(|(version, number)| version_day(first, *version, *number)).collect();
            let days = VersionDays::of(&facts);
            let sum = |is_in: &dyn Fn(KamajiVersion) -> bool| -> u64 {
                rows.iter().filter(|(version, _)| is_in(*version)).map(|(_, number)| number).sum()
            };
            let found = |sums: &dyn Fn(&DayVersions<KamajiVersion>) -> InstallationSums| {
                days.day(first).map_or(0, |day| sums(day).installations)
            };
            prop_assert_eq!(found(&|day| day.all()), sum(&|_| true));
            prop_assert_eq!(found(&|day| day.running(version)), sum(&|other| other == version));
            if let Some(place) = version.place() {
                let is_below = |other: KamajiVersion| is_at_or_below(other.place(), place);
                let is_above = |other: KamajiVersion| {
                    other.place().is_some_and(|other| is_at_or_below(Some(place), other))
                };
                prop_assert_eq!(found(&|day| day.at_or_below(place)), sum(&is_below));
                prop_assert_eq!(found(&|day| day.at_or_above(place)), sum(&is_above));
                prop_assert_eq!(found(&|day| day.line(place.0)), sum(&|other| line(other) == Some(place.0)));
            }
        }
    }
}
