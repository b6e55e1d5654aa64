//! Marks at dates, such as the first sighting of a version: a line through the chart, and a text above it.

use maud::{Markup, html};

use super::data::TimeChart;
use super::plot::{Plot, px};

/// The maximum number of rows of texts. What has no room in them is shown under the pointer only.
const MAX_ROWS: u32 = 3;

/// The space between two texts of a row.
const GAP: f64 = 10.0;

/// The place of a mark.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Placed {
    /// The coordinate of the line; `None` if the date is not on the axis.
    pub(super) x: Option<f64>,
    /// The row of the text, the lowest first; `None` if there is no room for it.
    pub(super) row: Option<u32>,
    /// The left side of the text.
    pub(super) text_x: f64,
}

/// Places the chart's marks, each text in the first row that has room for it.
pub(super) fn place(chart: &TimeChart, plot: &Plot) -> Vec<Placed> {
    let marks = chart.marks.iter().map(|mark| (plot.x_of_date(mark.date), plot.size.text_width(&mark.label)));
    place_texts(marks, plot.left, plot.size.width)
}

/// Places texts, each at its line and of its width, between `left` and `right`.
fn place_texts(marks: impl Iterator<Item = (Option<f64>, f64)>, left: f64, right: f64) -> Vec<Placed> {
    let mut taken: Vec<(u32, f64, f64)> = Vec::new();
    let mut place = |(x, width): (Option<f64>, f64)| {
        // A text begins at its line, or further left if it would end beyond the right side.
        let text_x = x.map_or(left, |x| x.min(right - width)).max(left);
        let is_free = |row: &u32| {
            taken
                .iter()
                .all(|(other, from, until)| other != row || text_x >= until + GAP || text_x + width + GAP <= *from)
        };
        let row = x.and_then(|_| (0..MAX_ROWS).find(is_free)).filter(|_| width <= right - left);
        taken.extend(row.map(|row| (row, text_x, text_x + width)));
        Placed { x, row, text_x }
    };
    marks.map(&mut place).collect()
}

/// Returns the number of rows that have a text.
pub(super) fn rows(placed: &[Placed]) -> u32 {
    placed.iter().filter_map(|mark| mark.row).map(|row| row + 1).max().unwrap_or_default()
}

/// Renders the marks: the lines first, so that none goes through a text.
pub(super) fn marks(chart: &TimeChart, placed: &[Placed], plot: &Plot) -> Markup {
    let height = plot.size.line_height();
    let tops = placed.iter().map(|mark| plot.top - f64::from(mark.row.unwrap_or_default()) * height - 4.0);
    let seen: Vec<_> = chart.marks.iter().zip(placed).zip(tops).filter(|((_, placed), _)| placed.x.is_some()).collect();
    html! {
        g.marks {
            @for ((mark, placed), top) in &seen {
                @let x = px(placed.x.unwrap_or_default());
                // The first one sets the second off from areas below it.
                line.halo x1=(x) x2=(x) y1=(px(*top)) y2=(px(plot.bottom)) {}
                line x1=(x) x2=(x) y1=(px(*top)) y2=(px(plot.bottom)) { title { (mark.date) ": " (mark.label) } }
            }
            @for ((mark, placed), top) in &seen {
                @if placed.row.is_some() { text x=(px(placed.text_x)) y=(px(top - 4.0)) { (mark.label) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(marks: &[(f64, f64)]) -> Vec<Option<u32>> {
        let marks = marks.iter().map(|(x, width)| (Some(*x), *width));
        place_texts(marks, 0.0, 300.0).into_iter().map(|placed| placed.row).collect()
    }

    #[test]
    fn texts_that_would_touch_are_in_rows_of_their_own() {
        assert_eq!(rows(&[(0.0, 50.0), (60.0, 50.0)]), [Some(0), Some(0)]);
        assert_eq!(rows(&[(0.0, 50.0), (55.0, 50.0)]), [Some(0), Some(1)]);
        assert_eq!(rows(&[(9.0, 50.0); 4]), [Some(0), Some(1), Some(2), None]);
        assert_eq!(rows(&[(9.0, 400.0)]), [None], "a text that is wider than the chart");
    }

    #[test]
    fn a_text_at_the_right_side_ends_there() {
        let placed = place_texts([(Some(290.0), 50.0)].into_iter(), 0.0, 300.0);
        assert_eq!(placed, [Placed { x: Some(290.0), row: Some(0), text_x: 250.0 }]);
    }

    #[test]
    fn a_date_that_is_not_on_the_axis_has_no_text() {
        assert_eq!(place_texts([(None, 50.0)].into_iter(), 0.0, 300.0)[0].row, None);
    }
}
