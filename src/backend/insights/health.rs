//! The question of which release to fix.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{Answer, Asked, Question, source_name};
use super::definitions::{Versioned, Window, newest_first};
use super::intervals::{Difference, Proportion};
use super::masking::masked;
use super::weeks::Weeks;
use super::wording::{
    MIN_FOR_PERCENT, count, fraction, is_or_are, percent_range, plural, points_between, share_with_base,
};
use crate::backend::store::fold::{EventAspect, SizeClass};
use crate::backend::store::{ConditionFact, Day, Facts, FactsQuery, SourceKind};
use crate::catalog::{KamajiVersion, Status};

/// The fewest installations of each of two versions that are compared. Newcombe's intervals of fewer are wider than any
/// difference that a release makes.
pub const MIN_COMPARED: u64 = 20;

/// The release to fix: the installations with trouble by version of Kamaji, each against the version before it.
///
/// Counted are the installations that are active in the 7 days up to the last complete day, by the exact version of Kamaji of
/// their last report in these days: those that are stuck, and their share with Wilson's interval of 95 %. An installation
/// is stuck if a control plane was not ready in its last report of the 7 days, and in its last report of the day before
/// that one. It is upgrading for long if likewise a control plane was upgrading.
///
/// A version is compared with the one before it: of the older versions of its line that 20 or more of these
/// installations run, the newest one. The difference is its share less that of the one before, with Newcombe's interval
/// of 95 % (his method 10). It is `worse` (or `better`) if the interval is above (or below) zero, and otherwise
/// `no_difference_shown`; it is `too_few` if it has fewer than 20, or none of the older versions has 20. The oldest
/// version of a line and versions without an order have no verdict.
///
/// Likewise by size, since larger installations have trouble sooner, and by version within a size, where the version
/// before is one that 20 or more installations of that size run. From events of the complete weeks: deletions by the
/// last status before, and changes of the version within its minor, each by version of Kamaji. These are events, not
/// installations: they have no interval and no verdict.
///
/// Kamaji's built-in telemetry can't answer this: it counts control planes that do not work as running.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    /// The window of the events. Installations are those of 7 days.
    pub window: Window,
}

/// The tables of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthTable {
    /// Stuck installations by version of Kamaji.
    Version,
    /// Stuck installations by size.
    Size,
    /// Stuck installations by size and version of Kamaji.
    SizeAndVersion,
    /// Installations that upgrade for long, by version of Kamaji.
    Upgrading,
    /// Events: deletions by version of Kamaji and last status.
    Deletion,
    /// Events: changes within a minor version, by version of Kamaji and direction.
    PatchUpdate,
}

/// The comparison of a version with the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The share is higher: the interval of the difference is above zero.
    Worse,
    /// The share is lower: the interval of the difference is below zero.
    Better,
    /// The interval of the difference holds zero.
    NoDifferenceShown,
    /// One of the two versions has fewer than 20 installations.
    TooFew,
}

/// The direction of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To a newer version.
    Up,
    /// To an older version.
    Down,
}

/// A row of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct HealthRow {
    /// The table.
    pub table: HealthTable,
    /// The exact version of Kamaji. Newest first, the stable line first.
    pub kamaji_version: Option<String>,
    /// The class of sizes, in control planes.
    pub size: Option<&'static str>,
    /// The last status before the deletion.
    pub status: Option<&'static str>,
    /// The direction of the update.
    pub direction: Option<Direction>,
    /// The number of installations with trouble, or of events.
    pub count: u64,
    /// The number of active installations, or of all events of the version in the table.
    pub base: u64,
    /// `count` of `base`, from 0 to 1.
    pub share: Option<f64>,
    /// The lower end of Wilson's interval of 95 % of the share.
    pub share_low: Option<f64>,
    /// The upper end.
    pub share_high: Option<f64>,
    /// The version before, with which it is compared.
    pub compared_with: Option<String>,
    /// The number of installations of the version before with trouble.
    pub compared_count: Option<u64>,
    /// The number of installations of the version before.
    pub compared_base: Option<u64>,
    /// The share less that of the version before, from -1 to 1.
    pub difference: Option<f64>,
    /// The lower end of Newcombe's interval of 95 % of the difference.
    pub difference_low: Option<f64>,
    /// The upper end.
    pub difference_high: Option<f64>,
    /// The verdict.
    pub verdict: Option<Verdict>,
}

/// A version with its share of trouble, and the version before it.
#[derive(Debug, Clone, Copy)]
struct VersionHealth {
    version: KamajiVersion,
    trouble: Proportion,
    before: Option<(KamajiVersion, Proportion, Difference)>,
    verdict: Option<Verdict>,
}

