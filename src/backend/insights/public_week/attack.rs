//! Attacks on what is published. The attacker knows the rule, all categories, and how each count changed from week to
//! week, but neither a count nor the key. They look for counts of 1 to 4, which may tell of somebody they know.
//!
//! A count is *pinned* if all values that fit everything published are within 1 to 4: the attacker knows that somebody
//! is there, and that they are hardly more than one. The search is exhaustive: a value fits if there are counts and
//! offsets of all categories, with the same total in the three tables, that give the same pages.

mod fitting;
mod scenarios;

use jiff::civil::Date;

use super::{MIN_SHOWN, PublicDimension, STEP, publish};
use crate::backend::store::{CategoryCount, PublicKey, WeekCounts};
use fitting::Fitting;
use scenarios::{Scenario, Target};

/// A rule that is attacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// The published rule.
    Published,
    /// The published rule, with the others summed before they are rounded with an offset of their own.
    SummedOthers,
    /// Fives from zero without offsets; cells under 5 are folded into the others.
    Fives,
}

/// A table of a page as the attacker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    /// The number of each category; `None` if it is not shown.
    rows: Vec<Option<u64>>,
    /// The number of the others.
    others: Option<u64>,
}

/// The counts of one week: three tables of the same total, each a list of counts by category.
type Week = [Vec<u64>; 3];

const DIMENSIONS: [PublicDimension; 3] =
    [PublicDimension::KamajiMinor, PublicDimension::KubernetesMinor, PublicDimension::Size];

/// The name under which weaker rules compute the offset of the others.
const OTHERS: &str = "(others)";

impl Rule {
    /// Returns the number that is shown of a category.
    fn shown(self, count: u64, offset: u64) -> Option<u64> {
        match self {
            Self::Published | Self::SummedOthers => rounded(count, offset).filter(|shown| *shown >= MIN_SHOWN),
            Self::Fives => rounded(count, 0).filter(|shown| *shown >= STEP),
        }
    }

    /// Returns what a category that is not shown adds to the others.
    fn added(self, count: u64, offset: u64) -> u64 {
        match self {
            Self::Published => rounded(count, offset).unwrap_or_default(),
            Self::SummedOthers | Self::Fives => count,
        }
    }

    /// Returns the number that is shown of the others.
    fn others(self, sum: u64, offset: u64) -> Option<u64> {
        match self {
            Self::Published => Some(sum).filter(|sum| *sum >= MIN_SHOWN),
            Self::SummedOthers | Self::Fives => self.shown(sum, offset),
        }
    }

    /// Returns the offsets that there may be of a category.
    fn offsets(self) -> std::ops::Range<u64> {
        if self == Self::Fives { 0..1 } else { 0..STEP }
    }

    /// Returns the offsets that there may be of the others.
    fn offsets_of_others(self) -> std::ops::Range<u64> {
        if self == Self::SummedOthers { 0..STEP } else { 0..1 }
    }

    /// Returns the pages.
    fn pages(self, weeks: &[Week], key: &PublicKey) -> Vec<[Seen; 3]> {
        weeks
            .iter()
            .map(|week| if self == Self::Published { published(week, key) } else { self.page(week, key) })
            .collect()
    }

    fn page(self, week: &Week, key: &PublicKey) -> [Seen; 3] {
        std::array::from_fn(|table| {
            let offset = |category: &str| key.number_below(STEP, DIMENSIONS[table].offset_name(), category);
            let (mut rows, mut sum) = (Vec::new(), 0);
            for (position, count) in week[table].iter().enumerate() {
                let offset = offset(&name(position));
                let shown = self.shown(*count, offset);
                sum += if shown.is_none() { self.added(*count, offset) } else { 0 };
                rows.push(shown);
            }
            Seen { rows, others: self.others(sum, offset(OTHERS)) }
        })
    }
}

/// Returns the number of fives, if the count is not below its offset.
fn rounded(count: u64, offset: u64) -> Option<u64> {
    Some(count.checked_sub(offset)? / STEP * STEP)
}

fn name(position: usize) -> String {
    format!("category {position}")
}

/// Returns a page as it is published.
fn published(week: &Week, key: &PublicKey) -> [Seen; 3] {
    let counts = |table: usize| -> Vec<CategoryCount> {
        let count = |(position, installations): (usize, &u64)| CategoryCount {
            category: name(position),
            is_named: true,
            installations: *installations,
        };
        week[table].iter().enumerate().map(count).collect()
    };
    let installations = week[0].iter().sum();
    let counts = WeekCounts { installations, kamaji: counts(0), kubernetes: counts(1), sizes: counts(2) };
    let page = publish(Date::default(), &counts, key);
    std::array::from_fn(|table| {
        let found = page.tables.iter().find(|found| found.table == DIMENSIONS[table]);
        let found = found.expect("each table has two large categories");
        let row = |position| found.rows.iter().find(|row| row.category == name(position)).map(|row| row.at_least);
        Seen { rows: (0..week[table].len()).map(row).collect(), others: found.others_at_least }
    })
}

