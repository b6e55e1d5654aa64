//! Weeks of a made-up fleet. Each table has two large categories or more, which are always shown.

use super::Week;

/// Two years.
const WEEKS: usize = 104;

/// The weeks of a fleet, and the counts that the attacker is after.
pub(super) struct Scenario {
    pub(super) weeks: Vec<Week>,
    pub(super) targets: Vec<Target>,
    /// The attacker's own installations of a table and a category, by week.
    pub(super) own: Vec<(usize, usize, Vec<u64>)>,
    /// Categories whose counts the attacker knows, by table and category.
    pub(super) known: Vec<(usize, usize)>,
    /// True if the attacker knows the number of all installations by other means.
    pub(super) knows_total: bool,
}

/// A count of 1 to 4.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) table: usize,
    pub(super) category: usize,
    pub(super) week: usize,
}

/// Pseudo-random numbers: `SplitMix64`.
struct Random(u64);

impl Random {
    fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        low + (z ^ (z >> 31)) % (high - low + 1)
    }
}

impl Scenario {
    /// Returns by how much a count differs from that of the first week.
    pub(super) fn change(&self, table: usize, category: usize, week: usize) -> i64 {
        let count = |week: usize| i64::try_from(self.weeks[week][table][category]).unwrap();
        count(week) - count(0)
    }

    /// Returns the number of the attacker's own installations among the target's.
    pub(super) fn own(&self, target: &Target) -> u64 {
        self.own_in(target, target.week)
    }

    /// Returns by how much that number differs from that of the first week.
    pub(super) fn own_change(&self, target: &Target) -> i64 {
        i64::try_from(self.own(target)).unwrap() - i64::try_from(self.own_in(target, 0)).unwrap()
    }

    fn own_in(&self, target: &Target, week: usize) -> u64 {
        let own = self.own.iter().filter(|(table, category, _)| (*table, *category) == (target.table, target.category));
        own.map(|(_, _, weeks)| weeks[week]).sum()
    }

    /// Returns the count of the first week, if the attacker knows it.
    pub(super) fn known_count(&self, table: usize, category: usize) -> Option<u64> {
        self.known.contains(&(table, category)).then(|| self.weeks[0][table][category])
    }
}

/// Returns three tables of one total, with large counts, and with this many small ones.
fn fleet(random: &mut Random, small: [u64; 3]) -> Week {
    let mut week = small.map(|small| -> Vec<u64> {
        let large: Vec<_> = (0..3).map(|_| random.between(20, 60)).collect();
        large.into_iter().chain((0..small).map(|_| random.between(1, 4))).collect()
    });
    let total = week.iter().map(|table| table.iter().sum::<u64>()).max().unwrap();
    for table in &mut week {
        table[0] += total - table.iter().sum::<u64>();
    }
    week
}

/// Returns the small counts of the first week.
fn small_counts(counts: &Week) -> Vec<Target> {
    let of_table = |(table, counts): (usize, &Vec<u64>)| -> Vec<Target> {
        let small = counts.iter().enumerate().filter(|(_, count)| (1..=4).contains(*count));
        small.map(|(category, _)| Target { table, category, week: 0 }).collect()
    };
    counts.iter().enumerate().flat_map(of_table).collect()
}

/// A page alone: no week tells of another.
pub(super) fn single_page(seed: u64) -> Scenario {
    let mut random = Random(seed);
    let small = [random.between(1, 3), random.between(1, 3), 1];
    let week = fleet(&mut random, small);
    Scenario { targets: small_counts(&week), weeks: vec![week], own: vec![], known: vec![], knows_total: false }
}

/// Two years in which a category of which the attacker knows everything changes by one a week, and a new one by five.
/// The small counts stay as they are.
pub(super) fn known_changes(seed: u64) -> Scenario {
    let mut random = Random(seed);
    let small = [random.between(1, 2), random.between(1, 2), 1];
    let first = fleet(&mut random, small);
    let targets = small_counts(&first);
    let (start, lowest) = (random.between(1, 60), random.between(0, 6));
    let week = |number: u64| {
        let mut week = first.clone();
        // Up by one a week for 25 weeks, and down again.
        let phase = number % 50;
        let known = lowest + if phase < 25 { phase } else { 50 - phase };
        let new = 5 * number.saturating_sub(start).min(8);
        week[0].extend([known, new]);
        week[1].push(known);
        week[1][0] += new;
        week[2][0] += new;
        week[2][1] += known;
        week
    };
    let weeks = (0..WEEKS as u64).map(week).collect();
    Scenario { weeks, targets, own: vec![], known: vec![(0, first[0].len()), (1, first[1].len())], knows_total: false }
}

/// Two years in which a version and a size fall by one a week to a small count, and stay there.
pub(super) fn falling(seed: u64) -> Scenario {
    let first = fleet(&mut Random(seed), [1, 1, 1]);
    let week = |number: u64| {
        let mut week = first.clone();
        let more = 25_u64.saturating_sub(number);
        week[0][3] += more;
        week[1][0] += more;
        week[2][3] += more;
        week
    };
    let weeks = (0..WEEKS as u64).map(week).collect();
    let targets = [0, 2].map(|table| Target { table, category: 3, week: WEEKS - 1 }).into();
    Scenario { weeks, targets, own: vec![], known: vec![], knows_total: false }
}

/// Two years in which the attacker adds installations to a small count, one a week until it shows, removes them, and
/// adds others under two versions that nobody else has, first until one shows, and then until the others do.
pub(super) fn own_installations(seed: u64) -> Scenario {
    let mut first = fleet(&mut Random(seed), [1, 1, 1]);
    first[0].extend([0, 0]);
    let installations = |category: usize, week: usize| match (category, week) {
        (3, 0..20) => week,
        (4, 20..40) => week - 20,
        // As many as are hidden by any offset.
        (4, 40..60) => 9,
        (5, 40..60) => week - 40,
        _ => 0,
    };
    let own = [3, 4, 5].map(|category| {
        let weeks: Vec<_> = (0..WEEKS).map(|week| installations(category, week) as u64).collect();
        (0, category, weeks)
    });
    let week = |number: usize| {
        let mut week = first.clone();
        for (table, category, weeks) in &own {
            week[*table][*category] += weeks[number];
            week[1][0] += weeks[number];
            week[2][0] += weeks[number];
        }
        week
    };
    let weeks = (0..WEEKS).map(week).collect();
    let targets = vec![Target { table: 0, category: 3, week: WEEKS - 1 }];
    Scenario { weeks, targets, own: own.into(), known: vec![(0, 4), (0, 5)], knows_total: false }
}

/// Two years in which the attacker adds installations of each size in turn until it shows more, so that they know the
/// step of every size.
pub(super) fn swept_sizes(seed: u64) -> Scenario {
    let first = fleet(&mut Random(seed), [1, 1, 1]);
    let installations = |size: usize, week: usize| if week / 20 == size { week % 20 } else { 0 };
    let own: Vec<_> = (0..4)
        .map(|size| {
            let weeks: Vec<_> = (0..WEEKS).map(|week| installations(size, week) as u64).collect();
            (2, size, weeks)
        })
        .collect();
    let week = |number: usize| {
        let mut week = first.clone();
        for (table, category, weeks) in &own {
            week[*table][*category] += weeks[number];
            week[0][0] += weeks[number];
            week[1][0] += weeks[number];
        }
        week
    };
    let weeks = (0..WEEKS).map(week).collect();
    let targets = vec![Target { table: 2, category: 3, week: WEEKS - 1 }];
    Scenario { weeks, targets, own, known: vec![], knows_total: false }
}
