//! The values of a date, shown while the pointer is at it. The chart's table has them too: nothing is told by hovering
//! alone, so none of this can be focused.

use maud::{Markup, html};

use super::data::{Series, TimeChart, TimePoint, Value};
use super::plot::{Plot, px};

/// The space between the text and the sides of its box.
const PADDING: f64 = 8.0;

/// The distance of the box from the point.
const DISTANCE: f64 = 8.0;

/// The mark that stands before a name in the colour of its series.
const SWATCH: &str = "■ ";

/// Renders an invisible strip for each date, and the box that the style sheet shows while the pointer is on it.
pub(super) fn hover(chart: &TimeChart, plot: &Plot) -> Markup {
    let count = chart.points.len();
    // Strips meet in the middle between two points.
    let border = |position: usize| f64::midpoint(plot.x_of(position - 1), plot.x_of(position));
    html! {
        @for (position, point) in chart.points.iter().enumerate() {
            @let from = if position == 0 { plot.left } else { border(position) };
            @let until = if position + 1 == count { plot.right } else { border(position + 1) };
            g.at {
                rect.strip x=(px(from)) width=(px(until - from)) y=(px(plot.top)) height=(px(plot.bottom - plot.top)) {}
                (values(chart, *point, position, plot))
            }
        }
    }
}

fn values(chart: &TimeChart, point: TimePoint, position: usize, plot: &Plot) -> Markup {
    let heading = format!("{}{}", chart.step.name(point.date), if point.partial { " (partial)" } else { "" });
    let rows = rows(chart, position);
    let texts = rows.iter().map(|(_, text)| plot.size.text_width(SWATCH) + plot.size.text_width(text));
    let width = texts.fold(plot.size.text_width(&heading), f64::max) + 2.0 * PADDING;
    let lines = u32::try_from(rows.len()).unwrap_or_default() + 1;
    let height = f64::from(lines) * plot.size.line_height() + 2.0 * PADDING;
    let x = plot.x_of(position);
    let left = box_x(x, width, plot.size.width);
    let text_x = px(left + PADDING);
    html! {
        g.values {
            line x1=(px(x)) x2=(px(x)) y1=(px(plot.top)) y2=(px(plot.bottom)) {}
            rect x=(px(left)) y=(px(plot.top)) width=(px(width)) height=(px(height)) rx="6" {}
            text y=(px(plot.top + PADDING)) {
                tspan.date x=(text_x) dy=(px(plot.size.font)) { (heading) }
                @for (class, text) in rows {
                    tspan.{ (class) } x=(text_x) dy=(px(plot.size.line_height())) { (SWATCH) }
                    (text)
                }
            }
        }
    }
}

/// Returns the class and the text of each series that has more than nothing at a date, or of all if none has. Stacked
/// ones are listed as they stand.
fn rows(chart: &TimeChart, position: usize) -> Vec<(&'static str, String)> {
    let has_more = |series: &&Series| series.value(position).is_some_and(|value| value.height() > 0.0);
    let mut shown: Vec<_> = chart.series.iter().filter(has_more).collect();
    if shown.is_empty() {
        shown = chart.series.iter().collect();
    }
    if chart.stacked {
        shown.reverse();
    }
    let text = |series: &Series| series.value(position).map_or_else(|| "no data".to_owned(), Value::text);
    shown.into_iter().map(|series| (series.class, format!("{}: {}", series.name, text(series)))).collect()
}

/// Returns the left side of a box: right of the point, or left of it where there is no room, and always in the drawing.
fn box_x(x: f64, width: f64, whole: f64) -> f64 {
    let right = x + DISTANCE;
    let left = if right + width <= whole { right } else { x - DISTANCE - width };
    left.clamp(0.0, (whole - width).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_beside_its_point_and_in_the_drawing() {
        for (x, width, expected) in [(10.0, 100.0, 18.0), (950.0, 100.0, 842.0), (150.0, 2_000.0, 0.0)] {
            assert!((box_x(x, width, 960.0) - expected).abs() < 1e-9, "{x}, {width}");
        }
    }
}