/// The outcome of an attack: the counts of 1 to 4, and those of them that were pinned.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Outcome {
    cells: usize,
    pinned: usize,
}

/// Attacks the scenarios of a number of seeds.
fn attack(rule: Rule, scenario: impl Fn(u64) -> Scenario, seeds: u64) -> Outcome {
    let mut outcome = Outcome::default();
    for seed in 0..seeds {
        let scenario = scenario(seed);
        let key = PublicKey::from(std::array::from_fn(|byte| seed.to_le_bytes()[byte % 8] ^ 0x5a));
        let pages = rule.pages(&scenario.weeks, &key);
        let fitting = Fitting::new(rule, &scenario, &pages);
        for target in &scenario.targets {
            let Target { table, category, week } = *target;
            let fitting = fitting.counts(target);
            let count = scenario.weeks[week][table][category] - scenario.own(target);
            assert!(fitting.contains(&count), "{rule:?}: the true count {count} fits what it gave: {fitting:?}");
            outcome.cells += 1;
            outcome.pinned += usize::from(fitting.iter().all(|count| (1..=4).contains(count)));
        }
    }
    outcome
}

/// Prints the figures of docs/privacy.md.
fn report(name: &str, outcomes: [Outcome; 3]) {
    let [published, summed, fives] = outcomes.map(|Outcome { cells, pinned }| format!("{pinned} of {cells}"));
    println!("{name}: published {published}, others summed first {summed}, fives from zero {fives}");
}

/// Attacks all three rules, and asserts that only the published one holds.
fn attack_all(name: &str, scenario: impl Fn(u64) -> Scenario, seeds: u64) -> [Outcome; 3] {
    let outcomes = [Rule::Published, Rule::SummedOthers, Rule::Fives].map(|rule| attack(rule, &scenario, seeds));
    report(name, outcomes);
    assert!(outcomes[0].cells > 0);
    assert_eq!(outcomes[0].pinned, 0, "{name}: {outcomes:?}");
    assert!(outcomes[2].pinned > 0, "{name}: the attack has no teeth: {outcomes:?}");
    outcomes
}

#[test]
fn one_page_with_three_tables_of_the_same_total_pins_no_count() {
    attack_all("one page", scenarios::single_page, 100);
}

#[test]
fn two_years_of_pages_with_known_changes_pin_no_count() {
    attack_all("differences over two years", scenarios::known_changes, 20);
}

#[test]
fn a_count_that_was_followed_down_is_not_pinned() {
    let outcomes = attack_all("a row that falls by one a week", scenarios::falling, 50);
    assert!(outcomes[1].pinned > 0, "summed others are not a second measurement: {outcomes:?}");
}

#[test]
fn installations_of_the_attacker_pin_no_count() {
    for (name, scenario) in [
        ("installations of the attacker's own, in a row and in invented ones", scenarios::own_installations as Scenes),
        ("installations of the attacker's own, of each size", scenarios::swept_sizes),
    ] {
        let outcomes = attack_all(name, scenario, 40);
        assert!(outcomes[1].pinned > 0, "summed others are not a second measurement: {outcomes:?}");
    }
}

/// A scenario by its seed.
type Scenes = fn(u64) -> Scenario;

fn with_total(scenario: Scenes) -> impl Fn(u64) -> Scenario {
    move |seed| Scenario { knows_total: true, ..scenario(seed) }
}

#[test]
fn who_knows_the_number_of_all_installations_pins_no_count() {
    for (name, scenario) in [
        ("one page, with the total", scenarios::single_page as Scenes),
        ("a row that falls by one a week, with the total", scenarios::falling),
        ("installations of the attacker's own, with the total", scenarios::own_installations),
    ] {
        attack_all(name, with_total(scenario), 20);
    }
}

/// The attack that docs/privacy.md says is left.
#[test]
fn who_knows_the_number_of_all_installations_and_the_step_of_each_size_pins_a_count_of_some_keys() {
    let Outcome { cells, pinned } = attack(Rule::Published, with_total(scenarios::swept_sizes), 200);
    println!("installations of the attacker's own, of each size, with the total: {pinned} of {cells}");
    assert!(pinned > 0 && pinned * 10 < cells, "{pinned} of {cells}");
}
