//! The difference of two sorted batches.

use std::cmp::Ordering;

use super::MovedValues;

/// The rows by which a target differs from its source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::backend::store) struct RowDifference {
    /// The keys of the target's rows that the source does not have, or has otherwise.
    pub(in crate::backend::store) removed: Vec<MovedValues>,
    /// The source's rows that the target does not have, or has otherwise.
    pub(in crate::backend::store) added: Vec<MovedValues>,
}

impl RowDifference {
    /// Compares all rows of a table, or of a range of keys. Both are sorted by their first `key` columns.
    pub(in crate::backend::store) fn new(source: Vec<MovedValues>, target: Vec<MovedValues>, key: usize) -> Self {
        let mut difference = Self::default();
        let (mut source, mut target) = (source.into_iter().peekable(), target.into_iter().peekable());
        loop {
            let order = match (source.peek(), target.peek()) {
                (None, None) => return difference,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(left), Some(right)) => left[..key].cmp(&right[..key]),
            };
            let row = if order == Ordering::Greater { None } else { source.next() };
            let stored = if order == Ordering::Less { None } else { target.next() };
            if row != stored {
                difference.removed.extend(stored.map(|stored| stored[..key].to_vec()));
                difference.added.extend(row);
            }
        }
    }

    /// Returns whether the two are equal.
    pub(in crate::backend::store) fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }

    /// Returns the number of rows that are deleted and inserted.
    pub(in crate::backend::store) fn rows(&self) -> usize {
        self.added.len().max(self.removed.len())
    }
}

/// One step through a table: the difference of a range of keys that was read from both stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend::store) struct MoveStep {
    pub(in crate::backend::store) difference: RowDifference,
    /// The last key of the range; `None` if the table ends in it.
    pub(in crate::backend::store) last: Option<MovedValues>,
}

impl MoveStep {
    /// Compares what both stores have returned when they were asked for `limit` rows after one key. A store that returned as many
    /// may have more: the range ends where the first of them ends.
    pub(in crate::backend::store) fn new(
        mut source: Vec<MovedValues>,
        mut target: Vec<MovedValues>,
        key: usize,
        limit: usize,
    ) -> Self {
        let end = |rows: &[MovedValues]| rows.last().filter(|_| rows.len() >= limit).map(|row| row[..key].to_vec());
        let last = match (end(&source), end(&target)) {
            (Some(left), Some(right)) => Some(left.min(right)),
            (left, right) => left.or(right),
        };
        if let Some(last) = &last {
            for rows in [&mut source, &mut target] {
                rows.truncate(rows.partition_point(|row| row[..key] <= **last));
            }
        }
        Self { difference: RowDifference::new(source, target, key), last }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::MovedValue;
    use super::*;

    type Model = BTreeMap<u8, u8>;

    fn rows(model: &Model, after: Option<&MovedValues>, limit: usize) -> Vec<MovedValues> {
        let all = model.iter().map(|(key, value)| [*key, *value].map(|cell| MovedValue::Integer(cell.into())).to_vec());
        all.filter(|row| after.is_none_or(|after| row[..1] > **after)).take(limit).collect()
    }

    fn number(cell: &MovedValue) -> u8 {
        match cell {
            MovedValue::Integer(number) => (*number).try_into().unwrap(),
            cell => panic!("{cell:?}"),
        }
    }

    fn apply(model: &mut Model, difference: &RowDifference) {
        for key in &difference.removed {
            assert!(model.remove(&number(&key[0])).is_some(), "what is removed was there");
        }
        for row in &difference.added {
            assert_eq!(model.insert(number(&row[0]), number(&row[1])), None, "what is added was not there");
        }
    }

    proptest! {
        #[test]
        fn steps_make_the_target_equal_and_touch_no_equal_row(
            source in any::<Model>(), target in any::<Model>(), limit in 1_usize..20
        ) {
            let (mut moved, mut after, mut touched) = (target.clone(), None, 0);
            loop {
                let rows = |model| rows(model, after.as_ref(), limit);
                let step = MoveStep::new(rows(&source), rows(&moved), 1, limit);
                touched += step.difference.added.len();
                apply(&mut moved, &step.difference);
                prop_assert!(step.last.is_none() || step.last > after);
                after = step.last;
                if after.is_none() {
                    break;
                }
            }
            prop_assert_eq!(&moved, &source);
            let differing = source.iter().filter(|(key, value)| target.get(key) != Some(value)).count();
            prop_assert_eq!(touched, differing);
        }
    }
}
