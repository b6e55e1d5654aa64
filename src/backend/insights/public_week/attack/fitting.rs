//! The exhaustive search for counts that fit what was published.

use std::collections::BTreeSet;

use super::scenarios::{Scenario, Target};
use super::{Rule, Seen};

/// The distance above the shown numbers up to which counts are tried. No rule shows less than 8 below a count, or hides more than 13.
const MARGIN: u64 = 20;

/// The counts that fit everything published.
pub(super) struct Fitting<'a> {
    scenario: &'a Scenario,
    tables: [TableFits; 3],
    /// The totals of the first week that fit all tables.
    totals: BTreeSet<u64>,
}

/// The counts that fit one table.
struct TableFits {
    /// The categories that are hidden in some week.
    hidden: Vec<usize>,
    /// The combinations of their counts.
    fits: Vec<Fit>,
    /// The possible sums of the other categories.
    shown_sums: BTreeSet<u64>,
}

/// A combination of counts, of the first week, in the order of the categories.
struct Fit {
    counts: Vec<u64>,
    sum: u64,
}

/// A count of the first week that fits a category's own rows, and what it adds to the others in each week.
type Hypothesis = (u64, Vec<u64>);

impl<'a> Fitting<'a> {
    pub(super) fn new(rule: Rule, scenario: &'a Scenario, pages: &[[Seen; 3]]) -> Self {
        let tables: [TableFits; 3] = std::array::from_fn(|table| TableSearch { rule, scenario, pages, table }.run());
        let [first, second, third] = [0, 1, 2].map(|table: usize| tables[table].totals());
        let known = scenario.knows_total.then(|| scenario.weeks[0][0].iter().sum::<u64>());
        let is_total = |total: &&u64| {
            second.contains(*total) && third.contains(*total) && known.is_none_or(|known| known == **total)
        };
        let totals = first.iter().filter(is_total).copied().collect();
        Self { scenario, tables, totals }
    }

    /// Returns the counts that the target may have, without the attacker's own installations.
    pub(super) fn counts(&self, target: &Target) -> BTreeSet<u64> {
        let Target { table, category, week } = *target;
        let TableFits { hidden, fits, shown_sums } = &self.tables[table];
        let position = hidden.iter().position(|hidden| *hidden == category);
        let position = position.expect("a count of 1 to 4 is hidden");
        let change = self.scenario.change(table, category, week) - self.scenario.own_change(target);
        let fits = fits.iter().filter(|fit| shown_sums.iter().any(|shown| self.totals.contains(&(shown + fit.sum))));
        fits.map(|fit| fit.counts[position].checked_add_signed(change).expect("no hypothesis is negative")).collect()
    }
}

impl TableFits {
    fn totals(&self) -> BTreeSet<u64> {
        let sums: BTreeSet<u64> = self.fits.iter().map(|fit| fit.sum).collect();
        sums.iter().flat_map(|sum| self.shown_sums.iter().map(move |shown| shown + sum)).collect()
    }
}

/// The search of one table.
struct TableSearch<'a> {
    rule: Rule,
    scenario: &'a Scenario,
    pages: &'a [[Seen; 3]],
    table: usize,
}

impl TableSearch<'_> {
    fn run(&self) -> TableFits {
        let weeks = self.distinct_weeks();
        let (mut hidden, mut lists, mut shown_sums) = (Vec::new(), Vec::new(), BTreeSet::from([0]));
        for category in 0..self.scenario.weeks[0][self.table].len() {
            let list = self.hypotheses(&weeks, category);
            if weeks.iter().any(|week| self.seen(*week).rows[category].is_none()) {
                hidden.push(category);
                lists.push(list);
            } else {
                let counts: BTreeSet<u64> = list.iter().map(|(count, _)| *count).collect();
                shown_sums = shown_sums.iter().flat_map(|sum| counts.iter().map(move |count| sum + count)).collect();
            }
        }
        let others: Vec<_> = weeks.iter().map(|week| self.seen(*week).others).collect();
        let mut fits = Vec::new();
        self.combine(&lists, &others, &mut Vec::new(), &vec![0; weeks.len()], &mut fits);
        TableFits { hidden, fits, shown_sums }
    }

    fn seen(&self, week: usize) -> &Seen {
        &self.pages[week][self.table]
    }

    /// Returns the weeks whose counts differ from those of every week before: the others say nothing new.
    fn distinct_weeks(&self) -> Vec<usize> {
        let mut before = BTreeSet::new();
        (0..self.pages.len()).filter(|week| before.insert(&self.scenario.weeks[*week][self.table])).collect()
    }

    fn hypotheses(&self, weeks: &[usize], category: usize) -> Vec<Hypothesis> {
        let change = |week: usize| self.scenario.change(self.table, category, week);
        let seen = |week: usize| self.seen(week).rows[category];
        let shown = weeks.iter().filter_map(|week| seen(*week)?.checked_add_signed(-change(*week)));
        let highest = shown.max().unwrap_or_default() + MARGIN;
        let known = self.scenario.known_count(self.table, category);
        let mut list = BTreeSet::new();
        for count in (0..=highest).filter(|count| known.is_none_or(|known| known == *count)) {
            for offset in self.rule.offsets() {
                let added = |week: &usize| {
                    let count = count.checked_add_signed(change(*week))?;
                    let shown = self.rule.shown(count, offset);
                    let added = if shown.is_none() { self.rule.added(count, offset) } else { 0 };
                    (shown == seen(*week)).then_some(added)
                };
                list.extend(weeks.iter().map(added).collect::<Option<Vec<_>>>().map(|added| (count, added)));
            }
        }
        list.into_iter().collect()
    }

    /// Adds the combinations of hypotheses, one of each list, that fit the numbers of the others.
    fn combine(
        &self,
        lists: &[Vec<Hypothesis>],
        others: &[Option<u64>],
        counts: &mut Vec<u64>,
        sums: &[u64],
        fits: &mut Vec<Fit>,
    ) {
        // No rule shows less than 8 below a sum, or hides more than 13.
        if sums.iter().zip(others).any(|(sum, seen)| *sum > seen.map_or(13, |seen| seen + 8)) {
            return;
        }
        let Some((list, rest)) = lists.split_first() else {
            let fits_with = |offset| sums.iter().zip(others).all(|(sum, seen)| self.rule.others(*sum, offset) == *seen);
            if self.rule.offsets_of_others().any(fits_with) {
                fits.push(Fit { counts: counts.clone(), sum: counts.iter().sum() });
            }
            return;
        };
        for (count, added) in list {
            counts.push(*count);
            let sums: Vec<_> = sums.iter().zip(added).map(|(sum, added)| sum + added).collect();
            self.combine(rest, others, counts, &sums, fits);
            counts.pop();
        }
    }
}