/// Installations with trouble out of all, by version.
type ByVersion = BTreeMap<KamajiVersion, Proportion>;

impl Question for Health {
    type Row = HealthRow;

    fn queries(&self, through: Day) -> Vec<FactsQuery> {
        let query = FactsQuery::new(SourceKind::Agent, through);
        let (conditions, event_weeks) = (Window::Days7.first_day(through), Weeks::of(self.window, through).first);
        // The days name the versions of events, which installations may have left before the 7 days.
        vec![FactsQuery {
            conditions: Some(conditions),
            kamaji_days: Some(event_weeks),
            event_weeks: Some(event_weeks),
            ..query
        }]
    }

    fn answer(&self, facts: &[Facts], asked: Asked) -> Answer<HealthRow> {
        let none = Facts::default();
        let facts = masked(facts.first().unwrap_or(&none), asked.min_installations);
        let weeks = Weeks::of(self.window, asked.through());
        let versions = compared(&tally(&facts.conditions, |fact| fact.stuck, |fact| fact.kamaji));
        let mut rows: Vec<_> = versions.iter().map(|version| version.row(HealthTable::Version)).collect();
        rows.extend(by_size(&facts.conditions));
        rows.extend(by_size_and_version(&facts.conditions));
        let upgrading = compared(&tally(&facts.conditions, |fact| fact.upgrading_long, |fact| fact.kamaji));
        rows.extend(upgrading.iter().map(|version| version.row(HealthTable::Upgrading)));
        rows.extend(deletions(&facts, weeks));
        rows.extend(patch_updates(&facts, weeks));
        Answer {
            generated_at: asked.at,
            data_through: asked.through().date(),
            source: source_name(SourceKind::Agent),
            window: Some(self.window),
            answer: sentence(&versions, asked.through()),
            notes: notes(weeks, asked.through()),
            rows,
        }
    }
}

/// Counts the installations with trouble by a key.
fn tally<K: Ord>(
    facts: &[ConditionFact],
    has_trouble: impl Fn(&ConditionFact) -> bool,
    key: impl Fn(&ConditionFact) -> K,
) -> BTreeMap<K, Proportion> {
    let mut sums = BTreeMap::<K, Proportion>::new();
    for fact in facts {
        let sum = sums.entry(key(fact)).or_default();
        sum.base += fact.installations;
        sum.count += if has_trouble(fact) { fact.installations } else { 0 };
    }
    sums.retain(|_, sum| sum.base > 0);
    sums
}

/// Compares each version with the one before it. The newest version is first.
fn compared(versions: &ByVersion) -> Vec<VersionHealth> {
    let mut compared: Vec<_> =
        versions.iter().map(|(version, trouble)| compare(*version, *trouble, versions)).collect();
    // The order of the keys decides between versions without an order, and between both forms of an edge version.
    compared.sort_by(|left, right| {
        newest_first(left.version.place(), right.version.place()).then(left.version.cmp(&right.version))
    });
    compared
}

fn compare(version: KamajiVersion, trouble: Proportion, versions: &ByVersion) -> VersionHealth {
    let place = version.place();
    let is_older = |other: &KamajiVersion| match (place, other.place()) {
        (Some((line, numbers)), Some((other_line, other_numbers))) => line == other_line && other_numbers < numbers,
        _ => false,
    };
    let has_older = versions.keys().any(is_older);
    let before = versions
        .iter()
        .filter(|(other, of_other)| is_older(other) && of_other.base >= MIN_COMPARED)
        .max_by_key(|(other, of_other)| (other.place(), of_other.base))
        .and_then(|(other, of_other)| Some((*other, *of_other, trouble.minus(*of_other)?)));
    let verdict = match before {
        _ if place.is_none() => None,
        _ if trouble.base < MIN_COMPARED => Some(Verdict::TooFew),
        None => has_older.then_some(Verdict::TooFew),
        Some((_, _, difference)) if !difference.interval.leaves_out_zero() => Some(Verdict::NoDifferenceShown),
        Some((_, _, difference)) if difference.value > 0.0 => Some(Verdict::Worse),
        Some(_) => Some(Verdict::Better),
    };
    VersionHealth { version, trouble, before, verdict }
}

