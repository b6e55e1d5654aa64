//! The new installations and versions of a store by day, against which a day that is unlike the others stands out. No I/O.

/// The numbers of what was new on a UTC day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DayIntake {
    /// Installations that were received for the first time, bulk included.
    pub installations: u64,
    /// Versions, and values of extended gauges, that were never seen before.
    pub versions: u64,
    /// Installations that were received for the first time and are in bulk, and events in bulk.
    pub bulk: u64,
}

/// The numbers of today, and of the days before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Intake {
    /// Today so far.
    pub today: DayIntake,
    /// The days before, as far back as the store goes, 28 at most.
    pub before: Vec<DayIntake>,
}

impl Intake {
    /// Returns the median of the days before; each of its numbers is a median of its own. Returns `None` for a store that is
    /// younger than a week, with which no day can be compared.
    pub fn median(&self) -> Option<DayIntake> {
        const WEEK: usize = 7;
        (self.before.len() >= WEEK).then(|| DayIntake {
            installations: self.median_of(|day| day.installations),
            versions: self.median_of(|day| day.versions),
            bulk: self.median_of(|day| day.bulk),
        })
    }

    fn median_of(&self, number: impl Fn(&DayIntake) -> u64) -> u64 {
        let mut numbers: Vec<_> = self.before.iter().map(number).collect();
        numbers.sort_unstable();
        numbers.get(numbers.len() / 2).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_day_that_is_unlike_the_others_moves_no_median() {
        let day = |installations| DayIntake { installations, versions: installations * 2, bulk: 0 };
        let before = [3, 1, 2, 10_000, 2, 2, 4].map(day).to_vec();
        let median = |before: &[DayIntake]| Intake { today: day(9), before: before.to_vec() }.median();
        assert_eq!(median(&before), Some(DayIntake { installations: 2, versions: 4, bulk: 0 }));
        assert_eq!(median(&before[1..]), None);
    }
}
