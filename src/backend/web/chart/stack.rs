//! Series on top of each other, and the parts of a series between its gaps.

use super::data::TimePoint;

/// Values beside each other, with no gap: each with its position.
pub(super) type Run = Vec<(usize, f64)>;

/// The lower and the upper edge of an area. Both have a gap where the series has one.
#[derive(Debug, PartialEq)]
pub(super) struct Band {
    pub(super) lower: Vec<Option<f64>>,
    pub(super) upper: Vec<Option<f64>>,
}

/// Returns the band of each series, from bottom to top.
pub(super) fn bands(series: &[Vec<Option<f64>>]) -> Vec<Band> {
    let length = series.iter().map(Vec::len).max().unwrap_or_default();
    let mut tops = vec![0.0; length];
    let band = |values: &Vec<Option<f64>>| {
        let lower = values.iter().zip(&tops).map(|(value, top)| value.map(|_| *top)).collect();
        for (top, value) in tops.iter_mut().zip(values) {
            *top += value.unwrap_or_default();
        }
        let upper = values.iter().zip(&tops).map(|(value, top)| value.map(|_| *top)).collect();
        Band { lower, upper }
    };
    series.iter().map(band).collect()
}

/// Returns the parts of a series between its gaps.
pub(super) fn runs(values: &[Option<f64>]) -> Vec<Run> {
    let positioned: Vec<_> = values.iter().enumerate().collect();
    let parts = positioned.chunk_by(|(_, one), (_, next)| one.is_some() == next.is_some());
    let run = |part: &[(usize, &Option<f64>)]| -> Run {
        part.iter().filter_map(|(position, value)| value.map(|value| (*position, value))).collect()
    };
    parts.map(run).filter(|run| !run.is_empty()).collect()
}

/// Splits a run into its complete part and the part that leads to a partial point, each with whether it is partial. The
/// last complete point is in both, so that they meet.
pub(super) fn split_partial<'a>(run: &'a Run, points: &[TimePoint]) -> Vec<(&'a [(usize, f64)], bool)> {
    let is_partial = |(position, _): &(usize, f64)| points.get(*position).is_some_and(|point| point.partial);
    let complete = run.iter().position(is_partial).unwrap_or(run.len());
    let (solid, partial) = (&run[..complete], &run[complete.saturating_sub(1)..]);
    let has_partial = complete < run.len();
    [(solid, false), (partial, true)]
        .into_iter()
        .filter(|(part, partial)| !part.is_empty() && (!partial || has_partial))
        .collect()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn areas_stand_on_the_sum_of_those_below() {
        let series = [vec![Some(1.0), Some(2.0)], vec![Some(10.0), None], vec![Some(100.0), Some(200.0)]];
        let expected = [
            Band { lower: vec![Some(0.0), Some(0.0)], upper: vec![Some(1.0), Some(2.0)] },
            Band { lower: vec![Some(1.0), None], upper: vec![Some(11.0), None] },
            Band { lower: vec![Some(11.0), Some(2.0)], upper: vec![Some(111.0), Some(202.0)] },
        ];
        assert_eq!(bands(&series), expected);
        assert_eq!(bands(&[]), []);
    }

    #[test]
    fn a_gap_ends_a_run() {
        assert_eq!(runs(&[None, Some(1.0), Some(2.0), None, Some(3.0)]), [vec![(1, 1.0), (2, 2.0)], vec![(4, 3.0)]]);
        assert_eq!(runs(&[None, None]), [] as [Run; 0]);
    }

    #[test]
    fn a_partial_point_is_apart_and_meets_the_last_complete_one() {
        let point = |partial| TimePoint { date: date(2026, 11, 1), partial };
        let points = [point(false), point(false), point(true)];
        let run = vec![(0, 1.0), (1, 2.0), (2, 3.0)];
        assert_eq!(split_partial(&run, &points), [(&run[..2], false), (&run[1..], true)]);
        assert_eq!(split_partial(&run, &[point(false); 3]), [(&run[..], false)]);
        let only = vec![(2, 3.0)];
        assert_eq!(split_partial(&only, &points), [(&only[..], true)]);
    }
}