impl HealthRow {
    /// A row of a number out of others.
    fn new(table: HealthTable, of: Proportion) -> Self {
        Self {
            table,
            kamaji_version: None,
            size: None,
            status: None,
            direction: None,
            count: of.count,
            base: of.base,
            share: fraction(of.count, of.base),
            share_low: None,
            share_high: None,
            compared_with: None,
            compared_count: None,
            compared_base: None,
            difference: None,
            difference_low: None,
            difference_high: None,
            verdict: None,
        }
    }

    /// A row of installations, whose share has an interval.
    fn of_installations(table: HealthTable, of: Proportion) -> Self {
        let interval = of.interval();
        let (share_low, share_high) = (interval.map(|interval| interval.low), interval.map(|interval| interval.high));
        Self { share_low, share_high, ..Self::new(table, of) }
    }
}

impl VersionHealth {
    fn row(&self, table: HealthTable) -> HealthRow {
        let before = self.before.as_ref();
        HealthRow {
            kamaji_version: Some(self.version.to_string()),
            compared_with: before.map(|(version, ..)| version.to_string()),
            compared_count: before.map(|(_, of, _)| of.count),
            compared_base: before.map(|(_, of, _)| of.base),
            difference: before.map(|(.., difference)| difference.value),
            difference_low: before.map(|(.., difference)| difference.interval.low),
            difference_high: before.map(|(.., difference)| difference.interval.high),
            verdict: self.verdict,
            ..HealthRow::of_installations(table, self.trouble)
        }
    }

    /// Returns the lower end of the difference.
    fn low(&self) -> f64 {
        self.before.as_ref().map_or(0.0, |(.., difference)| difference.interval.low)
    }
}

fn by_size(facts: &[ConditionFact]) -> Vec<HealthRow> {
    let sizes = tally(facts, |fact| fact.stuck, |fact| fact.size);
    let row = |(size, stuck): (SizeClass, Proportion)| HealthRow {
        size: Some(size.label()),
        ..HealthRow::of_installations(HealthTable::Size, stuck)
    };
    sizes.into_iter().map(row).collect()
}

fn by_size_and_version(facts: &[ConditionFact]) -> Vec<HealthRow> {
    let mut sizes = BTreeMap::<SizeClass, ByVersion>::new();
    for ((size, version), stuck) in tally(facts, |fact| fact.stuck, |fact| (fact.size, fact.kamaji)) {
        sizes.entry(size).or_default().insert(version, stuck);
    }
    let rows = |(size, versions): (&SizeClass, &ByVersion)| {
        let size = Some(size.label());
        let versions = compared(versions).into_iter();
        versions.map(move |version| HealthRow { size, ..version.row(HealthTable::SizeAndVersion) }).collect::<Vec<_>>()
    };
    sizes.iter().flat_map(rows).collect()
}

/// Returns the versions of Kamaji, newest first.
fn sorted(versions: impl Iterator<Item = KamajiVersion>) -> Vec<KamajiVersion> {
    let versions: BTreeSet<_> = versions.collect();
    let mut versions: Vec<_> = versions.into_iter().collect();
    versions.sort_by(|left, right| newest_first(left.place(), right.place()));
    versions
}

fn deletions(facts: &Facts, weeks: Weeks) -> Vec<HealthRow> {
    let mut sums = BTreeMap::<KamajiVersion, BTreeMap<Status, u64>>::new();
    for fact in facts.event_weeks.iter().filter(|fact| weeks.contains(fact.week)) {
        if let EventAspect::Deletion { kamaji, status } = fact.aspect {
            *sums.entry(kamaji).or_default().entry(status).or_default() += fact.events;
        }
    }
    let rows = |version: KamajiVersion| {
        let statuses = sums.get(&version).into_iter().flatten();
        let base = statuses.clone().map(|(_, events)| events).sum();
        statuses.map(move |(status, events)| HealthRow {
            kamaji_version: Some(version.to_string()),
            status: Some(status.as_str()),
            ..HealthRow::new(HealthTable::Deletion, Proportion { count: *events, base })
        })
    };
    sorted(sums.keys().copied()).into_iter().flat_map(rows).collect()
}

fn patch_updates(facts: &Facts, weeks: Weeks) -> Vec<HealthRow> {
    let mut sums = BTreeMap::<KamajiVersion, (u64, u64)>::new();
    for fact in facts.event_weeks.iter().filter(|fact| weeks.contains(fact.week)) {
        if let EventAspect::PatchUpdate { kamaji, is_downgrade } = fact.aspect {
            let (up, down) = sums.entry(kamaji).or_default();
            *(if is_downgrade { down } else { up }) += fact.events;
        }
    }
    let rows = |version: KamajiVersion| {
        let (up, down) = sums.get(&version).copied().unwrap_or_default();
        [(Direction::Down, down), (Direction::Up, up)].map(|(direction, events)| HealthRow {
            kamaji_version: Some(version.to_string()),
            direction: Some(direction),
            ..HealthRow::new(HealthTable::PatchUpdate, Proportion { count: events, base: up + down })
        })
    };
    sorted(sums.keys().copied()).into_iter().flat_map(rows).collect()
}

