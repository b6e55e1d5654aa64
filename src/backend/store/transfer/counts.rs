//! The rows of two stores, counted and summed by table and day, and compared.

use std::collections::BTreeMap;

/// The number of rows of a table and a day, and a sum over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend::store) struct DayCount {
    /// The number of the day; `None` of rows without one.
    pub(in crate::backend::store) day: Option<i64>,
    pub(in crate::backend::store) rows: i64,
    pub(in crate::backend::store) sum: i64,
}

/// The rows of a table in both stores, and their sum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableCounts {
    /// The name of the table.
    pub table: &'static str,
    /// The number of rows in the source, and in the target.
    pub rows: [i64; 2],
    /// The sum over the rows in the source, and in the target.
    pub sums: [i64; 2],
    /// The number of different days.
    pub days: usize,
    /// The days on which the stores differ.
    pub different: Vec<DayDifference>,
}

/// A day on which two stores differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayDifference {
    /// The number of the day since 1970-01-01; `None` of rows without one.
    pub day: Option<i64>,
    /// The number of rows in the source, and in the target.
    pub rows: [i64; 2],
    /// The sum over the rows in the source, and in the target.
    pub sums: [i64; 2],
}

/// The comparison of two stores.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison(pub Vec<TableCounts>);

impl Comparison {
    /// Returns whether no day of any table differs.
    pub fn is_equal(&self) -> bool {
        self.0.iter().all(|table| table.different.is_empty())
    }
}

/// Compares the counts of a table.
pub(in crate::backend::store) fn compare(table: &'static str, source: &[DayCount], target: &[DayCount]) -> TableCounts {
    let mut days = BTreeMap::<Option<i64>, ([i64; 2], [i64; 2])>::new();
    for (side, counts) in [source, target].into_iter().enumerate() {
        for DayCount { day, rows, sum } in counts {
            let (of_rows, of_sums) = days.entry(*day).or_default();
            of_rows[side] += rows;
            // Sums that overflow in both stores overflow in the same way.
            of_sums[side] = of_sums[side].wrapping_add(*sum);
        }
    }
    let mut counts = TableCounts { table, days: days.len(), ..TableCounts::default() };
    for (day, (rows, sums)) in days {
        for side in 0..2 {
            counts.rows[side] += rows[side];
            counts.sums[side] = counts.sums[side].wrapping_add(sums[side]);
        }
        if rows[0] != rows[1] || sums[0] != sums[1] {
            counts.different.push(DayDifference { day, rows, sums });
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(day: i64, rows: i64, sum: i64) -> DayCount {
        DayCount { day: Some(day), rows, sum }
    }

    #[test]
    fn a_day_differs_by_its_rows_its_sum_or_its_absence() {
        let source = [count(1, 2, 5), count(2, 1, 7), count(3, 1, 1)];
        let equal = compare("days", &source, &source);
        assert_eq!((equal.rows, equal.sums, equal.days, equal.different.len()), ([4, 4], [13, 13], 3, 0));
        assert!(Comparison(vec![equal.clone()]).is_equal());
        let target = [count(1, 2, 4), count(2, 1, 7), count(4, 1, 2)];
        let different = compare("days", &source, &target);
        assert_eq!(different.rows, [4, 4]);
        assert_eq!(different.sums, [13, 13], "the totals hide the difference");
        let days: Vec<_> = different.different.iter().map(|day| (day.day, day.rows, day.sums)).collect();
        let expected = [(1, [2, 2], [5, 4]), (3, [1, 0], [1, 0]), (4, [0, 1], [0, 2])];
        assert_eq!(days, expected.map(|(day, rows, sums)| (Some(day), rows, sums)));
        assert!(!Comparison(vec![equal, different]).is_equal());
    }
}
