//! The names of the series, at the ends of their lines. A legend would be told apart by colour alone.

use maud::{Markup, html};

use super::Shape;
use super::data::{Series, TimeChart};
use super::plot::{Plot, Size, px};
use super::stack;

/// The space between the end of a line and its label.
const GAP: f64 = 10.0;

/// The distance from which on a label is connected with its line.
const CONNECTED_FROM: f64 = 4.0;

/// Returns the width that the labels take, with their gap.
pub(super) fn width(chart: &TimeChart, size: &Size) -> f64 {
    chart.series.iter().map(|series| size.text_width(&series.name)).fold(0.0, f64::max) + GAP + 2.0
}

/// Renders the labels. Those for which there is no room are left out, the weakest series first.
pub(super) fn end_labels(chart: &TimeChart, plot: &Plot) -> Markup {
    let mut ends = ends(chart, plot);
    ends.truncate(fitting(ends.len(), plot.size.line_height(), plot.top, plot.bottom));
    let wanted: Vec<_> = ends.iter().map(|(_, y)| *y).collect();
    let placed = spread(&wanted, plot.size.line_height(), plot.top, plot.bottom);
    let x = plot.right + GAP;
    html! {
        g.end-labels {
            @for ((series, y), label_y) in ends.iter().zip(placed) {
                @if (y - label_y).abs() >= CONNECTED_FROM {
                    line.connection x1=(px(plot.right + 1.0)) y1=(px(*y)) x2=(px(x - 3.0)) y2=(px(label_y)) {}
                }
                text.{ (series.class) } x=(px(x)) y=(px(label_y + plot.size.font * 0.35)) { (series.name) }
            }
        }
    }
}

/// Returns each series that has a value, with the coordinate of its last one: of a line its end, of an area its middle.
fn ends<'a>(chart: &'a TimeChart, plot: &Plot) -> Vec<(&'a Series, f64)> {
    let columns: Vec<_> = chart.series.iter().map(Series::heights).collect();
    let last = |values: &[Option<f64>]| values.iter().rev().copied().flatten().next();
    let middle = |band: &stack::Band| Some(f64::midpoint(last(&band.lower)?, last(&band.upper)?));
    let heights: Vec<Option<f64>> = match plot.shape {
        Shape::Stacked => stack::bands(&columns).iter().map(middle).collect(),
        Shape::Points | Shape::Lines => columns.iter().map(|values| last(values)).collect(),
    };
    chart.series.iter().zip(heights).filter_map(|(series, height)| Some((series, plot.y(height?)))).collect()
}

/// Returns how many of `count` labels fit between two coordinates.
fn fitting(count: usize, line_height: f64, top: f64, bottom: f64) -> usize {
    (0..u32::MAX).take(count).take_while(|above| f64::from(*above) * line_height <= bottom - top).count()
}

/// Moves coordinates apart, until each is `gap` from the next and all are from `top` to `bottom`. They keep their order,
/// and one that is far enough from the others stays where it is.
fn spread(wanted: &[f64], gap: f64, top: f64, bottom: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|one, other| wanted[*one].total_cmp(&wanted[*other]));
    let mut placed = wanted.to_vec();
    let mut least = top;
    for &index in &order {
        placed[index] = placed[index].max(least);
        least = placed[index] + gap;
    }
    let mut most = bottom;
    for &index in order.iter().rev() {
        placed[index] = placed[index].min(most);
        most = placed[index] - gap;
    }
    placed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_that_do_not_touch_stay_at_their_lines() {
        assert_eq!(spread(&[100.0, 20.0, 50.0], 16.0, 0.0, 200.0), [100.0, 20.0, 50.0]);
        assert_eq!(spread(&[], 16.0, 0.0, 200.0), [0.0; 0]);
    }

    #[test]
    fn labels_of_lines_that_end_together_are_one_below_the_other() {
        assert_eq!(spread(&[50.0, 50.0, 50.0], 16.0, 0.0, 200.0), [50.0, 66.0, 82.0]);
        assert_eq!(spread(&[200.0, 200.0], 16.0, 0.0, 200.0), [184.0, 200.0], "at the bottom they move up");
    }

    proptest! {
        #[test]
        fn labels_never_overlap_and_stay_in_the_drawing(wanted in prop::collection::vec(10.0..=210.0_f64, 0..=20)) {
            let (gap, top, bottom) = (16.0, 10.0, 210.0);
            let wanted = &wanted[..fitting(wanted.len(), gap, top, bottom)];
            let mut placed = spread(wanted, gap, top, bottom);
            prop_assert!(placed.iter().all(|y| (top..=bottom).contains(y)), "{placed:?}");
            placed.sort_by(f64::total_cmp);
            prop_assert!(placed.windows(2).all(|pair| pair[1] - pair[0] >= gap - 1e-9), "{placed:?}");
        }
    }
}