fn notes(weeks: Weeks, through: Day) -> Vec<String> {
    let first = Window::Days7.first_day(through).date();
    vec![
        format!(
            "Installations: those active in the 7 days from {first} to {}, by their last report in them.",
            through.date()
        ),
        "Intervals are of 95 %: of the versions that do not differ at all, about one in 20 is called worse or better."
            .to_owned(),
        "Larger installations have trouble sooner: compare versions within a size as well.".to_owned(),
        format!(
            "Deletions and updates: events, not installations, of {}. They come up to 30 days late, and are final \
             after that.",
            weeks.text()
        ),
    ]
}

/// Answers in one sentence.
fn sentence(versions: &[VersionHealth], through: Day) -> String {
    let sum = |total: Proportion, version: &VersionHealth| Proportion {
        count: total.count + version.trouble.count,
        base: total.base + version.trouble.base,
    };
    let all = versions.iter().fold(Proportion::default(), sum);
    let are_worse = || versions.iter().filter(|version| version.verdict == Some(Verdict::Worse));
    // Of equal ones the newest, which is first.
    let worst = are_worse().rev().max_by(|left, right| left.low().total_cmp(&right.low()));
    match (all.base, worst.and_then(|worst| Some((worst, worst.before?)))) {
        (0, _) => format!("No installation was active in the 7 days up to {}.", through.date()),
        (1, _) => format!(
            "1 installation is active, and {} stuck: too few to compare versions.",
            if all.count == 1 { "is" } else { "is not" }
        ),
        (_, Some((worst, before))) => stands_out(worst, before, versions, are_worse().count()),
        _ => nothing_stands_out(versions, all),
    }
}

fn stands_out(
    worst: &VersionHealth,
    (before, of_before, difference): (KamajiVersion, Proportion, Difference),
    versions: &[VersionHealth],
    number: usize,
) -> String {
    let VersionHealth { version, trouble, .. } = worst;
    let (own, other) = (share_with_base(trouble.count, trouble.base), share_with_base(of_before.count, of_before.base));
    let points = points_between(difference.interval.low, difference.interval.high);
    let is_mended = |mending: &&VersionHealth| {
        mending.verdict == Some(Verdict::Better) && mending.before.is_some_and(|(before, ..)| before == *version)
    };
    let mended = versions.iter().find(is_mended).map(|mending| format!("; {} is better than it", mending.version));
    let more = u64::try_from(number).unwrap_or(u64::MAX).saturating_sub(1);
    let more = (more > 0).then(|| {
        format!("; {} more version{} {} worse than the one before", count(more), plural(more), is_or_are(more))
    });
    format!(
        "{version}: {own} installations are stuck, against {other} with {before}: worse ({points}, 95 % interval){}{}.",
        mended.unwrap_or_default(),
        more.unwrap_or_default()
    )
}

fn nothing_stands_out(versions: &[VersionHealth], all: Proportion) -> String {
    let stuck = share_with_base(all.count, all.base);
    if all.base < MIN_FOR_PERCENT {
        let are = is_or_are(all.count);
        return format!(
            "{stuck} active installations {are} stuck: too few to compare versions, which takes {MIN_COMPARED} of each."
        );
    }
    let interval = all.interval().map(|interval| percent_range(interval.low, interval.high)).unwrap_or_default();
    let stuck = format!("{stuck} active installations are stuck (95 % interval {interval})");
    let is_compared =
        |version: &&VersionHealth| matches!(version.verdict, Some(Verdict::Better | Verdict::NoDifferenceShown));
    match versions.iter().filter(is_compared).count() {
        0 => format!(
            "No release can be compared with the one before: {stuck}, and no two versions of a line have \
             {MIN_COMPARED} each."
        ),
        1 => format!(
            "No release stands out: {stuck}, and the one version that can be compared with the one before is not \
             shown to be worse."
        ),
        compared => {
            let compared = count(u64::try_from(compared).unwrap_or(u64::MAX));
            format!(
                "No release stands out: {stuck}, and none of the {compared} versions that can be compared with the \
                 one before is shown to be worse."
            )
        }
    }
}

#[cfg(test)]
mod tests;
