//! The fold of old versions into one band.

use super::data::{Series, Value};

/// The classes of the newest series of the stable line, strongest first.
const STABLE: [&str; 6] = ["series-1", "series-2", "series-3", "series-4", "series-5", "series-6"];

/// The classes of the newest series of the edge line, strongest first.
const EDGE: [&str; 4] = ["edge-1", "edge-2", "edge-3", "edge-4"];

/// The class of the band of all others.
const OLDER: &str = "series-older";

/// The colours of the series of one line of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend::web) enum Ramp {
    /// Those of releases.
    Stable,
    /// Those of edge releases.
    Edge,
}

impl Ramp {
    fn classes(self) -> &'static [&'static str] {
        match self {
            Self::Stable => &STABLE,
            Self::Edge => &EDGE,
        }
    }
}

/// Gives series their strengths, newest first, and folds those beyond the `keep` newest into one named `older`. The
/// newest one is always kept, and a single one is not folded: its name takes no more room.
pub(in crate::backend::web) fn fold_older(
    newest_first: Vec<(String, Vec<Option<Value>>)>,
    ramp: Ramp,
    keep: usize,
    older: &str,
) -> Vec<Series> {
    let keep = keep.clamp(1, ramp.classes().len());
    let keep = if newest_first.len() == keep + 1 { keep + 1 } else { keep };
    let mut rest = newest_first.into_iter();
    let classes = ramp.classes().iter().copied().chain([OLDER]);
    let kept = rest.by_ref().take(keep).zip(classes).map(|((name, values), class)| Series { name, class, values });
    let mut series: Vec<_> = kept.collect();
    if let Some(values) = rest.map(|(_, values)| values).reduce(|sum, values| add(&sum, &values)) {
        series.push(Series { name: older.to_owned(), class: OLDER, values });
    }
    series
}

/// Adds two series. There is a gap only where both have one.
fn add(one: &[Option<Value>], other: &[Option<Value>]) -> Vec<Option<Value>> {
    let length = one.len().max(other.len());
    let at = |values: &[Option<Value>], position: usize| values.get(position).copied().flatten();
    let sum = |position| match (at(one, position), at(other, position)) {
        (Some(value), Some(more)) => Some(value.plus(more)),
        (value, more) => value.or(more),
    };
    (0..length).map(sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(count: u64) -> Vec<(String, Vec<Option<Value>>)> {
        (0..count).map(|age| (format!("v1.{}", count - age), vec![Some(Value::Count(age)), None])).collect()
    }

    fn names(series: &[Series]) -> Vec<(&str, &str)> {
        series.iter().map(|series| (series.name.as_str(), series.class)).collect()
    }

    #[test]
    fn the_older_ones_are_summed_up_in_one_band() {
        let folded = fold_older(versions(5), Ramp::Stable, 3, "older");
        let expected = [("v1.5", "series-1"), ("v1.4", "series-2"), ("v1.3", "series-3"), ("older", "series-older")];
        assert_eq!(names(&folded), expected);
        assert_eq!(folded[3].values, [Some(Value::Count(3 + 4)), None]);
    }

    #[test]
    fn the_newest_is_never_folded_and_a_single_older_one_keeps_its_name() {
        assert_eq!(
            names(&fold_older(versions(3), Ramp::Edge, 0, "older")),
            [("v1.3", "edge-1"), ("older", "series-older")]
        );
        assert_eq!(names(&fold_older(versions(3), Ramp::Stable, 2, "older"))[2], ("v1.1", "series-3"));
        assert_eq!(names(&fold_older(versions(7), Ramp::Stable, 6, "older"))[6], ("v1.1", "series-older"));
        assert_eq!(fold_older(Vec::new(), Ramp::Stable, 3, "older"), []);
    }

    #[test]
    fn a_value_beside_a_gap_is_kept_and_a_share_keeps_its_base() {
        let share = |count| Value::Share { count, base: 10 };
        let shares = [vec![Some(share(1)), Some(share(2)), None], vec![None, Some(share(3)), None]];
        assert_eq!(add(&shares[0], &shares[1]), [Some(share(1)), Some(share(5)), None]);
    }
}
